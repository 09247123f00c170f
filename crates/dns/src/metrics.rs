//! What lookups came to, and their time.

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From a cache beside this process to all tries at servers that do not answer.
const SECONDS: [f64; 11] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 40.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    r#type: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

/// What was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The MX records of a domain with the addresses of its hosts.
    Mx,
    Address,
    Ptr,
}

/// What a lookup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found,
    /// There is no such name or record.
    None,
    /// The name servers did not say.
    Failed,
}

/// Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    lookups: Family<ResultLabels, Counter>,
    time: Family<TypeLabel, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            lookups: Family::default(),
            time: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "skein_dns_lookups",
            "Lookups that the cache of plans did not answer, by what they came to",
            metrics.lookups.clone(),
        );
        registry.register(
            "skein_dns_lookup_seconds",
            "Time of these lookups",
            metrics.time.clone(),
        );
        metrics
    }

    /// A lookup that began then has ended.
    pub(crate) fn looked_up(&self, kind: Kind, outcome: Outcome, began: Instant) {
        let r#type = match kind {
            Kind::Mx => "mx",
            Kind::Address => "address",
            Kind::Ptr => "ptr",
        };
        let result = match outcome {
            Outcome::Found => "found",
            Outcome::None => "none",
            Outcome::Failed => "failed",
        };
        let labels = ResultLabels { r#type, result };
        self.lookups.get_or_create(&labels).inc();
        let time: Duration = began.elapsed();
        let histogram = self.time.get_or_create(&TypeLabel { r#type });
        histogram.observe(time.as_secs_f64());
    }
}
