//! Reading the event log: at least once, in order.

mod automation;
mod meta;

use std::sync::Arc;
use std::time::Duration;

use skein_model::event::Event;
use skein_model::spool::{Command, query};
use skein_model::{DurationMs, codec};
use skein_store::Reader;
use tokio::sync::watch;

pub use automation::AutomationEvents;
pub use meta::MetaEvents;

use crate::raft::Group;
use crate::spool::Dispatch;

/// Events of one read; an event is a few hundred bytes.
const BATCH: usize = 1000;
/// Rows that one trim removes, so that an apply stays short.
const TRIM_LIMIT: u32 = 4000;
const LOOK_FOR_ROLE: Duration = Duration::from_secs(1);
/// How long `message show` knows a message after its end.
const HISTORY: DurationMs = DurationMs::from_secs(24 * 3600);

pub struct EventReader {
    group: Arc<Group>,
    reader: Reader,
    dispatch: Arc<Dispatch>,
    grown: watch::Receiver<u64>,
    next: u64,
}

impl std::fmt::Debug for EventReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventReader")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl EventReader {
    pub(crate) fn new(group: Arc<Group>, reader: Reader, dispatch: Arc<Dispatch>) -> Self {
        let next = query::state(&reader).first_seq;
        Self {
            group,
            reader,
            grown: dispatch.events(),
            dispatch,
            next,
        }
    }

    /// The next events in order; waits for some. None when the node stops.
    pub async fn next_batch(&mut self) -> Option<Vec<Event>> {
        loop {
            self.grown.borrow_and_update();
            if !self.group.is_leader() {
                // The leader's sink writes them; this node goes on where that stopped, if it leads one day.
                tokio::time::sleep(LOOK_FOR_ROLE).await;
                self.next = self.next.max(query::state(&self.reader).first_seq);
                continue;
            }
            let events = query::events(&self.reader, self.next, BATCH);
            if let Some(last) = events.last() {
                self.next = last.seq + 1;
                return Some(events);
            }
            self.grown.changed().await.ok()?;
        }
    }

    /// The sink has everything up to the last batch; it may be forgotten.
    pub async fn done(&mut self) {
        let trim = Command::Trim {
            events_before: self.next,
            finished_before: self.dispatch.forget_before(HISTORY),
            limit: TRIM_LIMIT,
        };
        if let Err(error) = self.group.propose(codec::encode(&trim)).await {
            // The events are read again after a restart, which "at least once" allows.
            tracing::warn!(%error, "the event cursor could not be moved");
        }
    }
}
