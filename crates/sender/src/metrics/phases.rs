//! The time of steps with other hosts, by provider.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::smtp::times::Times;

/// From a host beside this one to the ten minutes that a final dot may take (RFC 5321 4.5.3.2.6).
const SECONDS: [f64; 13] = [
    0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 600.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    phase: &'static str,
    provider: String,
}

pub type Histograms = Family<PhaseLabels, Histogram>;

pub fn histograms() -> Histograms {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

pub fn observe(histograms: &Histograms, provider: &str, times: &Times) {
    for (phase, took) in times.iter() {
        let labels = PhaseLabels {
            phase: phase.name(),
            provider: provider.to_owned(),
        };
        let histogram = histograms.get_or_create(&labels);
        histogram.observe(took.time.as_secs_f64());
    }
}
