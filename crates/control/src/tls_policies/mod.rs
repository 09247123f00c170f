//! MTA-STS policies of domains that mail goes to: the leader of the meta group finds them when senders first ask, keeps them in
//! the group and looks again daily. What follows from what is found is decided by [`skein_model::sts`].
//!
//! A sender's first question about a domain waits some seconds for the fetch. One that takes longer goes on here, and until it
//! ends the domain has no policy: RFC 8461 binds a sender that has a policy cached, and there is none. To hold mail back
//! instead would gain nothing, since who can delay the fetch can prevent it as well, and would give every slow policy host
//! the power to stop mail.

mod counters;
mod fetch;
mod look;
mod memory;
mod schedule;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_dns::{Plan, Questions, Resolver};
use skein_model::meta::sts::{self, StsRow};
use skein_model::sts::{Look, StsPolicy, Txt};
use skein_model::{DurationMs, codec};
use skein_store::Reader;
use skein_wire::internal::{GetStsPolicyReply, GetStsPolicyRequest};
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use crate::clock;
use crate::https::Https;
use crate::raft::{Forward, Group, VersionGate};
use counters::Counters;
use memory::Memory;
pub use schedule::refresh;

/// A sender gives a call up after 2 s, and asks again for some seconds.
const WAIT: Duration = Duration::from_millis(1200);
/// For so long no majority need confirm again that this node leads.
const CONFIRMED_FOR: Duration = Duration::from_millis(1000);
const CONFIRM_WITHIN: Duration = Duration::from_millis(1500);
/// Senders ask again for a policy that they know.
const ANSWER_FOR: DurationMs = DurationMs::from_secs(300);
/// Domains that are looked at, at a time. More wait for a turn at senders, which ask again.
const JOBS_MAX: usize = 1024;
const LOOKUPS_AT_ONCE: usize = 128;
/// A policy host may take a minute.
const FETCHES_AT_ONCE: usize = 64;

/// How policies are found.
pub struct TlsPolicySettings {
    pub questions: Questions,
    pub https: Https,
    /// How often the DNS is asked whether a policy that is used has another id.
    pub look_every: DurationMs,
    /// For what operators ask.
    pub resolver: Arc<Resolver>,
}

impl std::fmt::Debug for TlsPolicySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsPolicySettings")
    }
}

/// Clones share what is known.
#[derive(Clone)]
pub struct TlsPolicies {
    settings: Arc<TlsPolicySettings>,
    group: Arc<Group>,
    reader: Reader,
    forward: Forward,
    versions: VersionGate,
    memory: Arc<Mutex<Memory>>,
    jobs: Arc<Mutex<HashMap<String, watch::Receiver<()>>>>,
    confirmed_at: Arc<Mutex<Option<Instant>>>,
    lookups: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    counters: Arc<Counters>,
    reports: crate::tls_reports::TlsReports,
}

