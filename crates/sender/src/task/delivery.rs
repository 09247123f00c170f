//! A task at this sender, from when it arrives until its report is answered.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use skein_client::trace::AttemptTrace;
use skein_client::{Lease, LeasedTask, Reporter, Spool};
use skein_mail::content::Content;
use skein_model::warmup::Target;
use skein_model::{Priority, Slot, TaskId};

use crate::automation::active_actions::Going;
use crate::claim::Claim;
use crate::limits::limiters::Ask;
use crate::limits::path_policy::LimitRequests;
use crate::notified_groups::Filed;
use crate::route::find::Route;
use crate::source_ip::budgets::Stoppable;
use crate::source_ip::spend::Spend;

/// A task and the stream that its result goes to. One that is dropped without a result is given back.
pub struct DeliveryTask {
    pub task: LeasedTask,
    pub reporter: Reporter,
    /// The group that the task is of.
    pub spool: Spool,
    pub lease: Lease,
    pub claim: Claim,
    pub held: TaskGuard,
    /// Of the budget of an IP that is warming up.
    pub spend: Option<Spend<Routed>>,
    /// The budget that it waits for.
    pub awaited: Option<Target>,
    /// What its octets are, once they were looked at.
    pub content: OnceLock<Content>,
    /// A connection ended at it, which says something about the message only when the next one does, too.
    pub was_cut: bool,
    /// Of the attempt that goes on, if that is recorded.
    pub trace: Option<AttemptTrace>,
}

impl DeliveryTask {
    /// The question to the limiters. `demand` events like it could be now.
    pub fn ask<'a>(&self, wants: &'a LimitRequests, route: &'a Route, demand: usize) -> Ask<'a> {
        Ask {
            wants,
            site: &route.site,
            is_elsewhere: self.task.task.slot != Slot::of(&route.site, 0),
            gone_since: self.claim.gone_since,
            demand: demand as u64,
        }
    }

    /// Whether the slot is to go elsewhere, or the sender stops.
    pub fn is_stopped(&self) -> bool {
        self.claim.stop.is_cancelled()
    }

    /// The name of its site as its group knows it.
    pub fn filed_under(&self) -> &str {
        let task = &self.task.task;
        task.site.as_deref().unwrap_or(task.domain.as_str())
    }

    pub fn filed(&self) -> Filed<'_> {
        Filed {
            group: self.task.id.message.group(),
            slot: self.task.task.slot,
            name: self.filed_under(),
            reporter: &self.reporter,
        }
    }

    /// Where it would go.
    pub fn going<'a>(&'a self, site: &'a str) -> Going<'a> {
        let envelope = &self.task.message.envelope;
        Going {
            site,
            tenant: &envelope.tenant,
            pool: self.task.task.pool(envelope),
        }
    }

    /// What it takes of a warm-up budget.
    pub fn units(&self) -> u64 {
        self.task.task.recipients.len() as u64
    }

    pub fn priority(&self) -> Priority {
        self.task.message.envelope.priority
    }
}

/// A task and where it goes.
pub struct Routed {
    pub route: Route,
    pub delivery: DeliveryTask,
}

impl Stoppable for Routed {
    fn is_stopped(&self) -> bool {
        self.delivery.is_stopped()
    }
}

/// A task that counts as held, until its report is answered or it is dropped.
pub struct TaskGuard {
    held: Gauge,
    reporter: Reporter,
    task: TaskId,
    attempts: u32,
    is_answered: bool,
    /// A limit lets nothing of its kind go for so long.
    closed_for: Duration,
}

impl TaskGuard {
    /// `held` counts the tasks that this sender holds.
    pub fn new(held: Gauge, reporter: Reporter, task: &LeasedTask) -> Self {
        held.inc();
        Self {
            held,
            reporter,
            task: task.id,
            attempts: task.task.attempts,
            is_answered: false,
            closed_for: Duration::ZERO,
        }
    }

    /// The task is to come back when this time is over, if it is dropped.
    pub fn postpone(&mut self, closed_for: Duration) {
        self.closed_for = closed_for;
    }

    /// Its report is answered.
    pub fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.held.dec();
        if !self.is_answered {
            self.reporter
                .give_back(self.task, self.attempts, self.closed_for);
        }
    }
}
