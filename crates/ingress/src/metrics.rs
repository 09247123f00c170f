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
    pub logins_failed: Counter,
    pub logins_locked: Counter,
    pub relaying_refused: Counter,
    pub lockouts: Counter,
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
        registry.register(
            "skein_smtp_in_logins_failed",
            "Logins with a wrong user or password",
            metrics.logins_failed.clone(),
        );
        registry.register(
            "skein_smtp_in_logins_locked",
            "Logins that were not looked at, because the client or the user had failed too often",
            metrics.logins_locked.clone(),
        );
        registry.register(
            "skein_smtp_in_relaying_refused",
            "Recipients refused because the client may not send",
            metrics.relaying_refused.clone(),
        );
        registry.register(
            "skein_smtp_in_lockouts",
            "Times that a client or user was locked out for some minutes, after too many failed logins or refused recipients",
            metrics.lockouts.clone(),
        );
        metrics
    }
}
