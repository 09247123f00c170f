//! One RocksDB for all groups of a node: one WAL, so one fsync serves them all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::properties::TOTAL_SST_FILES_SIZE;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompactionStyle,
    DBCompressionType, DBRecoveryMode,
};
use skein_model::disk::Policy;
use skein_model::{GroupId, NodeId};

use crate::bodies::Bodies;
use crate::disk::Disk;
use crate::flusher::{Flusher, Mark};
use crate::log::LogStore;
use crate::machine::{self, Hooks, StateMachine};
use crate::machines::Machine;
use crate::metrics::Metrics;
use crate::reader::Reader;
use crate::snapshot::Incoming;

pub const LOG: &str = "log";
pub const RAFT: &str = "raft";
pub const STATE: &str = "state";
pub const BODIES: &str = "bodies";

/// Memory and disk of a store. Sizes that are not given follow from the disk's, so that a small one is not taken up by
/// what is only claimed in advance.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub disk: Policy,
    /// Of a file of bodies.
    pub segment_bytes: Option<u64>,
    /// Of RocksDB's write-ahead log before it is cut by writing what is in memory into files.
    pub wal_bytes: Option<u64>,
    /// Entries of the log of which only what can be applied is applied.
    pub skip_entries: BTreeSet<(GroupId, u64)>,
}

/// What the options come to on a disk of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    segment_bytes: u64,
    wal_bytes: u64,
    /// Rows that are not yet in files: a bound for the whole node.
    write_buffer_bytes: usize,
}

/// Blocks of files in memory: a bound for the whole node.
const BLOCK_CACHE_BYTES: usize = 128 << 20;
/// Holds a part of 1 MiB more than once.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

impl Options {
    /// Of a test, which opens many stores.
    #[cfg(test)]
    pub fn small() -> Self {
        Self {
            disk: Policy {
                ballast_bytes: Some(1 << 20),
                ..Policy::default()
            },
            ..Self::default()
        }
    }

    fn sizes(&self, capacity: u64) -> Sizes {
        let mib = |bytes: u64| bytes >> 20 << 20;
        let segment = mib(capacity / 64).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let wal = mib(capacity / 16).clamp(16 << 20, 512 << 20);
        // The ballast must take all of them, and what compaction writes meanwhile.
        let buffers = (self.disk.ballast(capacity) / 2).clamp(4 << 20, 128 << 20);
        Sizes {
            segment_bytes: self.segment_bytes.unwrap_or(segment),
            wal_bytes: self.wal_bytes.unwrap_or(wal),
            write_buffer_bytes: buffers as usize,
        }
    }
}

