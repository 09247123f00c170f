//! What this sender counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One of four words, so the number of series is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub attempts: Family<OutcomeLabel, Counter>,
    pub connections: Gauge,
    pub connect_failures: Counter,
    pub held: Gauge,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "skein_delivery_recipients",
            "Recipients by what an attempt came to",
            metrics.attempts.clone(),
        );
        registry.register(
            "skein_smtp_out_connections",
            "Open connections to other hosts",
            metrics.connections.clone(),
        );
        registry.register(
            "skein_smtp_out_connect_failures",
            "Attempts to connect that no host of a destination answered",
            metrics.connect_failures.clone(),
        );
        registry.register(
            "skein_sender_tasks",
            "Tasks that this sender holds",
            metrics.held.clone(),
        );
        metrics
    }

    pub fn count(&self, outcome: &'static str) {
        self.attempts.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
