//! The end of each task at this sender: its report with the DSN that it calls for, or its way back to its group.

use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use skein_client::trace::AttemptTrace;
use skein_model::spool::{Report, Verdict};
use skein_model::{DurationMs, Reply, UnixMs};
use skein_policy::Policy;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::automation::active_actions::ActionsHere;
use crate::config::current::CurrentConfig;
use crate::metrics::Metrics;
use crate::outcome::{self, Attempt};
use crate::result::dsn::DsnWriter;
use crate::result::ending::Ending;
use crate::result::journal::{Fact, Journal, Key};
use crate::route::sites;
use crate::source_ip::site_health::SiteHealth;
use crate::task::delivery::DeliveryTask;

/// Control nodes know what operators said within this time of one another.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(500);
/// A slot that is to go elsewhere waits this long for the report of a deferral, which is refused after that; the next owner
/// tries then without it.
const REPORT_WITHIN: Duration = Duration::from_millis(500);

pub struct Results {
    /// For when mail is tried again.
    pub config: CurrentConfig,
    pub dsns: DsnWriter,
    pub journal: Journal,
    pub metrics: Metrics,
    /// For the names of providers.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// For the group's time.
    pub actions: Arc<ActionsHere>,
    pub site_health: Arc<SiteHealth>,
    /// Reports on their way; bounded by the window.
    pub reports: TaskTracker,
}

impl Results {
    /// Ends a task without an attempt.
    pub fn end(self: &Arc<Self>, delivery: DeliveryTask, ending: Ending) {
        match ending {
            Ending::GivenBack => {
                // Its group may not have heard of it yet, and would hand it out at once.
                tokio::spawn(async move {
                    tokio::time::sleep(GIVE_BACK_AFTER).await;
                    drop(delivery);
                });
            }
            Ending::Settled {
                attempt,
                verdict,
                reply,
            } => self.settle_all(delivery, *attempt, verdict, &reply),
        }
    }

    /// Reports one result for all recipients of a task.
    pub fn settle_all(
        self: &Arc<Self>,
        delivery: DeliveryTask,
        attempt: Attempt,
        verdict: Verdict,
        reply: &Reply,
    ) {
        let recipients = delivery.task.task.recipients.iter();
        let verdicts = recipients.map(|_| (verdict, reply.clone())).collect();
        self.settle(delivery, attempt, verdicts);
    }

    /// Reports the results of an attempt, with the DSN that they call for, without holding up the caller.
    pub fn settle(
        self: &Arc<Self>,
        mut delivery: DeliveryTask,
        attempt: Attempt,
        verdicts: Vec<(Verdict, Reply)>,
    ) {
        let at = self.actions.now();
        // Without a host that was spoken to, nothing was used.
        if let Some(spend) = delivery.spend.take().filter(|_| attempt.peer.is_some()) {
            spend.used(&verdicts);
        }
        let report = outcome::report(
            &self.config.get().retry,
            &delivery.task,
            &attempt,
            verdicts,
            at,
        );
        if let Some(fact) = Fact::of(&report, &delivery.task, attempt.passes_dsn) {
            self.journal.keep(fact);
            fail_point!("sender-after-250");
        }
        self.count(&delivery, &attempt, &report, at);
        let trace = delivery.trace.take();
        let trace = trace.or_else(|| AttemptTrace::begin(&delivery.task, &attempt.site));
        if let Some(trace) = trace {
            trace.ended(&report.outcomes);
        }
        let results = self.clone();
        self.reports.spawn(async move {
            let Attempt {
                site,
                passes_dsn,
                away_from,
                ..
            } = attempt;
            let reporter = delivery.reporter.clone();
            let filed = (delivery.filed_under().to_owned(), delivery.task.task.slot);
            results.send_report(delivery, report, passes_dsn, at).await;
            if let Some(ip) = away_from
                && !results.site_health.is_away(&site, &ip)
            {
                // The site came back meanwhile, and the group may have heard of that before the report.
                reporter.blocked(&filed.0, filed.1, Duration::ZERO);
            }
        });
    }

    fn count(&self, delivery: &DeliveryTask, attempt: &Attempt, report: &Report, at: UnixMs) {
        let policy = self.policy.borrow();
        for outcome in &report.outcomes {
            let result = (outcome.verdict, &outcome.reply);
            let ip = attempt.ip.as_deref();
            self.metrics.count(&policy, &attempt.site, ip, result);
        }
        let mut outcomes = report.outcomes.iter();
        if outcomes.any(|one| one.verdict == Verdict::Delivered) {
            let accepted_at = delivery.task.message.accepted_at;
            let time = DurationMs(at.0.saturating_sub(accepted_at.0));
            self.metrics.delivered_after(delivery.priority(), time);
        }
    }

    /// Has the task filed under the site that it turns out to be of, where it comes to an attempt. Nothing was begun, so
    /// its slot need not wait for the answer.
    pub fn refile(&self, mut delivery: DeliveryTask, site: &str) {
        delivery.claim.let_go();
        let refile = sites::refile(&delivery.task, &delivery.spool, site);
        tracing::debug!(task = %delivery.task.id, site, "a task is filed anew");
        self.reports.spawn(async move {
            let attempts = delivery.task.task.attempts;
            if let Err(error) = delivery.reporter.refile(&refile, attempts).await {
                tracing::info!(task = %delivery.task.id, %error, "a task is not filed anew");
            }
            delivery.held.answered();
        });
    }

    /// A refused report is answered, too: the task is another's.
    async fn send_report(
        &self,
        mut delivery: DeliveryTask,
        report: Report,
        passes_dsn: bool,
        at: UnixMs,
    ) {
        let outcomes = &report.outcomes;
        if outcomes.iter().any(|one| one.verdict != Verdict::Deferred) {
            // A fact, which may be told under any epoch.
            delivery.claim.let_go();
        }
        let key = Key::of(&report);
        {
            let telling = self.tell(&delivery, report, passes_dsn, at);
            let is_late = async {
                delivery.claim.stop.cancelled().await;
                tokio::time::sleep(REPORT_WITHIN).await;
            };
            tokio::pin!(telling);
            tokio::select! {
                () = &mut telling => {}
                () = is_late => {
                    delivery.claim.let_go();
                    telling.await;
                }
            }
        }
        self.journal.forget(key);
        delivery.held.answered();
    }

    async fn tell(
        &self,
        delivery: &DeliveryTask,
        mut report: Report,
        passes_dsn: bool,
        at: UnixMs,
    ) {
        let delay_due = !delivery.task.task.delay_notified
            && (self.config.get().retry).delay_notice_due(delivery.task.task.created, at);
        let due = self
            .dsns
            .due(&delivery.task, &report, passes_dsn, delay_due);
        report.dsn = self
            .dsns
            .store(&delivery.spool, &delivery.task, &report, &due, at)
            .await;
        if report.dsn.is_some() {
            due.iter().for_each(|(_, action)| self.metrics.dsn(*action));
        }
        report.delay_notified = delay_due && report.dsn.is_some();
        if let Err(error) = delivery.reporter.report(&report).await {
            tracing::warn!(task = %delivery.task.id, %error, "a report was refused");
        }
    }

    /// Waits for the reports that are on their way. No others are to follow.
    pub async fn drained(&self) {
        self.reports.close();
        self.reports.wait().await;
    }
}