/// What to do about a database that lost something.
const DAMAGED: &str = "This node must not go on without what it lost. In a cluster, move its data directory away and \
     start it again: it joins as a new node. A node that is alone gets its state back with `skeinctl backup restore` \
     into an empty data directory";

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: another process has it open, or it cannot be read: {source}", .path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("{}: the database is damaged: {reason}. {DAMAGED}", .path.display(), DAMAGED = DAMAGED)]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{}: the disk is full, and there is no ballast left to give up: make room for at least {wanted_bytes} bytes, \
         then start again: {source}",
        .path.display()
    )]
    Full {
        path: PathBuf,
        wanted_bytes: u64,
        #[source]
        source: rocksdb::Error,
    },
    #[error("{}: {source}", .path.display())]
    Files {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The disk of a node.
#[derive(Debug)]
pub struct Store {
    db: Arc<DB>,
    flusher: Arc<Flusher>,
    bodies: Bodies,
    snapshots: PathBuf,
    disk: Arc<Disk>,
    sizes: Sizes,
    skip_entries: BTreeSet<(GroupId, u64)>,
    metrics: Metrics,
}

impl Store {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// The directory is in use or cannot be written, or what it holds is damaged beyond a torn last write.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        let files = |path: &Path| {
            let path = path.to_owned();
            |source| OpenError::Files { path, source }
        };
        let disk = Arc::new(Disk::open(dir, options.disk).map_err(files(dir))?);
        let sizes = options.sizes(disk.status().usage.capacity);
        let path = dir.join("db");
        let db = open_db(&path, sizes).map_err(|source| explain(path, &disk, sizes, source))?;
        let db = Arc::new(db);
        // RocksDB is never closed: its threads would race with the process's own end if the last holder were one
        // of ours. Everything that matters is in the WAL, which the next start reads as after a crash.
        std::mem::forget(db.clone());
        let mark = dir.join("durable");
        let mark = Mark::open(&mark).map_err(files(&mark))?;
        let (durable, found) = (mark.read().unwrap_or(0), db.latest_sequence_number());
        if found < durable {
            let path = dir.join("db");
            let reason = format!("{durable} changes were durable, and {found} are left");
            return Err(OpenError::Damaged { path, reason });
        }
        let path = dir.join("bodies");
        let metrics = Metrics::default();
        let fsync = metrics.bodies_fsync();
        let bodies = Bodies::open(&path, sizes.segment_bytes, disk.clone(), db.clone(), fsync);
        Ok(Arc::new(Self {
            flusher: Arc::new(Flusher::start(db.clone(), mark, metrics.wal_fsync())),
            db,
            bodies: bodies.map_err(files(&path))?,
            snapshots: dir.join("snapshots"),
            disk,
            sizes,
            skip_entries: options.skip_entries,
            metrics,
        }))
    }

    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// How long its fsyncs take.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub fn bodies(&self) -> Bodies {
        self.bodies.clone()
    }

    /// Gives back what RocksDB holds for no row: logs whose rows are in memory, and files of purged Raft entries.
    ///
    /// Nothing is done on a disk that cannot take the files which are written for that: a flush that fails would end
    /// the process.
    pub fn relieve(&self) {
        let log = column(&self.db, LOG);
        let in_files = self.db.property_int_value_cf(log, TOTAL_SST_FILES_SIZE);
        let needed = self.sizes.write_buffer_bytes as u64 + in_files.ok().flatten().unwrap_or(0);
        if self.disk.status().usage.available < needed {
            return;
        }
        for name in [LOG, RAFT, STATE, BODIES] {
            if let Err(error) = self.db.flush_cf(column(&self.db, name)) {
                tracing::warn!(%error, name, "rows in memory cannot be written to a file");
                return;
            }
        }
        self.db.compact_range_cf(log, None::<&[u8]>, None::<&[u8]>);
    }

    /// The applied rows of a group.
    pub fn reader(&self, group: GroupId) -> Reader {
        Reader::new(self.db.clone(), group)
    }

    /// The log and the state machine of a group, for openraft.
    ///
    /// # Errors
    /// A snapshot was being installed when the process ended, and that cannot be finished.
    pub fn group<M: Machine>(
        &self,
        group: GroupId,
        machine: M,
        hooks: Hooks<M::Effect>,
    ) -> Result<(LogStore, StateMachine<M>), openraft::StorageError<u64>> {
        let log = LogStore::new(self.db.clone(), self.flusher.clone(), group);
        let folder = self.snapshots.clone();
        let skipped = self.skipped(group);
        let machine = StateMachine::new(self.db.clone(), group, machine, hooks, skipped, folder)?;
        Ok((log, machine))
    }

    /// The members of a group with their addresses, as of the last entry that was applied; none before the first.
    ///
    /// # Errors
    /// The rows of them cannot be read.
    pub fn members(&self, group: GroupId) -> Result<BTreeMap<NodeId, String>, OpenError> {
        let members = machine::members(&self.db, group);
        members.map_err(|error| OpenError::Damaged {
            path: self.snapshots.clone(),
            reason: error.to_string(),
        })
    }

    /// Spool groups that have been begun here: numbered from 1, without a gap.
    pub fn spool_groups(&self) -> u16 {
        let begun = |id: &u16| machine::is_begun(&self.db, GroupId(*id));
        let count = (1..=u16::MAX).take_while(begun).count();
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// Entries of a group's log of which only what can be applied is applied.
    pub fn skipped(&self, group: GroupId) -> BTreeSet<u64> {
        let skipped = self.skip_entries.iter().filter(|(of, _)| *of == group);
        skipped.map(|(_, index)| *index).collect()
    }

    /// A place for a group's snapshot that a leader sends.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn incoming_snapshot(&self, group: GroupId) -> std::io::Result<Incoming> {
        Incoming::create(&self.snapshots, group)
    }
}

