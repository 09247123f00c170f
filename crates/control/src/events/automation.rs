//! Reading what automation did: at least once, in order, as long as the sink is not down for longer than the log lasts.

use std::sync::Arc;
use std::time::Duration;

use skein_model::automation::{self, Command, Logged};
use skein_model::{codec, meta};
use skein_store::Reader;
use tokio::sync::watch;

use crate::raft::Group;

/// Events of one read; each has 2 kB at most.
const BATCH: usize = 256;
const LOOK_FOR_ROLE: Duration = Duration::from_secs(1);

/// The meta group's log of what rules and operators hold back, as its leader's sink reads it.
pub struct AutomationEvents {
    meta: Arc<Group>,
    reader: Reader,
    applied: watch::Receiver<()>,
    next: u64,
}

impl std::fmt::Debug for AutomationEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AutomationEvents")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl AutomationEvents {
    pub(crate) fn new(meta: Arc<Group>, reader: Reader, applied: watch::Receiver<()>) -> Self {
        let next = automation::taken(&reader);
        Self {
            meta,
            reader,
            applied,
            next,
        }
    }

    /// The next events in order; waits for some. None when the node stops.
    pub async fn next_batch(&mut self) -> Option<Vec<Logged>> {
        loop {
            self.applied.borrow_and_update();
            if !self.meta.is_leader() {
                // The leader's sink writes them; this node goes on where that stopped, if it leads one day.
                tokio::time::sleep(LOOK_FOR_ROLE).await;
                self.next = self.next.max(automation::taken(&self.reader));
                continue;
            }
            let events = automation::events(&self.reader, self.next, BATCH);
            if let Some(last) = events.last() {
                self.next = last.seq + 1;
                return Some(events);
            }
            self.applied.changed().await.ok()?;
        }
    }

    /// The sink has everything up to the last batch.
    pub async fn done(&mut self) {
        let taken = meta::Command::Automation(Box::new(Command::Taken(self.next)));
        if let Err(error) = self.meta.propose(codec::encode(&taken)).await {
            // The events are read again after a restart, which "at least once" allows.
            tracing::warn!(%error, "the cursor of automation's events could not be moved");
        }
    }
}
