//! Of which messages and attempts there are traces.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use parking_lot::RwLock;
use skein_client::trace::attributes;

use crate::config::Telemetry as Config;

/// As the span above says; without one, as the span that this is linked to says; without one, by the number of the trace and
/// the part that its tenant has: so all nodes decide alike.
#[derive(Debug, Clone)]
pub struct Sampling {
    all: Part,
    tenants: BTreeMap<String, Part>,
}

/// So many of all numbers of traces.
#[derive(Debug, Clone, Copy)]
struct Part(u64);

/// Of a trace's number, the bits that are compared.
const BITS: u32 = 63;

impl Part {
    fn of(ratio: f64) -> Self {
        Self((ratio * (1_u64 << BITS) as f64) as u64)
    }

    fn has(self, trace: TraceId) -> bool {
        let bytes = trace.to_bytes();
        let low = u64::from_be_bytes(bytes[8..].try_into().unwrap_or_default());
        low >> (u64::BITS - BITS) < self.0
    }
}

impl Sampling {
    pub fn of(config: &Config) -> Self {
        let tenants = config.tenants.iter();
        Self {
            all: Part::of(config.sample_ratio),
            tenants: tenants
                .map(|(tenant, ratio)| (tenant.clone(), Part::of(*ratio)))
                .collect(),
        }
    }

    fn decide(&self, above: Option<bool>, linked: Option<bool>, tenant: &str, id: TraceId) -> bool {
        let part = self.tenants.get(tenant).unwrap_or(&self.all);
        above.or(linked).unwrap_or_else(|| part.has(id))
    }
}

/// The sampling of this moment. Cheap to clone; clones change together.
#[derive(Debug, Clone)]
pub struct CurrentSampling(Arc<RwLock<Sampling>>);

impl CurrentSampling {
    pub fn new(sampling: Sampling) -> Self {
        Self(Arc::new(RwLock::new(sampling)))
    }

    pub fn set(&self, sampling: Sampling) {
        *self.0.write() = sampling;
    }
}

impl ShouldSample for CurrentSampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        _: &str,
        _: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let above = parent.map(|parent| parent.span().span_context().clone());
        let above = above.filter(|above| above.is_valid());
        let tenant = attributes
            .iter()
            .find(|one| one.key.as_str() == attributes::TENANT);
        let tenant = tenant.map_or_else(String::new, |one| one.value.to_string());
        let is_sampled = self.0.read().decide(
            above.as_ref().map(|above| above.is_sampled()),
            links.first().map(|link| link.span_context.is_sampled()),
            &tenant,
            trace_id,
        );
        SamplingResult {
            decision: match is_sampled {
                true => SamplingDecision::RecordAndSample,
                false => SamplingDecision::Drop,
            },
            attributes: Vec::new(),
            trace_state: above
                .map_or_else(TraceState::default, |above| above.trace_state().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(all: f64, acme: f64) -> Sampling {
        Sampling::of(&Config {
            sample_ratio: all,
            tenants: BTreeMap::from([("acme".to_owned(), acme)]),
            ..Config::default()
        })
    }

    #[test]
    fn the_span_above_decides_then_the_link_then_the_tenants_part() {
        let id = TraceId::from_bytes([0x80; 16]);
        let none = sampling(0.0, 1.0);
        for (above, linked, tenant, expected) in [
            (Some(true), Some(false), "x", true),
            (Some(false), Some(true), "acme", false),
            (None, Some(true), "x", true),
            (None, Some(false), "acme", false),
            (None, None, "acme", true),
            (None, None, "x", false),
        ] {
            assert_eq!(none.decide(above, linked, tenant, id), expected);
        }
    }

    #[test]
    fn another_part_holds_from_then_on() {
        let current = CurrentSampling::new(sampling(0.0, 0.0));
        let sampled = || {
            let id = TraceId::from_bytes([0x80; 16]);
            let result = current.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        assert!(!sampled());
        current.set(sampling(1.0, 0.0));
        assert!(sampled());
    }

    #[test]
    fn a_part_has_as_many_traces_as_it_says() {
        let sampling = sampling(0.25, 1.0);
        let id = |number: u64| {
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            TraceId::from_bytes((u128::from(number) | 1 << 127).to_be_bytes())
        };
        let sampled = (0..10_000).filter(|number| sampling.decide(None, None, "x", id(*number)));
        let sampled = sampled.count();
        assert!((2_300..2_700).contains(&sampled), "{sampled}");
        let last = TraceId::from_bytes([0xff; 16]);
        assert!(sampling.decide(None, None, "acme", last));
    }
}
