//! Turns: for each session, its tenants by weight; for each tenant, transactional mail before bulk; for
//! each of these, all slots and queues in a circle.

use std::collections::{BTreeMap, HashMap};

use super::ring::Ring;
use crate::id::{QueueId, SessionId, Slot};
use crate::priority::{Precedence, Priority};
use crate::queue::{Queue, TenantKey};

/// Tasks of one turn of a queue, and of a tenant's turn for each unit of its weight.
///
/// A task counts once, whatever the number of its recipients: it takes one place in a sender's window and one
/// transaction, and those are what tenants compete for. A few to a turn keep a round short where thousands of tenants
/// wait, and find one row after the other where few do.
pub(super) const TURN: usize = 4;

/// Queues that may have due tasks.
#[derive(Debug)]
pub struct Turns {
    /// By slot; [`SessionId::NONE`] while no session asks for its tasks.
    owners: Box<[SessionId]>,
    shares: HashMap<SessionId, Shares>,
    lanes: BTreeMap<(Slot, TenantKey, Priority), Ring<QueueId>>,
    weights: Weights,
}

/// Of tenants that were given one; others have 1.
#[derive(Debug, Default)]
pub struct Weights(HashMap<TenantKey, u32>);

impl Weights {
    pub fn of(&self, tenant: TenantKey) -> u32 {
        self.0.get(&tenant).copied().unwrap_or(1).max(1)
    }
}

impl<'n> FromIterator<(&'n str, u32)> for Weights {
    fn from_iter<I: IntoIterator<Item = (&'n str, u32)>>(weights: I) -> Self {
        let weights = weights.into_iter();
        Self(
            weights
                .map(|(name, weight)| (TenantKey::of(name), weight))
                .collect(),
        )
    }
}

/// The tenants that have queues in slots of one session.
#[derive(Debug, Default)]
struct Shares {
    tenants: HashMap<TenantKey, Share>,
    ring: Ring<TenantKey>,
    /// What is left of the turn of the tenant that had the last one.
    left: usize,
}

#[derive(Debug, Default)]
struct Share {
    /// By priority.
    slots: [Ring<Slot>; Priority::COUNT],
    precedence: Precedence,
}

impl Share {
    fn waits(&self, priority: Priority) -> bool {
        !self.slots[priority as usize].is_empty()
    }
}

/// A turn of a queue.
#[derive(Debug)]
pub struct Turn {
    pub queue: QueueId,
    pub tasks_max: usize,
    tenant: TenantKey,
    priority: Priority,
    /// Mail of the other priority waits too.
    is_contended: bool,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            owners: vec![SessionId::NONE; usize::from(Slot::COUNT)].into(),
            shares: HashMap::new(),
            lanes: BTreeMap::new(),
            weights: Weights::default(),
        }
    }
}

impl Turns {
    pub fn set_weights(&mut self, weights: Weights) {
        self.weights = weights;
    }

    pub fn weight(&self, tenant: TenantKey) -> u32 {
        self.weights.of(tenant)
    }

    pub fn insert(&mut self, queue: &Queue) {
        let place = (queue.slot, queue.tenant, queue.priority);
        self.lanes.entry(place).or_default().insert(queue.id);
        if let Some(shares) = self.shares.get_mut(&self.owners[usize::from(queue.slot.0)]) {
            shares.insert(place);
        }
    }

    pub fn remove(&mut self, queue: &Queue) {
        let place = (queue.slot, queue.tenant, queue.priority);
        let Some(lane) = self.lanes.get_mut(&place) else {
            return;
        };
        lane.remove(queue.id);
        if lane.is_empty() {
            self.lanes.remove(&place);
            if let Some(shares) = self.shares.get_mut(&self.owners[usize::from(queue.slot.0)]) {
                shares.remove(place);
            }
        }
    }

    /// The session asks for tasks of these slots and of no others. Returns those that it did not ask for before.
    pub fn own(&mut self, session: SessionId, owns: impl Fn(Slot) -> bool) -> Vec<Slot> {
        let mut new = Vec::new();
        for slot in Slot::all() {
            match (owns(slot), self.owners[usize::from(slot.0)] == session) {
                (true, false) => {
                    self.give(slot, session);
                    new.push(slot);
                }
                (false, true) => self.give(slot, SessionId::NONE),
                _ => {}
            }
        }
        new
    }

    pub fn session_gone(&mut self, session: SessionId) {
        self.shares.remove(&session);
        for owner in &mut self.owners {
            if *owner == session {
                *owner = SessionId::NONE;
            }
        }
    }

    fn give(&mut self, slot: Slot, to: SessionId) {
        let from = std::mem::replace(&mut self.owners[usize::from(slot.0)], to);
        let first = (slot, TenantKey(0), Priority::Transactional);
        let last = (slot, TenantKey(u64::MAX), Priority::Bulk);
        for place in self.lanes.range(first..=last).map(|(place, _)| *place) {
            if let Some(shares) = self.shares.get_mut(&from) {
                shares.remove(place);
            }
            if to != SessionId::NONE {
                self.shares.entry(to).or_default().insert(place);
            }
        }
        if to != SessionId::NONE {
            self.shares.entry(to).or_default();
        }
    }

    /// The queue whose turn it is among those of a session.
    pub fn next(&mut self, session: SessionId) -> Option<Turn> {
        let shares = self.shares.get_mut(&session)?;
        let tenant = match shares.ring.last().filter(|_| shares.left > 0) {
            Some(tenant) => tenant,
            None => {
                let tenant = shares.ring.turn()?;
                shares.left = self.weights.of(tenant) as usize * TURN;
                tenant
            }
        };
        let share = shares.tenants.get_mut(&tenant)?;
        let waits = Priority::ALL.map(|priority| share.waits(priority));
        let priority = share.precedence.next(waits[0], waits[1])?;
        let slot = share.slots[priority as usize].turn()?;
        let queue = self.lanes.get_mut(&(slot, tenant, priority))?.turn()?;
        Some(Turn {
            queue,
            tasks_max: shares.left.min(TURN),
            tenant,
            priority,
            is_contended: waits[0] && waits[1],
        })
    }

    /// So many tasks went out in a turn.
    pub fn took(&mut self, session: SessionId, turn: &Turn, tasks: usize) {
        let Some(shares) = self.shares.get_mut(&session) else {
            return;
        };
        shares.left = shares.left.saturating_sub(tasks);
        if let Some(share) = shares.tenants.get_mut(&turn.tenant)
            && turn.is_contended
        {
            share.precedence.passed(turn.priority, tasks);
        }
    }
}

impl Shares {
    fn insert(&mut self, (slot, tenant, priority): (Slot, TenantKey, Priority)) {
        let share = self.tenants.entry(tenant).or_default();
        share.slots[priority as usize].insert(slot);
        self.ring.insert(tenant);
    }

    fn remove(&mut self, (slot, tenant, priority): (Slot, TenantKey, Priority)) {
        let Some(share) = self.tenants.get_mut(&tenant) else {
            return;
        };
        share.slots[priority as usize].remove(slot);
        if !share.waits(Priority::Transactional) && !share.waits(Priority::Bulk) {
            // What is left of its turn is not saved up: a tenant without due mail has no claim.
            if self.ring.last() == Some(tenant) {
                self.left = 0;
            }
            self.tenants.remove(&tenant);
            self.ring.remove(tenant);
        }
    }
}
