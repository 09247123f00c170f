//! Where a task is placed at this sender: at a destination, in front of a budget, or nowhere. Pure.
//!
//! A [`Problem`] holds all that the decision depends on. Taking units of a warm-up budget has an effect, and only the IP that
//! is chosen is asked for some. So the decision has two steps: [`Problem::source`] names the IP, or how the task ends without
//! one, and [`Problem::place`] goes by what the lease of the IP's units gave.

use skein_model::spool::Verdict;
use skein_model::warmup::Target;
use skein_model::{DurationMs, UnixMs};

use crate::automation::active_actions::Suspended;
use crate::outcome::Attempt;
use crate::result::ending::Ending;
use crate::source_ip::pool_choice::{NoSource, PoolState};
use crate::source_ip::source::Source;

/// A task with a route that is to be placed.
#[derive(Debug, Clone)]
pub struct Problem<'a> {
    /// By an operator. Of such a task's pool nothing is known, and no turn is taken.
    pub suspended: Option<Suspended>,
    /// The site that the task is filed under, which may have changed since.
    pub filed_site: &'a str,
    /// Of its route.
    pub site: &'a str,
    /// Tasks with the same key may share connections.
    pub route_key: &'a str,
    pub pool_name: &'a str,
    pub pool: PoolState,
    /// The budget that the task has waited for.
    pub awaited: Option<Target>,
    /// The time of budgets.
    pub now: UnixMs,
    pub expires: UnixMs,
}

/// The answer of the lease of an IP's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Units {
    /// The task has all that it needs, which may be none.
    Ready,
    /// The task waits until the leader has answered about this budget.
    Awaited(Target),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Placement {
    Ended(Ending),
    /// In front of a budget, until the leader has answered.
    Parked(Target),
    /// At the destination of this key, which is made if there is none.
    Queued {
        key: String,
        source: Source,
    },
}

impl Problem<'_> {
    /// The source that the task is to go from.
    ///
    /// # Errors
    /// The task ends, for now or for good, without an attempt.
    pub fn source(&self) -> Result<Source, Ending> {
        if let Some(suspended) = &self.suspended {
            return Err(Ending::of_suspended(suspended.clone(), self.filed_site));
        }
        let awaited = self.awaited.as_ref();
        let chosen = match awaited.and_then(|target| self.pool.awaited(target.ip)) {
            Some(chosen) => chosen,
            None => self
                .pool
                .choose(self.pool_name, self.now, self.expires)
                .map_err(|none| without_source(self.site, none))?,
        };
        match chosen.bounced {
            Some(reply) => Err(Ending::at(self.site, Verdict::Failed, reply)),
            None => Ok(chosen.source),
        }
    }

    /// The place of a task that is to go from a source. The label sets tasks apart that have limits of their own.
    pub fn place(&self, source: Source, units: Units, label: &str) -> Placement {
        match units {
            Units::Awaited(target) => Placement::Parked(target),
            Units::Ready => Placement::Queued {
                key: match source.name() {
                    "" => format!("{}{label}", self.route_key),
                    ip => format!("{} from {ip}{label}", self.route_key),
                },
                source,
            },
        }
    }
}

/// A task that can go from no IP waits, and does not fail for it.
fn without_source(site: &str, none: NoSource) -> Ending {
    let (away_from, left) = none.blocked.unzip();
    let attempt = Attempt {
        site: site.to_owned(),
        retry_within: none.retry_within,
        // Zero would say that it is not left alone.
        away_for: left.map(|left| DurationMs::from(left).max(DurationMs(1))),
        away_from,
        ..Attempt::default()
    };
    Ending::Settled {
        attempt: Box::new(attempt),
        verdict: Verdict::Deferred,
        reply: none.reply,
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
