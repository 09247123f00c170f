//! What this sender counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use skein_model::throttle::Scope;

/// One of four words, so the number of series is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: &'static str,
}

/// One for each scope of limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScopeLabel {
    pub scope: &'static str,
}

/// One destination that waits, for as long as this lives.
#[derive(Debug)]
pub struct WaitingGauge(Gauge);

impl Drop for WaitingGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub attempts: Family<OutcomeLabel, Counter>,
    pub connections: Gauge,
    pub connect_failures: Counter,
    pub held: Gauge,
    waiting: Family<ScopeLabel, Gauge>,
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
        registry.register(
            "skein_sender_held",
            "Destinations that wait for a limit",
            metrics.waiting.clone(),
        );
        metrics
    }

    /// A destination waits for a limit of this scope.
    pub fn waits(&self, scope: Scope) -> WaitingGauge {
        let scope = scope.name();
        let gauge = self.waiting.get_or_create(&ScopeLabel { scope }).clone();
        gauge.inc();
        WaitingGauge(gauge)
    }

    pub fn count(&self, outcome: &'static str) {
        self.attempts.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
