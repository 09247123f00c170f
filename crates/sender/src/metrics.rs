//! What this sender counts. Labels are words of this crate, and names of providers and source IPs of the policy.

mod limits;
mod phases;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use skein_mail::dsn::Action;
use skein_model::spool::Verdict;
use skein_model::throttle::{Counted, Scope};
use skein_model::tls_report::FailureKind;
use skein_model::{DurationMs, Priority, Reply, reply_class};
use skein_policy::Policy;
use skein_tls::{Applied, Level};

pub use limits::LimitUse;

use crate::smtp::no_session::{Cause, NoSession};
use crate::smtp::times::Times;

/// Sites that are no provider's.
const OTHER: &str = "other";
/// The node's own address, which has no name.
const NODE: &str = "node";
/// From a second to the age at which mail expires.
const QUEUE_SECONDS: [f64; 14] = [
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 432_000.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
    class: &'static str,
    provider: String,
    ip: String,
}

/// Three outcomes, some thirty classes, and the providers of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BounceLabels {
    outcome: &'static str,
    class: &'static str,
    group: &'static str,
    provider: String,
}

/// Mail of one source IP to one provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PathLabels {
    provider: String,
    ip: String,
}

impl PathLabels {
    /// Of a source IP; none: of the node's own address.
    pub fn new(policy: &Policy, site: &str, ip: Option<&str>) -> Self {
        Self {
            provider: provider(policy, site).to_owned(),
            ip: ip.unwrap_or(NODE).to_owned(),
        }
    }

