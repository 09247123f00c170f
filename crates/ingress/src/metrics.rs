//! What the intake counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub connections: Gauge,
    pub memory: Gauge,
    pub accepted: Counter,
    pub accepted_bytes: Counter,
    pub refused: Counter,
    pub refused_at_mail: Counter,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "skein_smtp_in_connections",
            "Open connections of clients",
            metrics.connections.clone(),
        );
        registry.register(
            "skein_smtp_in_memory_bytes",
            "Bytes of messages on their way in that are in memory",
            metrics.memory.clone(),
        );
        registry.register(
            "skein_messages_accepted",
            "Messages answered with 250",
            metrics.accepted.clone(),
        );
        registry.register(
            "skein_accepted_bytes",
            "Bytes of these messages",
            metrics.accepted_bytes.clone(),
        );
        registry.register(
            "skein_messages_refused",
            "Messages whose body came and that were not taken",
            metrics.refused.clone(),
        );
        registry.register(
            "skein_messages_refused_at_mail",
            "MAIL commands refused because no spool group could take mail: no leader, or no room on disk",
            metrics.refused_at_mail.clone(),
        );
        metrics
    }
}
