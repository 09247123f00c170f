//! Taking tasks of one spool group and reporting on them, through changes of its leader and of our slots.

mod frames;
mod reporter;
mod stream;
mod task;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

pub use reporter::Reporter;
pub use task::LeasedTask;

use crate::session::SenderSession;
use crate::spool::Spool;
use reporter::Shared;
use stream::Worker;

/// The tasks of one spool group for as long as this lives.
#[derive(Debug)]
pub struct Work {
    tasks: mpsc::Receiver<Vec<LeasedTask>>,
    reporter: Reporter,
    applied_change: watch::Receiver<u64>,
}

impl Spool {
    /// Receives due tasks of the session's slots, at most `window` without a report, until the result is dropped.
    pub fn work(&self, session: watch::Receiver<SenderSession>, window: u32) -> Work {
        let (tasks, received) = mpsc::channel(16);
        let (opened, open) = watch::channel(false);
        let (told, applied_change) = watch::channel(0);
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            spool: self.clone(),
            session,
            window,
            tasks,
            shared: shared.clone(),
            opened,
            applied_change: told,
        };
        skein_runtime::task("work", worker.run());
        Work {
            tasks: received,
            reporter: Reporter { shared, open },
            applied_change,
        }
    }
}

impl Work {
    /// The next tasks.
    pub async fn next(&mut self) -> Option<Vec<LeasedTask>> {
        self.tasks.recv().await
    }

    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// The latest [`SenderSession::change`] that all tasks to come conform to.
    pub fn applied_change(&self) -> watch::Receiver<u64> {
        self.applied_change.clone()
    }
}
