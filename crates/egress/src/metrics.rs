//! What an egress node counts. Labels are IPs of this node, which are few, and words of this crate.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IpLabel {
    pub ip: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub tunnels: Family<IpLabel, Gauge>,
    pub refused: Family<ReasonLabel, Counter>,
    pub connect_failures: Family<ReasonLabel, Counter>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "skein_egress_tunnels",
            "Open connections from a source IP of this node, those of its own sender and those of others",
            metrics.tunnels.clone(),
        );
        registry.register(
            "skein_egress_refused",
            "Requests of senders that were refused before anything was tried",
            metrics.refused.clone(),
        );
        registry.register(
            "skein_egress_connect_failures",
            "Connections that other senders wanted from a source IP of this node and that did not come about",
            metrics.connect_failures.clone(),
        );
        metrics
    }

    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn count_connect_failure(&self, reason: &'static str) {
        let label = ReasonLabel { reason };
        self.connect_failures.get_or_create(&label).inc();
    }

    pub(crate) fn set_tunnels(&self, ip: &str, tunnels: u32) {
        let label = IpLabel { ip: ip.to_owned() };
        self.tunnels.get_or_create(&label).set(tunnels.into());
    }

    /// For an IP that is here no longer.
    pub(crate) fn forget(&self, ip: &str) {
        self.tunnels.remove(&IpLabel { ip: ip.to_owned() });
    }
}
