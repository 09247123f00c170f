//! RocksDB and body segments: the Raft log, the state machines, and the bytes of messages.
//!
//! The only crate that knows RocksDB and openraft's storage traits.

mod bodies;
mod checksum;
mod db;
mod disk;
mod entries;
mod flusher;
mod log;
mod machine;
mod machines;
mod metrics;
mod overlay;
mod reader;
mod snapshot;
mod types;

#[cfg(test)]
mod suite;

pub use bodies::{Bodies, BodyError, BodyInfo};
pub use db::{OpenError, Options, Store};
pub use disk::{Disk, DiskStatus};
pub use entries::CannotApply;
pub use log::{BadEntry, LogStore, decode_entry, encode_entry};
pub use machine::{Hooks, StateMachine};
pub use machines::{Machine, MetaMachine, Proposed, SpoolMachine};
pub use metrics::Metrics;
pub use reader::Reader;
pub use snapshot::{Incoming, Received, View};
pub use types::{Batch, BatchReply, SnapshotSource, TypeConfig};
