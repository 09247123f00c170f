//! How much of each limit on connections is in use, when somebody asks.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::limits::limiters::LocalLimiters;

/// Limits that are shown, those with the most connections: there are a few for each site that mail goes to.
const SHOWN_MAX: usize = 50;

pub struct LimitUse(pub Arc<LocalLimiters>);

impl fmt::Debug for LimitUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitUse")
    }
}

impl Collector for LimitUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut all = self.0.connections();
        all.sort_unstable_by_key(|(_, used, _)| Reverse(*used));
        all.truncate(SHOWN_MAX);
        if all.is_empty() {
            return Ok(());
        }
        let used: fn(u64, u64) -> u64 = |used, _| used;
        for (name, help, value) in [
            (
                "skein_limit_connections",
                "Connections in use of a limit.",
                used,
            ),
            (
                "skein_limit_connections_allowed",
                "Connections that this sender may have of a limit.",
                |_, allowed| allowed,
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, used, allowed) in &all {
                let labels = [("scope", id.scope.name()), ("key", &*id.key)];
                let gauge = ConstGauge::new(value(*used, *allowed));
                gauge.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
