//! Slots that the session loses: what is done for each ends, and then the slot is released.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, Stream, StreamExt};
use parking_lot::Mutex;
use skein_client::{KeptSession, SenderSession};
use skein_model::{Epoch, Slot};
use tokio::sync::watch;

use crate::claim::{Slots, Stopped};
use crate::destination::destinations::Destinations;

impl Slots {
    /// Lets go of slots as the session loses them, for as long as it lasts.
    pub async fn follow(
        self: Arc<Self>,
        session: Arc<KeptSession>,
        destinations: Arc<Destinations>,
        streams: Arc<Mutex<Vec<watch::Receiver<u64>>>>,
    ) {
        let mut changes = session.session.clone();
        let mut before = SenderSession::default();
        loop {
            let now = changes.borrow_and_update().clone();
            let kept: BTreeSet<_> = now.slots.iter().copied().collect();
            for (slot, epoch) in &kept {
                self.receive(*slot, *epoch);
            }
            let lost = before.slots.iter().filter(|slot| !kept.contains(slot));
            // Those slots are not the session's any more: nothing is to be released.
            self.stop(lost.copied());
            let leaving = self.stop(now.leaving.iter().copied());
            destinations.return_stopped();
            let limiters = &destinations.limiters;
            let let_go = async {
                conform(&streams, now.change).await;
                let mut ended = ended(leaving);
                while let Some(slots) = ended.next().await {
                    limiters.hand_over(&names(&slots)).await;
                    session.release(&slots);
                }
            };
            tokio::select! {
                () = let_go, if !now.leaving.is_empty() => {
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
                changed = changes.changed() => if changed.is_err() {
                    return;
                }
            }
            before = now;
        }
    }
}

/// Slots as what is done for each ends: one that takes its time holds up no other.
fn ended(slots: Vec<Stopped>) -> impl Stream<Item = Vec<(Slot, Epoch)>> {
    let slots = slots.into_iter().map(async |stopped| {
        stopped.active.wait().await;
        (stopped.slot, stopped.epoch)
    });
    let ended: FuturesUnordered<_> = slots.collect();
    ended.ready_chunks(usize::from(Slot::COUNT))
}

fn names(slots: &[(Slot, Epoch)]) -> BTreeSet<Slot> {
    slots.iter().map(|(slot, _)| *slot).collect()
}

/// Waits until no stream brings tasks of other slots any more.
async fn conform(streams: &Mutex<Vec<watch::Receiver<u64>>>, change: u64) {
    let streams = streams.lock().clone();
    for mut stream in streams {
        // A stream that ended brings nothing.
        let _ = stream.wait_for(|reached| *reached >= change).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn a_slot_with_work_holds_up_no_other() {
        let slots = Slots::new(CancellationToken::new());
        let works = slots.claim(Slot(1), Epoch(1));
        let stopped = slots.stop([(Slot(1), Epoch(1)), (Slot(2), Epoch(4))]);
        let mut ended = ended(stopped);
        assert_eq!(ended.next().await, Some(vec![(Slot(2), Epoch(4))]));
        assert!(futures::poll!(ended.next()).is_pending());
        drop(works);
        assert_eq!(ended.next().await, Some(vec![(Slot(1), Epoch(1))]));
        assert_eq!(ended.next().await, None);
    }
}
