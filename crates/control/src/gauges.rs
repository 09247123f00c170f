//! What this node holds, for metrics.

use skein_model::disk::Room;
use skein_model::spool::query;

use crate::Control;

/// A number that goes up and down.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    pub name: &'static str,
    /// A sentence.
    pub help: &'static str,
    pub value: u64,
}

impl Control {
    pub fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name, help, value| Gauge { name, help, value };
        let states = self.spools.values();
        let states: Vec<_> = states.map(|spool| query::state(&spool.reader)).collect();
        let sum = |of: fn(&skein_model::spool::StateRow) -> u64| states.iter().map(of).sum();
        let disk = self.store.disk().status();
        vec![
            gauge(
                "skein_spool_messages",
                "Messages with open recipients.",
                sum(|state| state.open_messages),
            ),
            gauge(
                "skein_spool_tasks",
                "Tasks with open recipients.",
                sum(|state| state.open_tasks),
            ),
            gauge(
                "skein_spool_body_bytes",
                "Bytes of open messages.",
                sum(|state| state.open_body_bytes),
            ),
            gauge(
                "skein_disk_capacity_bytes",
                "Size of the file system that holds the data directory.",
                disk.usage.capacity,
            ),
            gauge(
                "skein_disk_available_bytes",
                "What is left of it.",
                disk.usage.available,
            ),
            gauge(
                "skein_disk_used_percent",
                "How full it counts as; the ballast counts as used, held or not.",
                disk.used_percent.into(),
            ),
            gauge(
                "skein_disk_mark",
                "The mark that is passed: 0 none, 1 the soft one, 2 the hard one.",
                match disk.room {
                    Room::Enough => 0,
                    Room::Soft => 1,
                    Room::Hard => 2,
                },
            ),
            gauge(
                "skein_disk_ballast_bytes",
                "Size of the ballast; 0 while it is given up.",
                disk.ballast_bytes,
            ),
        ]
    }

    /// Size of the file system that holds the data directory.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk().status().usage.capacity
    }
}
