//! Which session owns which slot: rendezvous hashing with bounded load.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{GroupId, SessionId, Slot, mix};

/// Gives every slot an owner, moving as few as it can.
///
/// Each session holds at most the even share, rounded up. A slot stays where it is while its owner lives and is
/// within its share; others go to the session with the highest hash of (session, slot) that has room.
pub fn assign(
    previous: &BTreeMap<Slot, SessionId>,
    sessions: &[SessionId],
) -> BTreeMap<Slot, SessionId> {
    if sessions.is_empty() {
        return BTreeMap::new();
    }
    let share = usize::from(Slot::COUNT).div_ceil(sessions.len());
    let mut load: BTreeMap<SessionId, usize> =
        sessions.iter().map(|session| (*session, 0)).collect();
    let mut owners = BTreeMap::new();
    for (slot, owner) in previous {
        if let Some(held) = load.get_mut(owner).filter(|held| **held < share) {
            *held += 1;
            owners.insert(*slot, *owner);
        }
    }
    for slot in Slot::all() {
        if owners.contains_key(&slot) {
            continue;
        }
        let owner = load
            .iter()
            .filter(|(_, held)| **held < share)
            .max_by_key(|(session, _)| mix(session.0 ^ (u64::from(slot.0) << 48)))
            .map(|(session, _)| *session)
            .expect("the shares add up to at least all slots");
        *load.get_mut(&owner).expect("owner came from load") += 1;
        owners.insert(slot, owner);
    }
    owners
}

/// Sessions that cannot work on slots, given the spool groups that each does not reach: those that miss a group which
/// another one reaches. A group that no session reaches is ill itself, and moving slots would not help.
pub fn unfit(unreachable: &BTreeMap<SessionId, BTreeSet<GroupId>>) -> BTreeSet<SessionId> {
    let reached_by_another =
        |group: &GroupId| unreachable.values().any(|missed| !missed.contains(group));
    unreachable
        .iter()
        .filter(|(_, missed)| missed.iter().any(reached_by_another))
        .map(|(session, _)| *session)
        .collect()
}
