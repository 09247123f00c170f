//! The source IPs of a node: for its own sender, for senders on other nodes, or for those alone.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use prometheus_client::registry::Registry;
use skein_client::ports::Limits;
use skein_client::tls::Protocol;
use skein_client::{Cluster, ClusterState};
use skein_dns::Resolver;
use skein_egress::{Egress, Targets};
use skein_sender::{DnsblZones, EgressConfig, EgressNode, SourceIpRouter};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::convert::dns_config;
use super::listen;
use crate::config::Config;
use crate::{links, policy, tls};

/// A node that only lends its source IPs, running.
pub struct LendingPart {
    pub working: Arc<AtomicBool>,
    pub health: Arc<skein_sender::Health>,
    /// Which the node takes over while it runs.
    pub dnsbl_zones: DnsblZones,
    lending: JoinHandle<()>,
    stop: CancellationToken,
}

impl LendingPart {
    pub async fn start(
        config: &Config,
        cluster: Cluster,
        ports: &tls::Ports,
        dns: skein_dns::Metrics,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let router = router(config, ports, registry).await?;
        let state = ClusterState::default();
        let policy = policy::follow(&state);
        let resolver = Arc::new(Resolver::counted(dns_config(config), dns).context("dns")?);
        let egress_config = egress_config(config);
        let dnsbl_zones = egress_config.dnsbl_zones.clone();
        let node = EgressNode::new(egress_config, cluster, state, policy, resolver, router);
        let stop = CancellationToken::new();
        Ok(Self {
            working: node.working(),
            health: node.health(),
            dnsbl_zones,
            lending: tokio::spawn(skein_runtime::watched("lending", node.run(stop.clone()))),
            stop,
        })
    }

    /// Hands the IPs over.
    pub async fn drain(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.lending.await.context("the egress node ended badly")
    }
}

fn egress_config(config: &Config) -> EgressConfig {
    let named = config.cluster.name.clone();
    let named = named.or_else(|| config.egress.advertised());
    EgressConfig {
        name: named.unwrap_or_else(|| config.smtp.hostname.clone()),
        dnsbl_zones: DnsblZones::new(config.dns.dnsbl_zones.clone()),
    }
}

/// The source IPs of this node and the ways to those of others, and the port where others go out through this one's.
pub async fn router(
    config: &Config,
    ports: &tls::Ports,
    registry: &mut Registry,
) -> anyhow::Result<Arc<SourceIpRouter>> {
    let metrics = skein_egress::Metrics::register(registry);
    let egress_config = skein_egress::Config {
        targets: targets(config),
        ..skein_egress::Config::default()
    };
    let egress = Egress::new(&egress_config, metrics);
    if let Some(address) = config.egress.listen {
        let listener = listen(address, "egress.listen").await?;
        tracing::info!(%address, "egress");
        // A tunnel that is open has its place until it ends; how many there are the egress decides.
        let limits = Limits {
            open: usize::MAX,
            ..ports.limits
        };
        let guard = ports.for_nodes(Protocol::Tunnel);
        links::serve_egress(egress.clone(), listener, guard, limits);
    }
    let to_others = links::to_egress(ports.cluster.clone());
    Ok(SourceIpRouter::new(
        egress,
        config.egress.advertised(),
        to_others,
    ))
}

/// Where other nodes do not come to through this one.
fn targets(config: &Config) -> Targets {
    let (cluster, admin, http) = (&config.cluster, &config.admin, &config.http);
    let own = [cluster.listen, config.egress.listen, Some(http.listen)];
    let admin = config.role.controls().then_some(admin.listen);
    let own = own.into_iter().chain([admin]).flatten();
    let nodes = cluster.peers.iter().filter_map(|peer| peer.parse().ok());
    Targets {
        allow_local: config.delivery.allow_private_addresses,
        own_ports: own.map(|address| address.port()).collect(),
        nodes: nodes.collect(),
    }
}
