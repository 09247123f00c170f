//! The sender's life: a session, a work stream, tasks to their destinations, and the drain.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skein_client::{Cluster, KeptSession, Lease, PlacedIps, Sessions, Spool, Spools, Work};
use skein_dns::Resolver;
use skein_model::spool::Verdict;
use skein_model::{GroupId, Reply};
use skein_policy::{BUILT_IN_NAME, Policy};
use skein_runtime::watched;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::automation::active_actions::ActionsHere;
use crate::claim::Slots;
use crate::config::Config;
use crate::context::Context;
use crate::destination::destinations::Destinations;
use crate::destination::waits;
use crate::health::Health;
use crate::limits::limiters::LocalLimiters;
use crate::limits::path_policy::PathPolicies;
use crate::metrics::Metrics;
use crate::outcome::{Attempt, expired};
use crate::recovery;
use crate::result::journal::Journal;
use crate::result::process;
use crate::result::recovered::Recovered;
use crate::route::find;
use crate::route::sites::{self, Sites};
use crate::smtp::broken_tls::BrokenTls;
use crate::smtp::tls::TlsConnectors;
use crate::source_ip::addresses;
use crate::source_ip::preflight;
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::sources::Sources;
use crate::task::delivery::{DeliveryTask, Routed, TaskGuard};
use crate::task::prepared::Rewrites;

/// After the final dot a peer may take its time; a drain waits for it this long (DESIGN section 8).
const DRAIN: Duration = Duration::from_secs(120);
/// The largest policy takes less to read, on a busy machine. One that this version cannot read must not stop the mail.
const UNDERSTAND_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether the session lives, for the readiness of the node.
const LOOK: Duration = Duration::from_millis(50);

pub struct Sender {
    context: Arc<Context>,
    spools: Spools,
    working: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("name", &self.context.config.name)
            .finish_non_exhaustive()
    }
}

/// A sender that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("a root certificate cannot be used")]
    TlsRoots(#[source] rustls::Error),
}

impl Sender {
    pub fn new(
        config: Config,
        spools: Spools,
        resolver: Arc<Resolver>,
        policy: watch::Receiver<Arc<Policy>>,
        router: Arc<SourceIpRouter>,
        registry: &mut Registry,
    ) -> Result<Self, SetupError> {
        let tls = TlsConnectors::new(&config.tls_roots).map_err(SetupError::TlsRoots)?;
        let (journal, facts) = match &config.scratch_dir {
            Some(dir) => Journal::open(dir),
            None => (Journal::none(), Vec::new()),
        };
        let known = addresses::own(
            &config.own_addresses,
            addresses::interfaces(),
            &policy.borrow(),
            &PlacedIps::default(),
        );
        resolver.set_own_addresses(known);
        let sites = Sites::new(config.routes.clone(), resolver.clone(), policy.clone());
        let context = Arc::new(Context {
            config,
            resolver,
            policy,
            sites,
            sources: Sources::default(),
            router,
            path_policy: PathPolicies::default(),
            limiters: LocalLimiters::new(),
            active_actions: ActionsHere::new(spools.state().active_actions()),
            reactions: Arc::default(),
            state: spools.state().clone(),
            budgets: Arc::default(),
            metrics: Metrics::register(registry),
            health: Arc::default(),
            tls,
            broken_tls: BrokenTls::new(spools.state().broken_tls()),
            drain: CancellationToken::new(),
            reports: TaskTracker::new(),
            journal,
            recovered: Recovered::new(facts),
            rewrites: Rewrites::new(),
        });
        Ok(Self {
            context,
            spools,
            working: Arc::default(),
            drained: Arc::default(),
        })
    }

    /// Finds sites as this sender does.
    pub fn sites(&self) -> Sites {
        self.context.sites.clone()
    }

    /// What this sender says of itself to whoever asks the cluster.
    pub fn health(&self) -> Arc<Health> {
        self.context.health.clone()
    }

    /// Tells whether tasks can arrive at this moment.
    pub fn working(&self) -> Arc<AtomicBool> {
        self.working.clone()
    }

    /// Tells whether an operator took this node out of service.
    pub fn drained(&self) -> Arc<AtomicBool> {
        self.drained.clone()
    }

