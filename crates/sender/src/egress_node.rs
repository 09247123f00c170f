//! A node that only lends its source IPs: it has a session so that IPs are placed on it, and no slots, tasks or mail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skein_client::{Cluster, ClusterState, KeptSession, Sessions};
use skein_dns::Resolver;
use skein_model::meta::Process;
use skein_policy::Policy;
use skein_runtime::watched;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::source_ip::addresses;
use crate::source_ip::preflight::{self, DnsblZones};
use crate::source_ip::router::SourceIpRouter;

/// As a sender tells how it is.
const TELL: Duration = Duration::from_secs(2);
/// Between two looks whether the session lives, and whether the IPs are gone.
const LOOK: Duration = Duration::from_millis(50);
/// Others take the IPs over while what is open through them ends; a host that has a final dot may take its time, and a drain
/// of a sender waits for it as long.
const HAND_OVER: Duration = Duration::from_secs(120);

/// What an egress node is told by its configuration.
#[derive(Debug, Clone)]
pub struct EgressConfig {
    /// One for each process; `home` of a source IP may name it.
    pub name: String,
    pub dnsbl_zones: DnsblZones,
}

pub struct EgressNode {
    config: EgressConfig,
    cluster: Cluster,
    state: ClusterState,
    policy: watch::Receiver<Arc<Policy>>,
    resolver: Arc<Resolver>,
    router: Arc<SourceIpRouter>,
    health: Arc<Health>,
    working: Arc<AtomicBool>,
}

impl std::fmt::Debug for EgressNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EgressNode")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl EgressNode {
    pub fn new(
        config: EgressConfig,
        cluster: Cluster,
        state: ClusterState,
        policy: watch::Receiver<Arc<Policy>>,
        resolver: Arc<Resolver>,
        router: Arc<SourceIpRouter>,
    ) -> Self {
        Self {
            config,
            cluster,
            state,
            policy,
            resolver,
            router,
            health: Arc::default(),
            working: Arc::default(),
        }
    }

    /// What this node says of itself when the cluster is asked.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Tells whether IPs can be placed here at this moment.
    pub fn working(&self) -> Arc<AtomicBool> {
        self.working.clone()
    }

    /// Lends the IPs until `shutdown`, then hands them over.
    pub async fn run(self, shutdown: CancellationToken) {
        let process = Process {
            number: rand::random::<u64>().max(1),
            place: format!("process {}", std::process::id()),
        };
        let sessions = Sessions::new(self.cluster.clone(), self.state.clone());
        let session = Arc::new(sessions.lend(&self.config.name, process));
        let mut tasks = JoinSet::new();
        self.begin(&mut tasks, &session);
        while !shutdown.is_cancelled() {
            let now = session.session.borrow().id;
            let is_working = now.is_some_and(|id| session.lease.holds(id));
            self.working.store(is_working, Ordering::Release);
            self.state.goes_by_policy(self.policy.borrow().version());
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.working.store(false, Ordering::Release);
        session.retire();
        if tokio::time::timeout(HAND_OVER, handed_over(&session))
            .await
            .is_err()
        {
            tracing::warn!("the source IPs were not taken over in time; what is open is cut");
        }
        tasks.abort_all();
        self.router.close().await;
        if let Err(error) = session.close().await {
            tracing::warn!(%error, "the session could not be closed");
        }
    }

    /// Does what goes on until the IPs are handed over.
    fn begin(&self, tasks: &mut JoinSet<()>, session: &Arc<KeptSession>) {
        let (policy, router) = (&self.policy, self.router.clone());
        let egress = router.advertised().map(str::to_owned);
        let placements = router.follow(policy.clone(), session.clone());
        tasks.spawn(watched("source-ips", placements));
        let zones = self.config.dnsbl_zones.clone();
        let resolver = self.resolver.clone();
        let checks = preflight::look_after(resolver, zones, policy.clone(), session.clone());
        tasks.spawn(watched("ip-checks", checks));
        let tell = addresses::tell(policy.clone(), session.clone(), egress);
        tasks.spawn(watched("addresses", tell));
        let name_servers = self.health.clone().ask_name_servers(self.resolver.clone());
        tasks.spawn(watched("name-servers", name_servers));
        let (health, resolver) = (self.health.clone(), self.resolver.clone());
        tasks.spawn(watched(
            "health",
            tell_health(health, resolver, session.clone()),
        ));
    }
}

async fn tell_health(health: Arc<Health>, resolver: Arc<Resolver>, session: Arc<KeptSession>) {
    loop {
        tokio::time::sleep(TELL).await;
        let told = health.told(false);
        match session.tell_waits(Vec::new(), told, &[]).await {
            Ok(probes) => health.probe(&resolver, probes),
            Err(error) => tracing::debug!(%error, "how this node is could not be told"),
        }
    }
}

/// Completes when no IP is placed on the session any more, or it has ended: what ends a lease may be that the whole cluster
/// stops.
async fn handed_over(session: &KeptSession) {
    loop {
        let own = session.session.borrow().id;
        let Some(own) = own.filter(|own| session.lease.holds(*own)) else {
            return;
        };
        let placed = session.ips.borrow().clone();
        if placed.ips.values().all(|ip| ip.session != own.0) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
