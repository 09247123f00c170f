//! The slots of this sender, and the claims of what is done for each, which end when the slot is to go elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use parking_lot::Mutex;
use skein_model::meta::limits::KeptAlone;
use skein_model::{Epoch, Slot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// At most one entry for each of the 1024 slots.
pub struct Slots {
    held: Mutex<BTreeMap<Slot, OwnedSlot>>,
    /// Since when no other sender has had each slot, and the latest epoch.
    received: Mutex<BTreeMap<Slot, (Epoch, Instant)>>,
    drain: CancellationToken,
}

struct OwnedSlot {
    epoch: Epoch,
    stop: CancellationToken,
    /// Work for the slot that may still be undone.
    active: TaskTracker,
}

/// A slot for which nothing is begun any more.
pub struct Stopped {
    pub slot: Slot,
    pub epoch: Epoch,
    pub active: TaskTracker,
}

/// Work for a slot under one epoch.
pub struct Claim {
    /// Nothing that is not beyond its final dot goes on after this.
    pub stop: CancellationToken,
    /// Another sender may have had the slot until then; none: none ever had.
    pub gone_since: Option<Instant>,
    active: Mutex<Option<TaskTrackerToken>>,
}

impl Claim {
    /// From here on nothing can be undone, or nothing is left to do that needs the slot: it need not wait any more.
    pub fn let_go(&self) {
        self.active.lock().take();
    }
}

impl Slots {
    pub fn new(drain: CancellationToken) -> Self {
        Self {
            held: Mutex::default(),
            received: Mutex::default(),
            drain,
        }
    }

    fn enter(&self, epoch: Epoch) -> OwnedSlot {
        OwnedSlot {
            epoch,
            stop: self.drain.child_token(),
            active: TaskTracker::new(),
        }
    }

    /// Work of an epoch that has passed is stopped from the beginning.
    pub fn claim(&self, slot: Slot, epoch: Epoch) -> Claim {
        let received = self.receive(slot, epoch);
        let gone_since = (epoch > Epoch(1)).then_some(received);
        let mut held = self.held.lock();
        let entry = held.entry(slot).or_insert_with(|| self.enter(epoch));
        if entry.epoch < epoch {
            entry.stop.cancel();
            *entry = self.enter(epoch);
        }
        if entry.epoch > epoch {
            let stop = CancellationToken::new();
            stop.cancel();
            return Claim {
                stop,
                gone_since,
                active: Mutex::default(),
            };
        }
        Claim {
            stop: entry.stop.clone(),
            gone_since,
            active: Mutex::new(Some(entry.active.token())),
        }
    }

    /// The history of sites that other senders get a part of.
    pub fn kept_alone(&self, sites: &BTreeSet<String>) -> Vec<KeptAlone> {
        let received = self.received.lock();
        let kept = sites.iter().filter_map(|site| {
            let (epoch, since) = *received.get(&Slot::of(site, 0))?;
            Some(KeptAlone {
                site: site.clone(),
                epoch,
                others_gone: (epoch > Epoch(1)).then(|| since.elapsed().into()),
            })
        });
        kept.collect()
    }

    /// Since when no other sender has had the slot that is ours under this epoch, which is now unless more is known. Each
    /// owner has an epoch of its own, so no other sender had it between one of ours and the next: it was to go elsewhere, and
    /// stays.
    pub fn receive(&self, slot: Slot, epoch: Epoch) -> Instant {
        let mut received = self.received.lock();
        let entry = received.entry(slot).or_insert((epoch, Instant::now()));
        if entry.0 < epoch {
            let is_next = entry.0.0 + 1 == epoch.0;
            let since = if is_next { entry.1 } else { Instant::now() };
            *entry = (epoch, since);
        }
        entry.1
    }

    /// Stops what is done for these slots, and returns what ends with it.
    pub fn stop(&self, slots: impl IntoIterator<Item = (Slot, Epoch)>) -> Vec<Stopped> {
        let mut held = self.held.lock();
        let mut stopped = Vec::new();
        for (slot, epoch) in slots {
            let entry = held.entry(slot).or_insert_with(|| self.enter(epoch));
            if entry.epoch <= epoch {
                entry.epoch = epoch;
                entry.stop.cancel();
                entry.active.close();
                let active = entry.active.clone();
                stopped.push(Stopped {
                    slot,
                    epoch,
                    active,
                });
            }
        }
        stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_passed_epoch_is_stopped() {
        let slots = Slots::new(CancellationToken::new());
        let slot = Slot(7);
        let first = slots.claim(slot, Epoch(1));
        assert!(!first.stop.is_cancelled());
        let next = slots.claim(slot, Epoch(2));
        assert!(first.stop.is_cancelled() && !next.stop.is_cancelled());
        assert!(slots.claim(slot, Epoch(1)).stop.is_cancelled());
        assert!(!slots.claim(slot, Epoch(2)).stop.is_cancelled());
    }

    #[test]
    fn only_a_slot_that_another_had_may_be_in_use_elsewhere_until_it_came() {
        let slots = Slots::new(CancellationToken::new());
        assert_eq!(slots.claim(Slot(1), Epoch(1)).gone_since, None);
        let came = slots.receive(Slot(2), Epoch(3));
        assert_eq!(slots.claim(Slot(2), Epoch(3)).gone_since, Some(came));
        let anew = slots.claim(Slot(2), Epoch(4));
        assert_eq!(anew.gone_since, Some(came), "nobody had it in between");
        let after_another = slots.claim(Slot(2), Epoch(6));
        assert!(after_another.gone_since > Some(came));
    }

    #[tokio::test]
    async fn a_slot_is_let_go_when_nothing_can_be_undone_any_more() {
        let slots = Slots::new(CancellationToken::new());
        let (early, late) = (
            slots.claim(Slot(1), Epoch(1)),
            slots.claim(Slot(1), Epoch(1)),
        );
        let stopped = slots.stop([(Slot(1), Epoch(1)), (Slot(2), Epoch(4))]);
        assert!(early.stop.is_cancelled());
        assert!(slots.claim(Slot(2), Epoch(4)).stop.is_cancelled());
        assert!(!slots.claim(Slot(2), Epoch(5)).stop.is_cancelled());
        late.let_go();
        assert_eq!(stopped[0].active.len(), 1);
        drop(early);
        stopped[0].active.wait().await;
        drop(late);
    }

    #[test]
    fn a_drain_stops_all() {
        let drain = CancellationToken::new();
        let slots = Slots::new(drain.clone());
        let claim = slots.claim(Slot(1), Epoch(1));
        drain.cancel();
        assert!(claim.stop.is_cancelled());
        assert!(slots.claim(Slot(9), Epoch(1)).stop.is_cancelled());
    }
}
