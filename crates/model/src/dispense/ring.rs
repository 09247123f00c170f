//! A circle whose members take turns.

use std::collections::BTreeSet;
use std::ops::Bound;

/// Members go round in their order. One that comes waits for less than a round.
#[derive(Debug)]
pub struct Ring<K> {
    members: BTreeSet<K>,
    /// The member that had the last turn; may have left since.
    last: Option<K>,
}

impl<K> Default for Ring<K> {
    fn default() -> Self {
        Self {
            members: BTreeSet::new(),
            last: None,
        }
    }
}

impl<K: Ord + Copy> Ring<K> {
    pub fn insert(&mut self, member: K) {
        self.members.insert(member);
    }

    pub fn remove(&mut self, member: K) {
        self.members.remove(&member);
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member that had the last turn, if it is still one.
    pub fn last(&self) -> Option<K> {
        self.last.filter(|last| self.members.contains(last))
    }

    /// Gives the next member its turn.
    pub fn turn(&mut self) -> Option<K> {
        let behind = self.last.and_then(|last| {
            let behind = (Bound::Excluded(last), Bound::Unbounded);
            self.members.range(behind).next()
        });
        let next = behind.or(self.members.first()).copied();
        self.last = next.or(self.last);
        next
    }
}
