//! What all deliveries of a sender share, and the end of each: its report.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use fail::fail_point;
use skein_client::{Assigned, Cluster, Lease, Reporter, Spool, SpoolError};
use skein_dns::Resolver;
use skein_mail::content::{Content, ContentScan};
use skein_mail::dsn::Action;
use skein_model::spool::{Report, Verdict};
use skein_model::{Priority, Reply, Slot, TaskId, UnixMs};
use skein_policy::Policy;
use skein_smtp::client::{Capabilities, OutgoingMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broken_tls::BrokenTls;
use crate::budgets::{Budgets, Spend};
use crate::config::Config;
use crate::dsn;
use crate::exits::Exits;
use crate::forces::{ForcesHere, Word};
use crate::gates::{Ask, LocalGates};
use crate::health::Health;
use crate::journal::{Fact, Journal, Key};
use crate::metrics::Metrics;
use crate::outcome::{self, Attempt};
use crate::outgoing::{KeptBack, REWRITTEN_BYTES_MAX, Rewrite, outgoing};
use crate::reactions::Reactions;
use crate::recovery::Recovered;
use crate::route::Route;
use crate::sites::{self, Sites};
use crate::slots::Claim;
use crate::sources::Sources;
use crate::terms::{AllTerms, Wants};
use crate::tls::TlsConnectors;

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
    pub exits: Arc<Exits>,
    pub terms: AllTerms,
    pub gates: Arc<LocalGates>,
    pub forces: ForcesHere,
    pub reactions: Arc<Reactions>,
    pub cluster: Cluster,
    pub budgets: Arc<Budgets>,
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

/// The clock of this machine, which may be wrong, and may be set: for what is only shown, and before the first
/// session.
pub fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A task and the stream that its result goes to. One that is dropped without a result is given back.
pub struct Job {
    pub task: Assigned,
    pub reporter: Reporter,
    /// The group that the task is of.
    pub spool: Spool,
    pub lease: Lease,
    pub claim: Claim,
    pub held: Held,
    /// Of the budget of an IP that is warming up.
    pub spend: Option<Spend>,
    /// What its octets are, once they were looked at.
    pub content: OnceLock<Content>,
    /// A connection ended at it, which says something about the message only when the next one does, too.
    pub was_cut: bool,
}

/// A message for one host.
pub struct Prepared {
    pub message: OutgoingMessage,
    /// The bytes that go out in place of those that are stored.
    pub rewritten: Option<Bytes>,
    /// The memory that they take.
    _room: Option<OwnedSemaphorePermit>,
}

/// The memory for messages that are written anew for a host. Others wait for it.
#[derive(Clone)]
pub struct Rewrites(Arc<Semaphore>);

impl Rewrites {
    /// Three of the largest at a time, of which each is there twice.
    const BYTES: u64 = REWRITTEN_BYTES_MAX * 6;
    /// What permits are counted in.
    const UNIT: u64 = 64 << 10;

    pub fn new() -> Self {
        let units = usize::try_from(Self::BYTES / Self::UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a message of this size and its new form; none once nobody gives any.
    async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = (bytes * 2)
            .div_ceil(Self::UNIT)
            .min(Self::BYTES / Self::UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.0.clone().acquire_many_owned(units).await.ok()
    }
}

impl Job {
    /// What it asks of limits. `demand` events like it could be now.
    pub fn ask<'a>(&self, wants: &'a Wants, route: &'a Route, demand: usize) -> Ask<'a> {
        Ask {
            wants,
            site: &route.site,
            is_elsewhere: self.task.task.slot != Slot::of(&route.site, 0),
            gone_since: self.claim.gone_since,
            demand: demand as u64,
        }
    }
}

/// A task that counts as held, until it is settled or dropped.
pub struct Held {
    context: Arc<Context>,
    reporter: Reporter,
    task: TaskId,
    attempts: u32,
    is_settled: bool,
    /// A limit lets nothing of its kind go for so long.
    closed_for: Duration,
}

impl Held {
    pub fn new(context: Arc<Context>, reporter: Reporter, task: &Assigned) -> Self {
        context.metrics.held.inc();
        Self {
            context,
            reporter,
            task: task.id,
            attempts: task.task.attempts,
            is_settled: false,
            closed_for: Duration::ZERO,
        }
    }

    /// It is to come back when this time is over, if it is dropped.
    pub fn postpone(&mut self, closed_for: Duration) {
        self.closed_for = closed_for;
    }

    /// Its report is answered.
    fn settled(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.context.metrics.held.dec();
        if !self.is_settled {
            self.reporter
                .give_back(self.task, self.attempts, self.closed_for);
        }
    }
}

impl Context {
    /// Limits are wanted as the policy has them that is known now.
    pub fn follow_policy(&self) {
        let version = self.cluster.policy_version();
        self.gates.state.lock().gates.set_policy(version);
    }

    /// Reports one result for all recipients of a task.
    pub fn settle_all(
        self: &Arc<Self>,
        job: Job,
        attempt: Attempt,
        verdict: Verdict,
        reply: &Reply,
    ) {
        let verdicts = job
            .task
            .task
            .recipients
            .iter()
            .map(|_| (verdict, reply.clone()))
            .collect();
        self.settle(job, attempt, verdicts);
    }

    /// Reports the results of an attempt, with the DSN that they call for, without holding up the caller.
    pub fn settle(
        self: &Arc<Self>,
        mut job: Job,
        attempt: Attempt,
        verdicts: Vec<(Verdict, Reply)>,
    ) {
        let at = self.forces.now();
        // Without a host that was spoken to, nothing was used.
        if let Some(spend) = job.spend.take().filter(|_| attempt.peer.is_some()) {
            spend.used(&verdicts);
        }
        let report = outcome::report(&self.config.retry, &job.task, &attempt, verdicts, at);
        if let Some(fact) = Fact::of(&report, &job.task, attempt.passes_dsn) {
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
            let reporter = job.reporter.clone();
            let filed = (job.filed_under().to_owned(), job.task.task.slot);
            context.send_report(job, report, passes_dsn, at).await;
            if let Some(ip) = away_from
                && !context.sources.health.is_away(&site, &ip)
            {
                // It came back meanwhile, and the group may have heard of that before the report.
                reporter.blocked(&filed.0, filed.1, Duration::ZERO);
            }
        });
    }

    /// Goes by what operators said of a task; nothing if it is given back or given up.
    pub fn heed(self: &Arc<Self>, job: Job) -> Option<Job> {
        match self.forces.word(&job.task) {
            None => return Some(job),
            Some(Word::GiveUp(reply)) => {
                let attempt = Attempt {
                    site: job.task.task.site().to_owned(),
                    ..Attempt::default()
                };
                self.settle_all(job, attempt, Verdict::Failed, &reply);
            }
            Some(Word::Wait) => {
                // Its group may not have heard of it yet, and would hand it out at once.
                tokio::spawn(async move {
                    tokio::time::sleep(GIVE_BACK_AFTER).await;
                    drop(job);
                });
            }
        }
        None
    }

    /// Has the task filed under the site that it turns out to be of, where it comes to an attempt. Nothing was begun, so
    /// its slot need not wait for the answer.
    pub fn refile(self: &Arc<Self>, mut job: Job, site: &str) {
        job.claim.let_go();
        let refile = sites::refile(&job.task, &job.spool, site);
        tracing::debug!(task = %job.task.id, site, "a task is filed anew");
        self.reports.spawn(async move {
            let attempts = job.task.task.attempts;
            if let Err(error) = job.reporter.refile(&refile, attempts).await {
                tracing::info!(task = %job.task.id, %error, "a task is not filed anew");
            }
            job.held.settled();
        });
    }

    /// A refused report is settled: the task is another's.
    async fn send_report(&self, mut job: Job, report: Report, passes_dsn: bool, at: UnixMs) {
        let outcomes = &report.outcomes;
        if outcomes.iter().any(|one| one.verdict != Verdict::Deferred) {
            // A fact, which may be told under any epoch.
            job.claim.let_go();
        }
        let key = Key::of(&report);
        {
            let telling = self.tell(&job, report, passes_dsn, at);
            let is_late = async {
                job.claim.stop.cancelled().await;
                tokio::time::sleep(REPORT_WITHIN).await;
            };
            tokio::pin!(telling);
            tokio::select! {
                () = &mut telling => {}
                () = is_late => {
                    job.claim.let_go();
                    telling.await;
                }
            }
        }
        self.journal.settled(key);
        job.held.settled();
    }

    async fn tell(&self, job: &Job, mut report: Report, passes_dsn: bool, at: UnixMs) {
        let policy = &self.config.retry;
        let delay_due =
            !job.task.task.delay_notified && policy.delay_notice_due(job.task.task.created, at);
        let due = dsn::due(&job.task, &report, passes_dsn, delay_due);
        self.add_dsn(&job.spool, &job.task, &mut report, &due, at)
            .await;
        report.delay_notified = delay_due && report.dsn.is_some();
        if let Err(error) = job.reporter.report(&report).await {
            tracing::warn!(task = %job.task.id, %error, "a report was refused");
        }
    }

    /// Adds the DSN that is due to a report, however often its body must be offered until it is stored.
    pub async fn add_dsn(
        &self,
        spool: &Spool,
        task: &Assigned,
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

    /// The message as its transaction with a host of these capabilities needs it, with its bytes if those that are stored
    /// are not what goes out.
    pub async fn outgoing(
        &self,
        job: &Job,
        capabilities: &Capabilities,
    ) -> Result<Prepared, KeptBack> {
        let mut content = job.content().await.map_err(KeptBack::Unreadable)?;
        let is_utf8 = job.task.message.envelope.smtputf8;
        let rewrite = Rewrite::of(&content, is_utf8, capabilities)?;
        let mut rewritten = None;
        let mut room = None;
        if rewrite.is_needed() {
            rewrite.admits(content.bytes)?;
            room = self.rewrites.take(content.bytes).await;
            let stored = job.bytes().await.map_err(KeptBack::Unreadable)?;
            let made = rewrite.apply(&stored)?;
            content = Content::of(&made);
            rewritten = Some(Bytes::from(made));
        }
        Ok(Prepared {
            message: outgoing(&job.task, &content, capabilities),
            rewritten,
            _room: room,
        })
    }
}

impl Job {
    /// Whether the slot is to go elsewhere, or the sender stops.
    pub fn is_stopped(&self) -> bool {
        self.claim.stop.is_cancelled()
    }

    /// The name of its site as its group knows it.
    pub fn filed_under(&self) -> &str {
        let task = &self.task.task;
        task.site.as_deref().unwrap_or(task.domain.as_str())
    }

    pub fn priority(&self) -> Priority {
        self.task.message.envelope.priority
    }

    /// What its octets are. Those of a small message came with it; others are read once for it.
    async fn content(&self) -> Result<Content, SpoolError> {
        if let Some(known) = self.content.get() {
            return Ok(*known);
        }
        let content = match &self.task.body {
            Some(body) => Content::of(body),
            None => {
                let mut scan = ContentScan::default();
                let mut parts = self.spool.read_body(self.task.id.message, 0).await?;
                while let Some(part) = parts.next().await {
                    scan.push(&part?);
                }
                scan.finish()
            }
        };
        Ok(*self.content.get_or_init(|| content))
    }

    /// All of its bytes, of which there are no more than may be rewritten.
    async fn bytes(&self) -> Result<Bytes, SpoolError> {
        if let Some(body) = &self.task.body {
            return Ok(body.clone());
        }
        let mut whole = BytesMut::new();
        let id = self.task.id.message;
        let mut parts = self.spool.read_part(id, 0, REWRITTEN_BYTES_MAX).await?;
        while let Some(part) = parts.next().await {
            whole.extend_from_slice(&part?);
        }
        Ok(whole.freeze())
    }
}