    pub fn provider(&self) -> &str {
        &self.provider
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    provider: String,
    ip: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabel {
    scope: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    scope: &'static str,
    counts: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProofLabels {
    policy: &'static str,
    proof: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnprovedLabels {
    policy: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriorityLabel {
    priority: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

/// The provider that a site is, or the word for all sites that are none.
fn provider<'s>(policy: &Policy, site: &'s str) -> &'s str {
    match policy.provider(site) {
        Some(_) => site,
        None => OTHER,
    }
}

/// Something that is counted for as long as this lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone)]
pub struct Metrics {
    recipients: Family<OutcomeLabels, Counter>,
    bounces: Family<BounceLabels, Counter>,
    queue_time: Family<PriorityLabel, Histogram>,
    dsns: Family<ActionLabel, Counter>,
    connections: Family<PathLabels, Gauge>,
    opened: Family<PathLabels, Counter>,
    session_failures: Family<FailureLabels, Counter>,
    pub connect_failures: Counter,
    tls: Family<VersionLabel, Counter>,
    proofs: Family<ProofLabels, Counter>,
    unproved: Family<UnprovedLabels, Counter>,
    phases: phases::Histograms,
    /// Tasks that this sender holds.
    pub held: Gauge,
    waiting: Family<ScopeLabel, Gauge>,
    throttled: Family<LimitLabels, Counter>,
    slots: Gauge,
    lease_left: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            recipients: Family::default(),
            bounces: Family::default(),
            queue_time: Family::new_with_constructor(|| Histogram::new(QUEUE_SECONDS)),
            dsns: Family::default(),
            connections: Family::default(),
            opened: Family::default(),
            session_failures: Family::default(),
            connect_failures: Counter::default(),
            tls: Family::default(),
            proofs: Family::default(),
            unproved: Family::default(),
            phases: phases::histograms(),
            held: Gauge::default(),
            waiting: Family::default(),
            throttled: Family::default(),
            slots: Gauge::default(),
            lease_left: Gauge::default(),
        };
        metrics.register_results(registry);
        metrics.register_connections(registry);
        metrics.register_limits(registry);
        metrics
    }

    fn register_results(&self, registry: &mut Registry) {
        registry.register(
            "skein_delivery_recipients",
            "Recipients by what an attempt came to",
            self.recipients.clone(),
        );
        registry.register(
            "skein_delivery_bounces",
            "Recipients that were not delivered to, by what the reply is about",
            self.bounces.clone(),
        );
        registry.register(
            "skein_delivery_queue_seconds",
            "From acceptance to delivery",
            self.queue_time.clone(),
        );
        registry.register(
            "skein_dsns",
            "Recipients that a DSN was made about",
            self.dsns.clone(),
        );
        registry.register(
            "skein_sender_tasks",
            "Tasks that this sender holds",
            self.held.clone(),
        );
        registry.register(
            "skein_sender_slots",
            "Slots that this sender owns",
            self.slots.clone(),
        );
        registry.register(
            "skein_sender_lease_left_seconds",
            "For how long this sender may act without another heartbeat",
            self.lease_left.clone(),
        );
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "skein_smtp_out_connections",
            "Open connections to other hosts",
            self.connections.clone(),
        );
        registry.register(
            "skein_smtp_out_connections_opened",
            "Sessions with other hosts that came about",
            self.opened.clone(),
        );
        registry.register(
            "skein_smtp_out_session_failures",
            "Tries to get a session with one host that failed",
            self.session_failures.clone(),
        );
        registry.register(
            "skein_smtp_out_connect_failures",
            "Tries to connect that no host of a destination answered",
            self.connect_failures.clone(),
        );
        registry.register(
            "skein_smtp_out_tls",
            "Sessions with other hosts by TLS version",
            self.tls.clone(),
        );
        registry.register(
            "skein_smtp_out_tls_proofs",
            "Sessions with other hosts by what these proved, and by whose word on TLS",
            self.proofs.clone(),
        );
        registry.register(
            "skein_smtp_out_tls_refusals",
            "Times that mail kept away from a host by what it demands of TLS, by whose word and why",
            self.unproved.clone(),
        );
        registry.register(
            "skein_smtp_out_phase_seconds",
            "Time of a step with another host",
            self.phases.clone(),
        );
    }

    fn register_limits(&self, registry: &mut Registry) {
        registry.register(
            "skein_sender_held",
            "Destinations that wait for a limit",
            self.waiting.clone(),
        );
        registry.register(
            "skein_limit_throttled",
            "Times that a destination began to wait for a limit",
            self.throttled.clone(),
        );
    }

    /// A destination waits for a limit of this kind.
    pub fn waits(&self, scope: Scope, counts: Counted) -> Held {
        let (scope, counts) = (scope.name(), counts.name());
        self.throttled
            .get_or_create(&LimitLabels { scope, counts })
            .inc();
        Held::new(self.waiting.get_or_create(&ScopeLabel { scope }).clone())
    }

    /// A session with a host came about; it is counted as open for as long as what this returns lives.
    pub fn connected(&self, path: &PathLabels) -> Held {
        Held::new(self.connections.get_or_create(path).clone())
    }

    /// A session came about after these steps, over TLS as it describes that.
    pub fn opened(&self, path: &PathLabels, setup: &Times, tls: Option<&str>) {
        self.opened.get_or_create(path).inc();
        let version = match tls.and_then(|tls| tls.split(' ').next()) {
            None => "none",
            Some("TLSv1.3") => "1.3",
            Some("TLSv1.2") => "1.2",
            Some(_) => "other",
        };
        self.tls.get_or_create(&VersionLabel { version }).inc();
        self.took(path, setup);
    }

    /// What the host of a session proved.
    pub fn proved(&self, policy: Applied, proof: Level) {
        let (policy, proof) = (policy.name(), proof.name());
        let labels = ProofLabels { policy, proof };
        self.proofs.get_or_create(&labels).inc();
    }

    /// A host did not prove what was demanded.
    pub fn unproved(&self, policy: Applied, failure: FailureKind) {
        let (policy, result) = (policy.name(), failure.as_str());
        let labels = UnprovedLabels { policy, result };
        self.unproved.get_or_create(&labels).inc();
    }

    /// Steps that have ended.
    pub fn took(&self, path: &PathLabels, times: &Times) {
        phases::observe(&self.phases, path.provider(), times);
    }

    pub fn no_session(&self, path: &PathLabels, failure: &NoSession) {
        let reason = match failure.cause {
            Cause::Host if failure.is_unreachable() => "unreachable",
            Cause::Host => "refused",
            Cause::TlsFailed | Cause::TlsNotNow => "tls",
            Cause::NoTls => "no-tls",
            Cause::Source | Cause::SourceBusy => "source",
        };
        let labels = FailureLabels {
            provider: path.provider.clone(),
            ip: path.ip.clone(),
            reason,
        };
        self.session_failures.get_or_create(&labels).inc();
    }

    /// What an attempt came to for a recipient. Without a source IP none was chosen.
    pub fn count(&self, policy: &Policy, site: &str, ip: Option<&str>, result: (Verdict, &Reply)) {
        let (verdict, reply) = result;
        let outcome = match verdict {
            Verdict::Delivered => "delivered",
            Verdict::Deferred => "deferred",
            Verdict::Failed => "bounced",
            Verdict::Expired => "expired",
        };
        let labels = OutcomeLabels {
            outcome,
            class: reply_class(reply.code),
            provider: provider(policy, site).to_owned(),
            ip: ip.unwrap_or("none").to_owned(),
        };
        self.recipients.get_or_create(&labels).inc();
        if let Some(class) = reply.class {
            let labels = BounceLabels {
                outcome,
                class: class.name(),
                group: class.group().name(),
                provider: labels.provider,
            };
            self.bounces.get_or_create(&labels).inc();
        }
    }

    /// A task was delivered so long after its message was accepted.
    pub fn delivered_after(&self, priority: Priority, time: DurationMs) {
        let priority = priority.name();
        let histogram = self.queue_time.get_or_create(&PriorityLabel { priority });
        histogram.observe(time.0 as f64 / 1000.0);
    }

    pub fn dsn(&self, action: Action) {
        let action = action.word();
        self.dsns.get_or_create(&ActionLabel { action }).inc();
    }

    /// What this sender may do, as its session has it now.
    pub fn set_session(&self, slots: usize, lease_left: DurationMs) {
        self.slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
        self.lease_left.set(lease_left.0 as f64 / 1000.0);
    }
}

/// The label of an IP that may be the node's own.
pub fn ip_label(name: &str) -> &str {
    match name {
        "" => NODE,
        name => name,
    }
}
