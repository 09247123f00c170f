//! The sender's life: a session, a work stream, tasks to their destinations, and the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skein_client::{KeptSession, PlacedIps, Sessions, Spools};
use skein_dns::{OwnAddresses, Resolver};
use skein_model::DurationMs;
use skein_policy::Policy;
use skein_runtime::watched;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::automation::active_actions::ActionsHere;
use crate::claim::Slots;
use crate::config::Config;
use crate::config::current::CurrentConfig;
use crate::destination::destinations::Destinations;
use crate::destination::outbound::Outbound;
use crate::destination::placer::Placer;
use crate::destination::waits::StatusReporter;
use crate::health::Health;
use crate::limits::intake::IntakeLimits;
use crate::limits::limiters::LocalLimiters;
use crate::limits::path_policy::PathPolicies;
use crate::metrics::{LimitUse, Metrics};
use crate::result::dsn::DsnWriter;
use crate::result::journal::Journal;
use crate::result::recovered::Recovered;
use crate::result::results::Results;
use crate::result::{process, recovery};
use crate::route::sites::Sites;
use crate::smtp::broken_tls::BrokenTls;
use crate::smtp::connector::Connector;
use crate::smtp::tls::TlsClient;
use crate::source_ip::addresses;
use crate::source_ip::preflight::{self, DnsblZones};
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::sources::Sources;
use crate::task::delivery::Routed;
use crate::task::prepared::Rewrites;
use crate::tls_reports::TlsTeller;
use crate::work_streams::{TaskRouter, WorkStreams};

/// After the final dot a peer may take its time; a drain waits for it this long (DESIGN section 8).
const DRAIN: Duration = Duration::from_secs(120);
/// Between two looks whether the session lives, for the readiness of the node.
const LOOK: Duration = Duration::from_millis(50);

pub struct Sender {
    config: CurrentConfig,
    dnsbl_zones: DnsblZones,
    spools: Spools,
    sites: Sites,
    health: Arc<Health>,
    router: Arc<TaskRouter>,
    working: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
    tls_results: Arc<TlsTeller>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("name", &self.config.get().name)
            .finish_non_exhaustive()
    }
}

