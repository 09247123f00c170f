//! How long the disk takes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From a drive with a battery behind its cache to a disk that others use as well.
const FSYNC_SECONDS: [f64; 13] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: &'static str,
}

/// Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    fsync: Family<FileLabel, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let new = || Histogram::new(FSYNC_SECONDS);
        Self {
            fsync: Family::new_with_constructor(new),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "skein_fsync_seconds",
            "Time of an fsync of the write-ahead log or of bodies",
            self.fsync.clone(),
        );
    }

    pub(crate) fn wal_fsync(&self) -> Histogram {
        self.fsync.get_or_create(&FileLabel { file: "wal" }).clone()
    }

    pub(crate) fn bodies_fsync(&self) -> Histogram {
        let label = FileLabel { file: "bodies" };
        self.fsync.get_or_create(&label).clone()
    }
}
