//! What all deliveries of a sender share, and the end of each: its report.

use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use skein_client::{ClusterState, LeasedTask, Spool, SpoolError};
use skein_dns::Resolver;
use skein_mail::dsn::Action;
use skein_model::spool::{Report, Verdict};
use skein_model::{Reply, UnixMs};
use skein_policy::Policy;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::automation::active_actions::{ActionsHere, Word};
use crate::automation::reactions::Reactions;
use crate::config::Config;
use crate::health::Health;
use crate::limits::limiters::LocalLimiters;
use crate::limits::path_policy::PathPolicies;
use crate::metrics::Metrics;
use crate::outcome::{self, Attempt};
use crate::result::dsn;
use crate::result::journal::{Fact, Journal, Key};
use crate::result::recovered::Recovered;
use crate::route::sites::{self, Sites};
use crate::smtp::broken_tls::BrokenTls;
use crate::smtp::tls::TlsConnectors;
use crate::source_ip::budgets::Budgets;
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::sources::Sources;
use crate::task::delivery::{DeliveryTask, Routed};
use crate::task::prepared::Rewrites;

/// Control nodes know what operators said within this time of one another.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(500);
/// A slot that is to go elsewhere waits this long for the report of a deferral, which is refused after that; the next owner
/// tries then without it.
const REPORT_WITHIN: Duration = Duration::from_millis(500);

pub struct Context {
    pub config: Config,
    pub resolver: Arc<Resolver>,
    /// The latest that is known here.
    pub policy: watch::Receiver<Arc<Policy>>,
    pub sites: Sites,
    pub sources: Sources,
    pub router: Arc<SourceIpRouter>,
    pub path_policy: PathPolicies,
    pub limiters: Arc<LocalLimiters>,
    pub active_actions: ActionsHere,
    pub reactions: Arc<Reactions>,
    pub state: ClusterState,
    pub budgets: Arc<Budgets<Routed>>,
    pub metrics: Metrics,
    pub health: Arc<Health>,
    pub tls: TlsConnectors,
    pub broken_tls: BrokenTls,
    /// No transaction starts after this.
    pub drain: CancellationToken,
    /// Reports on their way; bounded by the window.
    pub reports: TaskTracker,
    pub journal: Journal,
    /// From the journal of the process before this one.
    pub recovered: Recovered,
    pub rewrites: Rewrites,
}

impl Context {
    /// Limits are wanted as the policy has them that is known now.
    pub fn follow_policy(&self) {
        let version = self.state.policy_version();
        self.limiters.state.lock().limiters.set_policy(version);
    }

    /// Reports one result for all recipients of a task.
    pub fn settle_all(
        self: &Arc<Self>,
        delivery: DeliveryTask,
        attempt: Attempt,
        verdict: Verdict,
        reply: &Reply,
    ) {
        let verdicts = delivery
            .task
            .task
            .recipients
            .iter()
            .map(|_| (verdict, reply.clone()))
            .collect();
        self.settle(delivery, attempt, verdicts);
    }

    /// Reports the results of an attempt, with the DSN that they call for, without holding up the caller.
    pub fn settle(
        self: &Arc<Self>,
        mut delivery: DeliveryTask,
        attempt: Attempt,
        verdicts: Vec<(Verdict, Reply)>,
    ) {
        let at = self.active_actions.now();
        // Without a host that was spoken to, nothing was used.
        if let Some(spend) = delivery.spend.take().filter(|_| attempt.peer.is_some()) {
            spend.used(&verdicts);
        }
        let report = outcome::report(&self.config.retry, &delivery.task, &attempt, verdicts, at);
        if let Some(fact) = Fact::of(&report, &delivery.task, attempt.passes_dsn) {
            self.journal.keep(fact);
            fail_point!("sender-after-250");
        }
        for outcome in &report.outcomes {
            self.metrics.count(match outcome.verdict {
                Verdict::Delivered => "delivered",
                Verdict::Deferred => "deferred",
                Verdict::Failed => "bounced",
                Verdict::Expired => "expired",
            });
        }
        let context = self.clone();
        self.reports.spawn(async move {
            let Attempt {
                site,
                passes_dsn,
                away_from,
                ..
            } = attempt;
            let reporter = delivery.reporter.clone();
            let filed = (delivery.filed_under().to_owned(), delivery.task.task.slot);
            context.send_report(delivery, report, passes_dsn, at).await;
            if let Some(ip) = away_from
                && !context.sources.health.is_away(&site, &ip)
            {
                // It came back meanwhile, and the group may have heard of that before the report.
                reporter.blocked(&filed.0, filed.1, Duration::ZERO);
            }
        });
    }

