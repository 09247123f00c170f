//! What the intake counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use skein_authentication::{Findings, Word};

/// Tenants that are told apart, the first that bring mail: the series of a process live as long as it does.
const TENANTS_MAX: usize = 100;
/// What stands for all others.
const OTHER: &str = "other";
/// From a commit on a fast disk to the 20 s after which a client is told that the result is not known.
const ACCEPT_SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 20.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    check: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabel {
    tenant: String,
}

/// A connection that is open for as long as this lives.
#[derive(Debug)]
pub struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone)]
pub struct Metrics {
    connections: Family<ListenerLabel, Gauge>,
    opened: Family<ListenerLabel, Counter>,
    connections_refused: Family<RefusedLabels, Counter>,
    tls: Family<VersionLabel, Counter>,
    pub tls_failures: Counter,
    pub memory: Gauge,
    accepted: Family<TenantLabel, Counter>,
    accepted_bytes: Family<TenantLabel, Counter>,
    tenants: Arc<Mutex<BTreeSet<String>>>,
    /// From the final dot to the decision.
    pub accept: Histogram,
    pub refused: Counter,
    pub refused_at_mail: Counter,
    pub logins: Counter,
    pub logins_failed: Counter,
    pub logins_locked: Counter,
    pub logins_in_clear: Counter,
    pub relaying_refused: Counter,
    pub unknown_recipients: Counter,
    pub dmarc_refused: Counter,
    checks: Family<CheckLabels, Counter>,
    pub senders_refused: Counter,
    pub lockouts: Counter,
    pub over_rate: Counter,
    pub over_quota: Counter,
    pub signatures: Counter,
    pub unsigned_refused: Counter,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Family::default(),
            opened: Family::default(),
            connections_refused: Family::default(),
            tls: Family::default(),
            tls_failures: Counter::default(),
            memory: Gauge::default(),
            accepted: Family::default(),
            accepted_bytes: Family::default(),
            tenants: Arc::default(),
            accept: Histogram::new(ACCEPT_SECONDS),
            refused: Counter::default(),
            refused_at_mail: Counter::default(),
            logins: Counter::default(),
            logins_failed: Counter::default(),
            logins_locked: Counter::default(),
            logins_in_clear: Counter::default(),
            relaying_refused: Counter::default(),
            unknown_recipients: Counter::default(),
            dmarc_refused: Counter::default(),
            checks: Family::default(),
            senders_refused: Counter::default(),
            lockouts: Counter::default(),
            over_rate: Counter::default(),
            over_quota: Counter::default(),
            signatures: Counter::default(),
            unsigned_refused: Counter::default(),
        };
        metrics.register_connections(registry);
        metrics.register_messages(registry);
        metrics.register_signing(registry);
        metrics.register_strangers(registry);
        metrics.register_limits(registry);
        metrics.register_inbound(registry);
        metrics
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "skein_smtp_in_connections",
            "Open connections of clients",
            self.connections.clone(),
        );
        registry.register(
            "skein_smtp_in_connections_opened",
            "Connections of clients that were taken",
            self.opened.clone(),
        );
        registry.register(
            "skein_smtp_in_connections_refused",
            "Connections of clients that were not taken",
            self.connections_refused.clone(),
        );
        registry.register(
            "skein_smtp_in_tls",
            "TLS handshakes with clients that ended well",
            self.tls.clone(),
        );
        registry.register(
            "skein_smtp_in_tls_failures",
            "TLS handshakes with clients that failed",
            self.tls_failures.clone(),
        );
        registry.register(
            "skein_smtp_in_memory_bytes",
            "Bytes of messages on their way in that are in memory",
            self.memory.clone(),
        );
    }

    fn register_messages(&self, registry: &mut Registry) {
        registry.register(
            "skein_messages_accepted",
            "Messages answered with 250",
            self.accepted.clone(),
        );
        registry.register(
            "skein_accepted_bytes",
            "Bytes of these messages",
            self.accepted_bytes.clone(),
        );
        registry.register(
            "skein_accept_seconds",
            "From the final dot of a message to the decision about it",
            self.accept.clone(),
        );
        registry.register(
            "skein_messages_refused",
            "Messages whose body came and that were not taken",
            self.refused.clone(),
        );
        registry.register(
            "skein_messages_refused_at_mail",
            "MAIL commands refused because no spool group could take mail: no leader, or no room on disk",
            self.refused_at_mail.clone(),
        );
    }

    fn register_signing(&self, registry: &mut Registry) {
        registry.register(
            "skein_dkim_signatures",
            "DKIM signatures of messages that came in",
            self.signatures.clone(),
        );
        registry.register(
            "skein_dkim_unsigned_refused",
            "Messages and envelopes refused until later because it could not be found out what they are signed with, or a key could not be used",
            self.unsigned_refused.clone(),
        );
    }

    fn register_limits(&self, registry: &mut Registry) {
        registry.register(
            "skein_smtp_in_over_rate",
            "Messages and recipients refused until later because their tenant or credential is at its rate",
            self.over_rate.clone(),
        );
        registry.register(
            "skein_smtp_in_over_quota",
            "Messages refused until later because their tenant has as much mail waiting as it may",
            self.over_quota.clone(),
        );
    }

    fn register_inbound(&self, registry: &mut Registry) {
        registry.register(
            "skein_smtp_in_unknown_recipients",
            "Recipients of strangers refused because nobody has the address at a domain that the cluster hosts",
            self.unknown_recipients.clone(),
        );
        registry.register(
            "skein_smtp_in_dmarc_refused",
            "Messages of strangers refused because their author's domain has it so (DMARC)",
            self.dmarc_refused.clone(),
        );
        registry.register(
            "skein_smtp_in_checks",
            "What messages of strangers proved of themselves, by check and result",
            self.checks.clone(),
        );
    }

    /// What was found of a message.
    pub fn checked(&self, findings: &Findings) {
        let count = |check: &'static str, result: Word| {
            let result = result.name();
            self.checks
                .get_or_create(&CheckLabels { check, result })
                .inc();
        };
        count("iprev", findings.iprev);
        count("spf", findings.spf_mail_from);
        count("dmarc", findings.dmarc.result);
        if findings.dkim.is_empty() {
            count("dkim", Word::None);
        }
        for signature in &findings.dkim {
            count("dkim", signature.result);
        }
        if let Some(arc) = findings.arc {
            count("arc", arc);
        }
    }

    fn register_strangers(&self, registry: &mut Registry) {
        registry.register(
            "skein_smtp_in_logins",
            "Logins that succeeded",
            self.logins.clone(),
        );
        registry.register(
            "skein_smtp_in_logins_failed",
            "Logins with a wrong user or password",
            self.logins_failed.clone(),
        );
        registry.register(
            "skein_smtp_in_logins_locked",
            "Logins that were not looked at, because the client or the user had failed too often",
            self.logins_locked.clone(),
        );
        registry.register(
            "skein_smtp_in_logins_in_clear",
            "Logins that were refused because the connection was not encrypted",
            self.logins_in_clear.clone(),
        );
        registry.register(
            "skein_smtp_in_relaying_refused",
            "Recipients refused because the client may not send",
            self.relaying_refused.clone(),
        );
        registry.register(
            "skein_smtp_in_senders_refused",
            "Messages and envelopes refused because their tenant may not send as this domain, or is suspended",
            self.senders_refused.clone(),
        );
        registry.register(
            "skein_smtp_in_lockouts",
            "Times that a client or user was locked out for some minutes, after too many failed logins or refused recipients",
            self.lockouts.clone(),
        );
    }

    /// A connection to the listener at this address.
    pub fn connected(&self, listener: &str) -> Open {
        let label = ListenerLabel {
            listener: listener.to_owned(),
        };
        self.opened.get_or_create(&label).inc();
        let open = self.connections.get_or_create(&label).clone();
        open.inc();
        Open(open)
    }

    pub fn refused_connection(&self, listener: &str, reason: &'static str) {
        let labels = RefusedLabels {
            listener: listener.to_owned(),
            reason,
        };
        self.connections_refused.get_or_create(&labels).inc();
    }

    pub fn encrypted(&self, version: Option<rustls::ProtocolVersion>) {
        let version = match version {
            Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
            _ => "other",
        };
        self.tls.get_or_create(&VersionLabel { version }).inc();
    }

    pub fn accepted(&self, tenant: &str, bytes: u64) {
        let tenant = self.tenant(tenant).to_owned();
        let label = TenantLabel { tenant };
        self.accepted.get_or_create(&label).inc();
        self.accepted_bytes.get_or_create(&label).inc_by(bytes);
    }

    fn tenant<'t>(&self, tenant: &'t str) -> &'t str {
        let mut known = self.tenants.lock();
        if known.contains(tenant) {
            return tenant;
        }
        if known.len() >= TENANTS_MAX {
            return OTHER;
        }
        known.insert(tenant.to_owned());
        tenant
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn tenants_beyond_a_hundred_are_one() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for tenant in 0..150 {
            metrics.accepted(&format!("t{tenant}"), 10);
        }
        let mut text = String::new();
        assert!(encode(&mut text, &registry).is_ok());
        assert!(text.contains("skein_messages_accepted_total{tenant=\"t99\"} 1\n"));
        assert!(text.contains("skein_messages_accepted_total{tenant=\"other\"} 50\n"));
        assert!(text.contains("skein_accepted_bytes_total{tenant=\"other\"} 500\n"));
    }
}
