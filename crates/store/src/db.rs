//! One RocksDB for all groups of a node: one WAL, so one fsync serves them all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompactionStyle, DBCompressionType,
    DBRecoveryMode,
};
use skein_model::GroupId;

use crate::bodies::Bodies;
use crate::flusher::Flusher;
use crate::log::LogStore;
use crate::machine::{Hooks, Machine, StateMachine};
use crate::reader::Reader;
use crate::snapshot::Incoming;

pub const LOG: &str = "log";
pub const RAFT: &str = "raft";
pub const STATE: &str = "state";
pub const BODIES: &str = "bodies";

/// Memory of RocksDB: blocks in cache, and rows not yet in files. Both are bounds for the whole node.
#[derive(Debug, Clone)]
pub struct Options {
    pub block_cache_bytes: usize,
    pub write_buffer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_cache_bytes: 128 << 20,
            write_buffer_bytes: 128 << 20,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: another process has it open, or it cannot be read: {source}", .path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("{}: {source}", .path.display())]
    Bodies {
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
}

impl Store {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// The directory is in use or cannot be written, or what it holds is damaged beyond a torn last write.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        let path = dir.join("db");
        let db = open_db(&path, &options).map_err(|source| OpenError::Database { path, source })?;
        let db = Arc::new(db);
        // RocksDB is never closed: its threads would race with the process's own end if the last holder were one
        // of ours. Everything that matters is in the WAL, which the next start reads as after a crash.
        std::mem::forget(db.clone());
        let path = dir.join("bodies");
        let bodies =
            Bodies::open(&path, db.clone()).map_err(|source| OpenError::Bodies { path, source })?;
        Ok(Arc::new(Self {
            flusher: Arc::new(Flusher::start(db.clone())),
            db,
            bodies,
            snapshots: dir.join("snapshots"),
        }))
    }

    pub fn bodies(&self) -> Bodies {
        self.bodies.clone()
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
        let machine = StateMachine::new(self.db.clone(), group, machine, hooks, folder)?;
        Ok((log, machine))
    }

    /// A place for a group's snapshot that a leader sends.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn incoming_snapshot(&self, group: GroupId) -> std::io::Result<Incoming> {
        Incoming::create(&self.snapshots, group)
    }
}

fn open_db(path: &Path, options: &Options) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let mut all = rocksdb::Options::default();
    all.create_if_missing(true);
    all.create_missing_column_families(true);
    // A torn tail is what a crash leaves; anything worse must not be passed over in silence.
    all.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    all.set_db_write_buffer_size(options.write_buffer_bytes);
    all.set_max_total_wal_size(512 << 20);
    all.set_max_background_jobs(2);
    all.set_keep_log_file_num(4);
    all.set_bytes_per_sync(1 << 20);
    let column = |name: &str| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_bloom_filter(10.0, false);
        let mut column = rocksdb::Options::default();
        column.set_block_based_table_factory(&blocks);
        column.set_compression_type(DBCompressionType::Lz4);
        column.set_write_buffer_size(options.write_buffer_bytes / 4);
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
    std::process::abort();
}
