//! Group commit: one fsync of the WAL for all that waits, in all groups.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
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
    pub fn start(db: Arc<DB>) -> Self {
        let (queue, waiting) = channel();
        std::thread::Builder::new()
            .name("wal-flush".into())
            .spawn(move || run(&db, &waiting))
            .expect("a thread can be started when the process starts");
        Self {
            queue: Mutex::new(queue),
        }
    }

    pub fn after_flush(&self, done: impl FnOnce() + Send + 'static) {
        self.queue
            .lock()
            .send(Box::new(done))
            .expect("the flusher runs as long as this sender lives");
    }
}

fn run(db: &DB, waiting: &Receiver<Done>) {
    while let Ok(first) = waiting.recv() {
        let mut all = vec![first];
        all.extend(waiting.try_iter());
        if let Err(error) = db.flush_wal(true) {
            disk_failed("fsync of the write-ahead log", &error);
        }
        for done in all {
            done();
        }
    }
}
