//! The metrics of a control node.
//!
//! Replicas know the same of a group: what all could tell, its leader tells, with the group's name. Values of the state are
//! read when somebody asks; only queues are looked through beforehand, because there may be a million.

mod cluster;
mod disk;
mod page;
mod raft;
mod spool;
mod survey;

use std::fmt;
use std::sync::Arc;

use page::Page;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
pub use survey::Surveys;

use crate::Control;

/// All series of a control node.
struct ControlMetrics(Arc<Control>);

impl fmt::Debug for ControlMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlMetrics")
    }
}

impl Collector for ControlMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let control = &*self.0;
        let mut page = Page::new(encoder);
        page.counter(
            "skein_admin_calls_refused",
            "Calls of the admin API that were refused: nobody's, or of a role that may not make them.",
            control.refusals.count.get(),
        )?;
        disk::encode(&mut page, control)?;
        raft::encode(&mut page, control)?;
        spool::encode(&mut page, control)?;
        survey::encode(&mut page, control)?;
        cluster::encode(&mut page, control)
    }
}

impl Control {
    /// Shows what this node knows among the metrics of the process.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        self.store.metrics().register(registry);
        registry.register_collector(Box::new(ControlMetrics(self.clone())));
        skein_runtime::task("queue-survey", survey::keep(Arc::downgrade(self)));
    }
}