    /// Goes by what operators said of a task; nothing if it is given back or given up.
    pub fn heed(self: &Arc<Self>, delivery: DeliveryTask) -> Option<DeliveryTask> {
        match self.active_actions.word(&delivery.task) {
            None => return Some(delivery),
            Some(Word::GiveUp(reply)) => {
                let attempt = Attempt {
                    site: delivery.task.task.site().to_owned(),
                    ..Attempt::default()
                };
                self.settle_all(delivery, attempt, Verdict::Failed, &reply);
            }
            Some(Word::Wait) => {
                // Its group may not have heard of it yet, and would hand it out at once.
                tokio::spawn(async move {
                    tokio::time::sleep(GIVE_BACK_AFTER).await;
                    drop(delivery);
                });
            }
        }
        None
    }

    /// Has the task filed under the site that it turns out to be of, where it comes to an attempt. Nothing was begun, so
    /// its slot need not wait for the answer.
    pub fn refile(self: &Arc<Self>, mut delivery: DeliveryTask, site: &str) {
        delivery.claim.let_go();
        let refile = sites::refile(&delivery.task, &delivery.spool, site);
        tracing::debug!(task = %delivery.task.id, site, "a task is filed anew");
        self.reports.spawn(async move {
            let attempts = delivery.task.task.attempts;
            if let Err(error) = delivery.reporter.refile(&refile, attempts).await {
                tracing::info!(task = %delivery.task.id, %error, "a task is not filed anew");
            }
            delivery.held.settled();
        });
    }

    /// A refused report is settled: the task is another's.
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
        self.journal.settled(key);
        delivery.held.settled();
    }

    async fn tell(
        &self,
        delivery: &DeliveryTask,
        mut report: Report,
        passes_dsn: bool,
        at: UnixMs,
    ) {
        let policy = &self.config.retry;
        let delay_due = !delivery.task.task.delay_notified
            && policy.delay_notice_due(delivery.task.task.created, at);
        let due = dsn::due(&delivery.task, &report, passes_dsn, delay_due);
        self.add_dsn(&delivery.spool, &delivery.task, &mut report, &due, at)
            .await;
        report.delay_notified = delay_due && report.dsn.is_some();
        if let Err(error) = delivery.reporter.report(&report).await {
            tracing::warn!(task = %delivery.task.id, %error, "a report was refused");
        }
    }

    /// Adds the DSN that is due to a report, however often its body must be offered until it is stored.
    pub async fn add_dsn(
        &self,
        spool: &Spool,
        task: &LeasedTask,
        report: &mut Report,
        due: &[(usize, Action)],
        at: UnixMs,
    ) {
        let mut wait = Duration::from_millis(50);
        while !due.is_empty() {
            match dsn::make(&self.config, &self.sites, spool, task, report, due, at).await {
                Ok(accept) => {
                    report.dsn = Some(accept);
                    return;
                }
                Err(SpoolError::Refused(reason)) => {
                    tracing::warn!(task = %task.id, reason, "no DSN can be made");
                    return;
                }
                Err(error) => {
                    tracing::warn!(task = %task.id, %error, "a DSN could not be stored");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }
}