    /// Delivers until `shutdown`, then finishes what has passed its final dot and hands the slots back.
    pub async fn run(self, shutdown: CancellationToken) {
        // A new session ends the one before it, whose tasks then come here.
        tokio::select! {
            () = recovery::tell(&self.context, &self.spools) => {}
            () = shutdown.cancelled() => return,
        }
        let destinations = Destinations::new(self.context.clone());
        let sessions = Sessions::new(self.spools.cluster().clone(), self.spools.state().clone());
        let limiters = self.context.limiters.clone();
        let config = &self.context.config;
        let process = process::of(config.scratch_dir.as_deref(), &self.context.journal);
        let session = Arc::new(sessions.keep(&config.name, process, limiters));
        self.context.limiters.set_lease(session.lease.clone());
        let slots = Arc::new(Slots::new(self.context.drain.clone()));
        self.context.limiters.set_slots(slots.clone());
        let streams = Arc::new(Mutex::default());
        let follow = slots.clone();
        let follow = follow.follow(session.clone(), destinations.clone(), streams.clone());
        // What ends before the IPs are let go of, and what goes on until the session is closed.
        let (mut of_ips, mut of_session) = (JoinSet::new(), JoinSet::new());
        of_session.spawn(watched("slots", follow));
        of_session.spawn(watched(
            "lease",
            self.context.limiters.clone().follow_lease(),
        ));
        let (policy, router) = (&self.context.policy, &self.context.router);
        of_ips.spawn(watched(
            "source-ips",
            router.clone().follow(policy.clone(), session.clone()),
        ));
        let zones = self.context.config.dnsbl_zones.clone();
        let resolver = self.context.resolver.clone();
        let own = self.context.config.own_addresses.clone();
        let (policy_now, placed) = (policy.clone(), session.clone());
        of_session.spawn(addresses::follow_own(
            resolver.clone(),
            own,
            policy_now,
            placed,
        ));
        let checks = preflight::look_after(resolver, zones, policy.clone(), session.clone());
        of_ips.spawn(watched("ip-checks", checks));
        of_session.spawn(watched(
            "waits",
            waits::tell(Arc::downgrade(&destinations), session.clone()),
        ));
        of_session.spawn(watched(
            "reactions",
            self.context.reactions.clone().tell(session.clone()),
        ));
        let health = self.context.health.clone();
        of_session.spawn(watched(
            "name-servers",
            health.ask_name_servers(self.context.resolver.clone()),
        ));
        let budgets = self.context.budgets.clone();
        let gives_out = Arc::downgrade(&destinations);
        let give_out = move |one: Routed| {
            let destinations = gives_out.upgrade();
            destinations
                .map(|them| them.push(one.route, one.delivery))
                .is_some()
        };
        of_session.spawn(watched(
            "warmup-budgets",
            budgets.ask(session.clone(), give_out),
        ));
        tokio::select! {
            () = self.policy_known(&session) => self.context.follow_policy(),
            () = shutdown.cancelled() => {}
        }
        // Not sooner: one that is started again would lose the IPs that its node has, and it does not know of yet.
        let egress = self.context.router.advertised().map(str::to_owned);
        let policy = self.context.policy.clone();
        of_ips.spawn(watched(
            "addresses",
            addresses::tell(policy, session.clone(), egress),
        ));
        let mut reporters = BTreeMap::new();
        let mut works = JoinSet::new();
        let mut cluster = self.spools.cluster().clone();
        while !shutdown.is_cancelled() {
            for group in spool_groups(&cluster) {
                if let Entry::Vacant(entry) = reporters.entry(group) {
                    let spool = self.spools.get(group);
                    let work = spool.work(session.session.clone(), self.window());
                    entry.insert(work.reporter());
                    streams.lock().push(work.applied_change());
                    let take = Take {
                        context: self.context.clone(),
                        destinations: destinations.clone(),
                        spool,
                        lease: session.lease.clone(),
                        slots: slots.clone(),
                    };
                    works.spawn(watched("take-tasks", take.tasks(work)));
                }
            }
            let unreachable = reporters.iter().filter(|(_, reporter)| !reporter.is_open());
            session.set_unreachable(unreachable.map(|(group, _)| *group).collect());
            let now = session.session.borrow().clone();
            let is_working = now.id.is_some_and(|id| session.lease.holds(id));
            self.working.store(is_working, Ordering::Release);
            self.drained.store(now.drained, Ordering::Release);
            tokio::select! {
                () = cluster.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.working.store(false, Ordering::Release);
        self.drain(&destinations, &session).await;
        of_ips.abort_all();
        self.context.router.close().await;
        if let Err(error) = session.close().await {
            tracing::warn!(%error, "the session could not be closed");
        }
        of_session.abort_all();
    }

    /// No task is begun before the policy that came with the session is understood: it would go from another IP, and past
    /// the limits.
    async fn policy_known(&self, session: &KeptSession) {
        let mut session = session.session.clone();
        if session.wait_for(|now| now.id.is_some()).await.is_err() {
            return;
        }
        let texts = self.spools.state().policy();
        let resources = texts.borrow().resources.len();
        let mut policy = self.context.policy.clone();
        let known = policy.wait_for(|policy| own_resources(policy) == resources);
        if tokio::time::timeout(UNDERSTAND_WITHIN, known)
            .await
            .is_err()
        {
            tracing::error!("the policy is not understood here; going on with what is");
        }
    }

    /// The window is for all groups together; each gets all of it while there is one.
    fn window(&self) -> u32 {
        let groups = u32::try_from(spool_groups(self.spools.cluster()).len()).unwrap_or(1);
        (self.context.config.window / groups.max(1)).max(1)
    }

    /// Others take the slots over while the last results are awaited here, which go over the streams of this session.
    async fn drain(&self, destinations: &Destinations, session: &KeptSession) {
        session.retire();
        self.context.drain.cancel();
        destinations.return_stopped();
        let finish = async {
            destinations.drained().await;
            self.context.reports.close();
            self.context.reports.wait().await;
        };
        if tokio::time::timeout(DRAIN, finish).await.is_err() {
            tracing::warn!(
                "the drain took too long; some results may be lost and their mail sent again"
            );
        }
    }
}

/// Resources that are not built in.
fn own_resources(policy: &Policy) -> usize {
    let places = policy.resources().map(|(_, _, place)| place);
    places
        .filter(|place| &*place.source != BUILT_IN_NAME)
        .count()
}

fn spool_groups(cluster: &Cluster) -> Vec<GroupId> {
    let view = cluster.view();
    let groups = view.keys().filter(|group| **group != GroupId::META);
    groups.copied().collect()
}

/// The tasks of one spool group on their way to their destinations.
struct Take {
    context: Arc<Context>,
    destinations: Arc<Destinations>,
    spool: Spool,
    lease: Lease,
    slots: Arc<Slots>,
}

impl Take {
    async fn tasks(self, mut work: Work) {
        while let Some(tasks) = work.next().await {
            for task in tasks {
                let reporter = work.reporter();
                let delivery = DeliveryTask {
                    claim: self.slots.claim(task.task.slot, task.epoch),
                    held: TaskGuard::new(
                        self.context.metrics.held.clone(),
                        reporter.clone(),
                        &task,
                    ),
                    spend: None,
                    content: OnceLock::new(),
                    was_cut: false,
                    task,
                    reporter,
                    spool: self.spool.clone(),
                    lease: self.lease.clone(),
                };
                tokio::spawn(start(
                    self.context.clone(),
                    self.destinations.clone(),
                    delivery,
                ));
            }
        }
    }
}

/// Finds the way for one task.
async fn start(context: Arc<Context>, destinations: Arc<Destinations>, delivery: DeliveryTask) {
    let is_done = tokio::select! {
        is_done = context.recovered.contradicts(&delivery.task) => is_done,
        () = delivery.claim.stop.cancelled() => true,
    };
    if is_done {
        return;
    }
    let created = delivery.task.task.created;
    if context
        .config
        .retry
        .is_expired(created, context.active_actions.now())
    {
        let last = delivery.task.task.last_reply.clone();
        let last = last.unwrap_or_else(|| Reply::ours((4, 4, 7), "no attempt was made"));
        context.settle_all(
            delivery,
            Attempt::default(),
            Verdict::Expired,
            &expired(&last),
        );
        return;
    }
    let Some(delivery) = context.heed(delivery) else {
        return;
    };
    let policy = context.policy.borrow().clone();
    let found = tokio::select! {
        found = find::find(&context.config, &context.resolver, &policy, &delivery.task) => found,
        () = delivery.claim.stop.cancelled() => return,
    };
    match found {
        Ok(route) if sites::is_elsewhere(&policy, &delivery.task.task, &route.site) => {
            context.refile(delivery, &route.site);
        }
        Ok(route) => {
            let pool = delivery.task.task.pool(&delivery.task.message.envelope);
            tokio::select! {
                () = context.router.settle(&policy, pool) => {}
                () = delivery.claim.stop.cancelled() => return,
            }
            destinations.push(route, delivery);
        }
        Err((verdict, reply)) => {
            let attempt = Attempt {
                site: delivery.task.task.domain.to_string(),
                ..Attempt::default()
            };
            context.settle_all(delivery, attempt, verdict, &reply);
        }
    }
}
