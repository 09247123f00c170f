//! Series as they are written down.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use skein_model::{DurationMs, GroupId, UnixMs};

/// Labels of one series: at most three, and each with its name.
pub type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

pub struct Page<'p>(DescriptorEncoder<'p>);

impl<'p> Page<'p> {
    pub fn new(encoder: DescriptorEncoder<'p>) -> Self {
        Self(encoder)
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let kind = MetricType::Gauge;
        gauge.encode(self.0.encode_descriptor(name, help, None, kind)?)
    }

    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let kind = MetricType::Counter;
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, kind)?)
    }

    pub fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(MetricType::Gauge, name, help, series, |mut place, value| {
            place.encode_gauge(&value)
        })
    }

    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(MetricType::Counter, name, help, series, |place, value| {
            ConstCounter::new(value).encode(place)
        })
    }

    pub fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, Histogram)>,
    ) -> fmt::Result {
        let kind = MetricType::Histogram;
        self.family(kind, name, help, series, |place, histogram| {
            histogram.encode(place)
        })
    }

    /// The series of one name; nothing without any.
    fn family<L: EncodeLabelSet, V>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, V)>,
        encode: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            encode(metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// In the unit that metrics have.
pub fn seconds(span: impl Into<Duration>) -> f64 {
    span.into().as_secs_f64()
}

/// Of what was then, in seconds.
pub fn age(now: UnixMs, then: UnixMs) -> f64 {
    seconds(DurationMs(now.0.saturating_sub(then.0)))
}

/// A group as the label `group` has it.
pub fn group_label(group: GroupId) -> String {
    match group {
        GroupId::META => "meta".to_owned(),
        GroupId(number) => number.to_string(),
    }
}
