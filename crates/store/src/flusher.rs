//! Group commit: one fsync of the WAL for all that waits, in all groups.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use rocksdb::DB;

use crate::db::disk_failed;

type Done = Box<dyn FnOnce() + Send>;

/// Completes callbacks after what was written before them is durable.
///
/// The queue is unbounded because openraft has at most one append or vote in flight for each group.
pub struct Flusher {
    queue: Mutex<Sender<Done>>,
}

impl std::fmt::Debug for Flusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flusher")
    }
}

impl Flusher {
    pub fn start(db: Arc<DB>, mark: Mark, fsync: Histogram) -> Self {
        let (queue, waiting) = channel();
        // It ends when the last handle of the store is dropped.
        let flush = move || {
            run(&db, &waiting, mark, &fsync);
            true
        };
        skein_runtime::thread("wal-flush", flush)
            .expect("a thread can be started when the process starts");
        Self {
            queue: Mutex::new(queue),
        }
    }

    pub fn after_flush(&self, done: impl FnOnce() + Send + 'static) {
        if self.queue.lock().send(Box::new(done)).is_err() {
            // The flusher has panicked, and ends the process: it says why.
            loop {
                std::thread::park();
            }
        }
    }
}

fn run(db: &DB, waiting: &Receiver<Done>, mut mark: Mark, fsync: &Histogram) {
    while let Ok(first) = waiting.recv() {
        let mut all = vec![first];
        all.extend(waiting.try_iter());
        let written = db.latest_sequence_number();
        let began = Instant::now();
        if let Err(error) = flush(db) {
            disk_failed("fsync of the write-ahead log", &error);
        }
        fsync.observe(began.elapsed().as_secs_f64());
        mark.durable(written);
        for done in all {
            done();
        }
    }
}

fn flush(db: &DB) -> Result<(), String> {
    fail::fail_point!("wal-fsync", |_| Err("injected".into()));
    db.flush_wal(true).map_err(String::from)
}

/// How far the database was durable a short while ago, in a file of its own.
///
/// RocksDB takes a log that lost its end, or all of it, for one that was never longer. Entries that this file tells of must be
/// there; it needs no fsync, since it is only ever too low.
#[derive(Debug)]
pub struct Mark {
    file: File,
    written: Option<Instant>,
}

/// A loss of less than this is not told from what a crash leaves.
const MARK_AGAIN: Duration = Duration::from_secs(1);
const MARK_BYTES: usize = 12;

impl Mark {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        Ok(Self {
            file,
            written: None,
        })
    }

    /// The number of the last change that was durable for sure; none in a new file, or one that a crash tore.
    pub fn read(&self) -> Option<u64> {
        let mut bytes = [0; MARK_BYTES];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let (number, crc) = bytes.split_at(8);
        let is_whole = crc32c::crc32c(number).to_be_bytes() == *crc;
        is_whole.then_some(u64::from_be_bytes(number.try_into().ok()?))
    }

    fn durable(&mut self, number: u64) {
        if self.written.is_some_and(|at| at.elapsed() < MARK_AGAIN) {
            return;
        }
        let number = number.to_be_bytes();
        let crc = crc32c::crc32c(&number).to_be_bytes();
        if let Err(error) = self.file.write_all_at(&[&number[..], &crc].concat(), 0) {
            // A mark that stays low lets less be noticed, and breaks nothing.
            tracing::warn!(%error, "the mark of what is durable cannot be written");
        }
        self.written = Some(Instant::now());
    }
}
