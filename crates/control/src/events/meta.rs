//! Reading what happens to domains and what people change: at least once, in order, as long as the sink is not down for longer than
//! the log lasts.

use std::sync::Arc;
use std::time::Duration;

use skein_model::codec;
use skein_model::feature::Feature;
use skein_model::meta::{Command, MetaEvent, first_event, is_logged, meta_events};
use skein_store::Reader;
use tokio::sync::watch;

use crate::raft::{Group, VersionGate};

/// Events of one read; an audit entry has 4 kB at most.
const BATCH: usize = 256;
const LOOK_FOR_ROLE: Duration = Duration::from_secs(1);
/// Until a control node of an older version is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The meta group's log of domains and of the audit log, as its leader's sink reads it.
pub struct MetaEvents {
    meta: Arc<Group>,
    reader: Reader,
    applied: watch::Receiver<()>,
    versions: VersionGate,
    next: u64,
}

impl std::fmt::Debug for MetaEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetaEvents")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl MetaEvents {
    pub(crate) fn new(
        meta: Arc<Group>,
        reader: Reader,
        applied: watch::Receiver<()>,
        versions: VersionGate,
    ) -> Self {
        let next = first_event(&reader);
        Self {
            meta,
            reader,
            applied,
            versions,
            next,
        }
    }

    /// The next events in order; waits for some. None when the node stops.
    pub async fn next_batch(&mut self) -> Option<Vec<MetaEvent>> {
        loop {
            self.applied.borrow_and_update();
            if !self.meta.is_leader() {
                // The leader's sink writes them; this node goes on where that stopped, if it leads one day.
                tokio::time::sleep(LOOK_FOR_ROLE).await;
                self.next = self.next.max(first_event(&self.reader));
                continue;
            }
            if !is_logged(&self.reader) {
                self.begin().await;
                continue;
            }
            let (events, next) = meta_events(&self.reader, self.next, BATCH);
            self.next = next;
            if !events.is_empty() {
                return Some(events);
            }
            self.applied.changed().await.ok()?;
        }
    }

    /// The sink has everything up to the last batch.
    pub async fn done(&mut self) {
        self.take(self.next).await;
    }

    /// Has events written down from now on, if every control node knows the log.
    async fn begin(&mut self) {
        match self.versions.pass(Feature::MetaEvents).await {
            Ok(()) => {
                self.take(0).await;
                // A proposal that failed is made again.
                tokio::time::sleep(LOOK_FOR_ROLE).await;
            }
            Err(why) => {
                tracing::info!(why = why.message(), "no events of domains yet");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }

    async fn take(&self, before: u64) {
        let taken = codec::encode(&Command::TakeEvents(before));
        if let Err(error) = self.meta.propose(taken).await {
            // The events are read again after a restart, which "at least once" allows.
            tracing::warn!(%error, "the cursor of events of domains could not be moved");
        }
    }
}