impl TlsPolicies {
    pub fn new(
        settings: Arc<TlsPolicySettings>,
        group: Arc<Group>,
        reader: Reader,
        forward: Forward,
        reports: crate::tls_reports::TlsReports,
    ) -> Self {
        Self {
            group,
            reader,
            versions: forward.versions.clone(),
            forward,
            memory: Arc::new(Mutex::new(Memory::new(settings.look_every))),
            settings,
            jobs: Arc::default(),
            confirmed_at: Arc::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
            fetches: Arc::new(Semaphore::new(FETCHES_AT_ONCE)),
            counters: Arc::default(),
            reports,
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Answers a sender.
    ///
    /// # Errors
    /// This node does not lead the meta group, or the name is none.
    pub async fn answer(&self, request: GetStsPolicyRequest) -> Result<GetStsPolicyReply, Status> {
        let GetStsPolicyRequest { domain, again } = request;
        skein_model::meta::domains::check_name(&domain)
            .map_err(|why| Status::invalid_argument(format!("domain: {why}")))?;
        // What is said of a domain without a policy sends mail without one: no node may say it that lacks what others keep.
        self.confirm().await?;
        let now = clock::now();
        self.memory
            .lock()
            .asked(&domain, now, sts::version(&self.reader));
        if again && self.memory.lock().is_fetch_due(&domain, now) {
            return Ok(match self.looked(&domain, Look::Refresh).await {
                true => self.known(&domain),
                false => self.pending(),
            });
        }
        if self.live(&domain).is_some() {
            if self.memory.lock().is_look_due(&domain, now) {
                self.start(&domain, Look::Mail);
            }
            return Ok(self.known(&domain));
        }
        let rests = self.memory.lock().rests(&domain, now).is_some();
        Ok(match rests || self.looked(&domain, Look::Mail).await {
            true => self.known(&domain),
            false => self.pending(),
        })
    }

    /// The policy that is kept of a domain.
    pub fn live(&self, domain: &str) -> Option<StsRow> {
        let row = sts::policy(&self.reader, domain);
        row.filter(|row| row.is_live(clock::now()))
    }

    /// Whether reports on TLS are sent.
    pub fn sends_reports(&self) -> bool {
        self.reports.is_on()
    }

    /// What the domain announces now.
    pub async fn announced(&self, domain: &str) -> Txt {
        fetch::announced(&self.settings, domain).await
    }

    /// The hosts that mail for a domain goes to.
    ///
    /// # Errors
    /// They are not known: why.
    pub async fn plan(&self, domain: &str) -> Result<Arc<Plan>, String> {
        let plan = self.settings.resolver.mx_plan(domain).await;
        plan.map_err(|error| error.text().to_owned())
    }

    fn known(&self, domain: &str) -> GetStsPolicyReply {
        let now = clock::now();
        // Read first: a change that comes between is heard of.
        let version = sts::version(&self.reader);
        let answer = |policy: Option<&StsPolicy>, for_ms: u64, valid_ms: u64| GetStsPolicyReply {
            pending: false,
            policy: policy
                .map(|policy| codec::encode(policy).into())
                .unwrap_or_default(),
            for_ms: for_ms.max(1000),
            valid_ms,
            version,
        };
        if let Some(row) = self.live(domain) {
            let left = row.ends_at().since(now).0;
            return answer(Some(&row.policy), ANSWER_FOR.0.min(left), left);
        }
        match self.memory.lock().rests(domain, now) {
            Some((rest, policy)) => answer(policy.as_ref(), rest.0, rest.0),
            None => answer(None, 1000, 1000),
        }
    }

    fn pending(&self) -> GetStsPolicyReply {
        GetStsPolicyReply {
            pending: true,
            version: sts::version(&self.reader),
            ..GetStsPolicyReply::default()
        }
    }

    /// Whether this node leads, as a majority says, with all applied that was committed before.
    async fn confirm(&self) -> Result<(), Status> {
        let is_recent = |at: Instant| at.elapsed() < CONFIRMED_FOR;
        if self.group.is_leader() && self.confirmed_at.lock().is_some_and(is_recent) {
            return Ok(());
        }
        let asked_at = Instant::now();
        let leads = tokio::time::timeout(CONFIRM_WITHIN, self.group.leads()).await;
        if !leads.unwrap_or(false) {
            return Err(Status::unavailable(
                "this node does not lead the meta group",
            ));
        }
        *self.confirmed_at.lock() = Some(asked_at);
        Ok(())
    }

    /// Has a domain looked at, and waits for it a little. Says whether it was.
    async fn looked(&self, domain: &str, look: Look) -> bool {
        let waiting = tokio::time::timeout(WAIT, async {
            match self.start(domain, look) {
                // It ends when the job does.
                Some(mut done) => done.changed().await.is_err(),
                None => std::future::pending().await,
            }
        });
        waiting.await.unwrap_or(false)
    }

    /// Begins to look at a domain, unless that goes on already. None: too many are being looked at.
    fn start(&self, domain: &str, look: Look) -> Option<watch::Receiver<()>> {
        let mut jobs = self.jobs.lock();
        if let Some(running) = jobs.get(domain) {
            return Some(running.clone());
        }
        if jobs.len() >= JOBS_MAX {
            return None;
        }
        let (done, waiting) = watch::channel(());
        jobs.insert(domain.to_owned(), waiting.clone());
        let (policies, domain) = (self.clone(), domain.to_owned());
        tokio::spawn(async move {
            look::look_at(&policies, &domain, look).await;
            policies.jobs.lock().remove(&domain);
            drop(done);
        });
        Some(waiting)
    }

    /// Forgets the policy of a domain, for all senders.
    ///
    /// # Errors
    /// It cannot be committed.
    pub async fn flush(&self, domain: &str, by: String) -> Result<(), Status> {
        let command = sts::Command::Flush {
            domain: domain.to_owned(),
            by,
        };
        let command = skein_model::meta::Command::Sts(Box::new(command));
        self.forward.commit_meta(&command).await?;
        self.memory.lock().forget(domain);
        Ok(())
    }
}