/// A sender that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("a root certificate cannot be used")]
    TlsRoots(#[source] skein_tls::BadRoot),
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
        let tls = TlsClient::new(&config.tls_roots).map_err(SetupError::TlsRoots)?;
        let (journal, facts) = match &config.scratch_dir {
            Some(dir) => Journal::open(dir),
            None => (Journal::none(), Vec::new()),
        };
        resolver.set_own_addresses(own_addresses(&config, &policy.borrow()));
        let dnsbl_zones = DnsblZones::new(config.dnsbl_zones.clone());
        let config = CurrentConfig::new(config);
        let sites = Sites::new(config.clone(), resolver.clone(), policy.clone());
        let actions = Arc::new(ActionsHere::new(spools.state().active_actions()));
        let metrics = Metrics::register(registry);
        let (sources, health) = (Sources::default(), Arc::new(Health::default()));
        let results = Arc::new(Results {
            config: config.clone(),
            dsns: DsnWriter {
                config: config.clone(),
                sites: sites.clone(),
                policy: policy.clone(),
                signing: spools.signing(),
            },
            journal,
            metrics: metrics.clone(),
            policy: policy.clone(),
            actions: actions.clone(),
            site_health: sources.health.clone(),
            reports: TaskTracker::new(),
        });
        let placer = Placer {
            policy,
            sources,
            router,
            budgets: Arc::default(),
            actions,
            path_policies: PathPolicies::default(),
            config: config.clone(),
        };
        let outbound = Outbound {
            config: config.clone(),
            connector: Connector {
                tls,
                broken_tls: Arc::new(BrokenTls::new(spools.state().broken_tls())),
                connects: health.connects.clone(),
                secret_files: health.secret_files.clone(),
            },
            reactions: Arc::default(),
            tls_results: Arc::new(spools.tls_policies()),
            rewrites: Rewrites::new(),
            metrics,
            drain: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let limiters = LocalLimiters::new();
        let tls_results = Arc::new(TlsTeller::new(spools.state().clone(), resolver.clone()));
        registry.register_collector(Box::new(LimitUse(limiters.clone())));
        let router = Arc::new(TaskRouter {
            config: config.clone(),
            resolver,
            tls_policies: spools.tls_policies(),
            recovered: Recovered::new(facts),
            destinations: Destinations::new(placer, limiters, outbound, results),
        });
        Ok(Self {
            config,
            dnsbl_zones,
            spools,
            sites,
            health,
            router,
            tls_results,
            working: Arc::default(),
            drained: Arc::default(),
        })
    }

    /// Finds sites as this sender does.
    pub fn sites(&self) -> Sites {
        self.sites.clone()
    }

    /// Limits of mail that comes in, which are shared by senders as those of mail that goes out are.
    pub fn intake_limits(&self) -> IntakeLimits {
        IntakeLimits::new(self.router.destinations.limiters.clone())
    }

    /// Where it takes over other DNSBLs while it runs.
    pub fn dnsbl_zones(&self) -> DnsblZones {
        self.dnsbl_zones.clone()
    }

    /// Where it takes over other settings while it runs.
    pub fn config(&self) -> CurrentConfig {
        self.config.clone()
    }

    /// What this sender says of itself when the cluster is asked.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
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
        let destinations = &self.router.destinations;
        let (recovered, results) = (&self.router.recovered, &destinations.results);
        tokio::select! {
            () = recovery::tell(recovered, results, &self.spools) => {}
            () = shutdown.cancelled() => return,
        }
        destinations.follow(self.spools.state().clone());
        let session = self.begin_session();
        let slots = Arc::new(Slots::new(destinations.outbound.drain.clone()));
        destinations.limiters.set_slots(slots.clone());
        let mut streams = WorkStreams::new(self.router.clone(), session.clone(), slots);
        // Tasks that end before the IPs are let go of, and tasks that go on until the session is closed.
        let (mut of_ips, mut of_session) = (JoinSet::new(), JoinSet::new());
        self.follow_session(&mut of_session, &streams);
        self.follow_ips(&mut of_ips, &session);
        tokio::select! {
            () = session_stands(&session) => {}
            () = shutdown.cancelled() => {}
        }
        // Not sooner: one that is started again would lose the IPs that its node has, and it does not know of yet.
        let egress = destinations.placer.router.advertised().map(str::to_owned);
        let policy = destinations.placer.policy.clone();
        let tell = addresses::tell(policy, session.clone(), egress);
        of_ips.spawn(watched("addresses", tell));
        self.take_tasks(&mut streams, &shutdown).await;
        self.drain(&session).await;
        of_ips.abort_all();
        destinations.placer.router.close().await;
        self.tls_results.tell_rest(&session).await;
        if let Err(error) = session.close().await {
            tracing::warn!(%error, "the session could not be closed");
        }
        of_session.abort_all();
    }

    fn begin_session(&self) -> Arc<KeptSession> {
        let destinations = &self.router.destinations;
        let sessions = Sessions::new(self.spools.cluster().clone(), self.spools.state().clone());
        let config = self.config.get();
        let scratch_dir = config.scratch_dir.as_deref();
        let process = process::of(scratch_dir, &destinations.results.journal);
        let limiters = destinations.limiters.clone();
        let session = Arc::new(sessions.keep(&config.name, process, limiters));
        destinations.limiters.set_lease(session.lease.clone());
        session
    }

    /// Does what goes on until the session is closed.
    fn follow_session(&self, tasks: &mut JoinSet<()>, streams: &WorkStreams) {
        let (session, destinations) = (&streams.session, &self.router.destinations);
        let (slots, reached) = (streams.slots.clone(), streams.reached.clone());
        let slots = slots.follow(session.clone(), destinations.clone(), reached);
        tasks.spawn(watched("slots", slots));
        let lease = destinations.limiters.clone().follow_lease();
        tasks.spawn(watched("lease", lease));
        let (resolver, policy) = (&self.router.resolver, &destinations.placer.policy);
        tasks.spawn(addresses::follow_own(
            resolver.clone(),
            self.config.get().own_addresses.clone(),
            policy.clone(),
            session.clone(),
        ));
        let status = StatusReporter {
            destinations: Arc::downgrade(destinations),
            health: self.health.clone(),
            resolver: resolver.clone(),
            broken_tls: destinations.outbound.connector.broken_tls.clone(),
            config: self.config.clone(),
        };
        tasks.spawn(watched("waits", status.tell(session.clone())));
        let reactions = destinations.outbound.reactions.clone();
        tasks.spawn(watched("reactions", reactions.tell(session.clone())));
        let tls_results = self.tls_results.clone();
        tasks.spawn(watched("tls-results", tls_results.tell(session.clone())));
        let name_servers = self.health.clone().ask_name_servers(resolver.clone());
        tasks.spawn(watched("name-servers", name_servers));
        let validation = self.health.clone().check_validation(resolver.clone());
        tasks.spawn(watched("dnssec", validation));
        let gives_out = Arc::downgrade(destinations);
        let give_out = move |one: Routed| {
            let destinations = gives_out.upgrade();
            destinations
                .map(|them| them.push(one.route, one.delivery))
                .is_some()
        };
        let budgets = destinations.placer.budgets.clone();
        let budgets = budgets.ask(session.clone(), give_out);
        tasks.spawn(watched("warmup-budgets", budgets));
    }

    /// Does what ends before the source IPs are let go of.
    fn follow_ips(&self, tasks: &mut JoinSet<()>, session: &Arc<KeptSession>) {
        let placer = &self.router.destinations.placer;
        let (policy, router) = (&placer.policy, placer.router.clone());
        let placements = router.follow(policy.clone(), session.clone());
        tasks.spawn(watched("source-ips", placements));
        let zones = self.dnsbl_zones.clone();
        let resolver = self.router.resolver.clone();
        let checks = preflight::look_after(resolver, zones, policy.clone(), session.clone());
        tasks.spawn(watched("ip-checks", checks));
    }

    /// Takes the tasks of all groups until `shutdown`.
    async fn take_tasks(&self, streams: &mut WorkStreams, shutdown: &CancellationToken) {
        let session = streams.session.clone();
        let mut cluster = self.spools.cluster().clone();
        while !shutdown.is_cancelled() {
            streams.open(&self.spools, self.config.get().window);
            session.set_unreachable(streams.unreachable());
            let now = session.session.borrow().clone();
            let is_working = now.id.is_some_and(|id| session.lease.holds(id));
            self.working.store(is_working, Ordering::Release);
            self.drained.store(now.drained, Ordering::Release);
            let lease = now.id.map_or(DurationMs(0), |id| session.lease.left(id));
            let metrics = &self.router.destinations.outbound.metrics;
            metrics.set_session(now.slots.len() + now.leaving.len(), lease);
            tokio::select! {
                () = cluster.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.working.store(false, Ordering::Release);
    }

    /// Others take the slots over while the last results are awaited here, which go over the streams of this session.
    async fn drain(&self, session: &KeptSession) {
        session.retire();
        let destinations = &self.router.destinations;
        destinations.drain();
        if tokio::time::timeout(DRAIN, destinations.drained())
            .await
            .is_err()
        {
            tracing::warn!(
                "the drain took too long; some results may be lost and their mail sent again"
            );
        }
    }
}

/// Completes when all that begins here goes by the policy that came with the session: it does not stand before.
async fn session_stands(session: &KeptSession) {
    let mut session = session.session.clone();
    // One that is closed is of no more interest.
    let _ = session.wait_for(|now| now.id.is_some()).await;
}

/// The addresses at which mail would come back to this node, as far as it is known before there is a session.
fn own_addresses(config: &Config, policy: &Policy) -> OwnAddresses {
    let (own, interfaces) = (&config.own_addresses, addresses::interfaces());
    addresses::own(own, interfaces, policy, &PlacedIps::default())
}
