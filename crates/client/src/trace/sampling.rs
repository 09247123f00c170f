//! Of which messages there are traces. Decided once, before a span is made: what is not traced costs a comparison.

use std::collections::BTreeMap;

use skein_model::TraceContext;

/// As the client's span says; without one, by chance and the part that the tenant has. Attempts follow their message. By default
/// of none.
#[derive(Debug, Clone, Default)]
pub struct Sampling {
    /// There is a collector.
    is_on: bool,
    all: Part,
    tenants: BTreeMap<String, Part>,
}

/// So many of all numbers below 2^63.
#[derive(Debug, Clone, Copy, Default)]
struct Part(u64);

const BITS: u32 = 63;

impl Part {
    fn of(ratio: f64) -> Self {
        Self((ratio * (1_u64 << BITS) as f64) as u64)
    }

    fn has(self, chance: u64) -> bool {
        chance >> (u64::BITS - BITS) < self.0
    }
}

impl Sampling {
    /// `ratio`, from 0 to 1, of all messages, but of these tenants' in place of that.
    #[must_use]
    pub fn new(ratio: f64, tenants: &BTreeMap<String, f64>) -> Self {
        let tenants = tenants.iter();
        Self {
            is_on: true,
            all: Part::of(ratio),
            tenants: tenants
                .map(|(tenant, ratio)| (tenant.clone(), Part::of(*ratio)))
                .collect(),
        }
    }

    /// Whether there is a trace of a message of this tenant. `parent`: the client's span, if it named one.
    #[must_use]
    pub fn has(&self, parent: Option<TraceContext>, tenant: &str, chance: u64) -> bool {
        match parent {
            Some(parent) => self.is_on && parent.is_sampled(),
            None => self.tenants.get(tenant).unwrap_or(&self.all).has(chance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(all: f64, acme: f64) -> Sampling {
        Sampling::new(all, &BTreeMap::from([("acme".to_owned(), acme)]))
    }

    fn parent(is_sampled: bool) -> Option<TraceContext> {
        Some(TraceContext {
            trace_id: [1; 16],
            span_id: [2; 8],
            flags: u8::from(is_sampled),
        })
    }

    #[test]
    fn the_clients_span_decides_then_the_tenants_part() {
        let sampling = sampling(0.0, 1.0);
        for (parent, tenant, expected) in [
            (parent(true), "x", true),
            (parent(false), "acme", false),
            (None, "acme", true),
            (None, "x", false),
        ] {
            for chance in [0, u64::MAX] {
                assert_eq!(sampling.has(parent, tenant, chance), expected, "{tenant}");
            }
        }
    }

    #[test]
    fn a_part_has_as_many_messages_as_it_says() {
        let sampling = sampling(0.25, 1.0);
        let chances = (0..10_000_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let sampled = chances.filter(|chance| sampling.has(None, "x", *chance));
        let sampled = sampled.count();
        assert!((2_300..2_700).contains(&sampled), "{sampled}");
    }

    #[test]
    fn without_a_collector_there_is_none_whatever_the_client_says() {
        let none = Sampling::default();
        for parent in [parent(true), parent(false), None] {
            assert!(!none.has(parent, "x", 0));
        }
    }
}