/// Why the database could not be opened, and what to do.
fn explain(path: PathBuf, disk: &Disk, sizes: Sizes, source: rocksdb::Error) -> OpenError {
    // RocksDB tells a full disk from other failures to write only in words.
    if disk.status().usage.available < sizes.write_buffer_bytes as u64 {
        let wanted_bytes = 2 * sizes.write_buffer_bytes as u64;
        return OpenError::Full {
            path,
            wanted_bytes,
            source,
        };
    }
    match source.kind() {
        rocksdb::ErrorKind::Corruption => OpenError::Damaged {
            path,
            reason: source.into_string(),
        },
        _ => OpenError::Database { path, source },
    }
}

fn open_db(path: &Path, sizes: Sizes) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let mut all = rocksdb::Options::default();
    all.create_if_missing(true);
    all.create_missing_column_families(true);
    // A torn tail is what a crash leaves; anything worse must not be passed over in silence.
    all.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A log that is missing or shorter than it was when it was closed is damage too.
    all.set_track_and_verify_wals_in_manifest(true);
    // Whatever cannot be trusted stops writing; this process then ends.
    all.set_paranoid_checks(true);
    all.set_db_write_buffer_size(sizes.write_buffer_bytes);
    all.set_max_total_wal_size(sizes.wal_bytes);
    all.set_max_background_jobs(2);
    all.set_keep_log_file_num(4);
    // Of RocksDB's own diary.
    all.set_max_log_file_size(4 << 20);
    all.set_bytes_per_sync(1 << 20);
    let column = |name: &str| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_bloom_filter(10.0, false);
        // The filter of a file with a million keys is larger than what one shard of the cache holds: it would be read again
        // for each key. In parts, those that are used stay.
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_pin_top_level_index_and_filter(true);
        let mut column = rocksdb::Options::default();
        column.set_block_based_table_factory(&blocks);
        column.set_compression_type(DBCompressionType::Lz4);
        column.set_write_buffer_size(sizes.write_buffer_bytes / 4);
        // Queues delete what they wrote: files that hold mostly deletions are cleared without waiting for more writes.
        column.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
        if name == LOG {
            // Entries are written once, read by index and purged from the front: sorting them again is wasted work.
            column.set_compaction_style(DBCompactionStyle::Universal);
        }
        ColumnFamilyDescriptor::new(name, column)
    };
    DB::open_cf_descriptors(&all, path, [LOG, RAFT, STATE, BODIES].map(column))
}

/// A column family that `open_db` made.
pub fn column<'d>(db: &'d DB, name: &str) -> &'d rocksdb::ColumnFamily {
    db.cf_handle(name)
        .expect("all column families are made when the database is opened")
}

/// A node that cannot write or read its disk any more must not go on as if it could.
pub fn disk_failed(doing: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "{doing} failed; ending the process, so that nothing is acknowledged which is not on disk");
    eprintln!("skein: {doing} failed: {error}");
    if error.to_string().contains("orruption") {
        eprintln!("skein: {DAMAGED}");
    }
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_not_taken_up_by_what_is_claimed_in_advance() {
        for (capacity_mib, segment, wal, buffers) in [
            (64, 4, 16, 4),
            (256, 4, 16, 6),
            (4 << 10, 64, 256, 102),
            (1 << 20, 64, 512, 128),
        ] {
            let sizes = Options::default().sizes(capacity_mib << 20);
            let mib = (
                sizes.segment_bytes >> 20,
                sizes.wal_bytes >> 20,
                sizes.write_buffer_bytes >> 20,
            );
            assert_eq!(mib, (segment, wal, buffers), "{capacity_mib} MiB");
        }
    }
}
