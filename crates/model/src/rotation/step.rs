//! One observation moves the keys of a domain on.

use super::observation::Verdict;
use super::{Action, Active, Alert, KeyId, Observation, Schedule, Slot, SlotState, Slots};
use crate::time::UnixMs;

/// Moves each slot on by what was observed, at most by one state. Two rules hold: a key becomes active only by an observation
/// that shows it everywhere, and the active one ends only when another takes its place.
#[must_use]
pub fn step(slots: &Slots, observation: &Observation, now: UnixMs) -> (Slots, Vec<Action>) {
    let mut next = slots.clone();
    let mut actions = Vec::new();
    let schedule = slots.schedule;
    let verdicts: Vec<_> = next
        .slots
        .iter()
        .map(|slot| {
            let key = slot.state.key();
            key.map_or_else(Verdict::default, |key| {
                observation.verdict(&slot.selector, key)
            })
        })
        .collect();
    for (slot, verdict) in next.slots.iter_mut().zip(&verdicts) {
        observed(slot, *verdict, &schedule, now, &mut actions);
    }
    replace_active(&mut next, &verdicts, now, &mut actions);
    for slot in &mut next.slots {
        age(slot, &schedule, now, &mut actions);
    }
    ask_for_key(&next, now, &mut actions);
    (next, actions)
}

/// What the answers alone change.
fn observed(
    slot: &mut Slot,
    verdict: Verdict,
    schedule: &Schedule,
    now: UnixMs,
    actions: &mut Vec<Action>,
) {
    let selector = &slot.selector;
    let mut tell = |key: KeyId, alert: Alert| {
        let selector = selector.clone();
        actions.push(Action::Alert {
            selector,
            key,
            alert,
        });
    };
    match &mut slot.state {
        SlotState::Published { key, .. } if verdict.everywhere => {
            slot.state = SlotState::Seen {
                key: *key,
                since: now,
            };
        }
        SlotState::Seen { key, .. } if verdict.doubted => {
            slot.state = SlotState::Published {
                key: *key,
                since: now,
            };
        }
        SlotState::Active(active) if is_back(active, verdict, schedule, now) => {
            (active.seen_at, active.gone_since) = (now, None);
        }
        SlotState::Active(active) if verdict.gone => match active.gone_since {
            None => {
                active.gone_since = Some(now);
                tell(active.key, Alert::Gone);
            }
            Some(since) if now.since(since) >= schedule.gone_max => {
                tell(active.key, Alert::Waiting);
            }
            Some(_) => {}
        },
        SlotState::Active(active) if now.since(active.seen_at) >= schedule.unchecked_max => {
            tell(active.key, Alert::Unchecked);
        }
        SlotState::Retiring { key, .. } if verdict.gone => tell(*key, Alert::RemovedEarly),
        _ => {}
    }
}

/// One server is enough to go on with a key. Mail that waits goes on when everybody shows it, or one server that lies would
/// have it signed with a key that is gone.
fn is_back(active: &Active, verdict: Verdict, schedule: &Schedule, now: UnixMs) -> bool {
    match active.gone_since {
        Some(since) if now.since(since) >= schedule.gone_max => verdict.everywhere,
        _ => verdict.at_home,
    }
}

/// Whether the active key is to be replaced, and how badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Nothing,
    /// By the next key, which is made and published meanwhile.
    Next,
    /// By the next key, as soon as it can be used.
    Due,
    /// By any key that can be used.
    Any,
}

fn need(slots: &Slots, now: UnixMs) -> Need {
    let mut states = slots.slots.iter().map(|slot| &slot.state);
    let active = states.find_map(|state| match state {
        SlotState::Active(active) => Some(active),
        _ => None,
    });
    let schedule = &slots.schedule;
    let Some(active) = active else {
        return Need::Any;
    };
    let age = now.since(active.since);
    let is_gone = |since: UnixMs| now.since(since) >= schedule.gone_max;
    if active.is_compromised || active.gone_since.is_some_and(is_gone) {
        Need::Any
    } else if active.is_due || age >= schedule.period {
        Need::Due
    } else if age.0.saturating_add(schedule.lead.0) >= schedule.period.0 {
        Need::Next
    } else {
        Need::Nothing
    }
}

fn replace_active(slots: &mut Slots, verdicts: &[Verdict], now: UnixMs, actions: &mut Vec<Action>) {
    let need = need(slots, now);
    if need < Need::Due {
        return;
    }
    let settled = slots.schedule.ttl.0.saturating_mul(2);
    let usable = |slot: &Slot, verdict: &Verdict| match slot.state {
        SlotState::Seen { since, .. } => verdict.everywhere && now.since(since).0 >= settled,
        _ => false,
    };
    // Mail on its way with this key shows that receivers knew it.
    let usable_again = |slot: &Slot, verdict: &Verdict| {
        need == Need::Any && verdict.everywhere && matches!(slot.state, SlotState::Retiring { .. })
    };
    let position = |is_usable: &dyn Fn(&Slot, &Verdict) -> bool| {
        let mut pairs = slots.slots.iter().zip(verdicts);
        pairs.position(|(slot, verdict)| is_usable(slot, verdict))
    };
    let Some(place) = position(&usable).or_else(|| position(&usable_again)) else {
        return;
    };
    let Some(key) = slots.slots[place].state.key() else {
        return;
    };
    for slot in &mut slots.slots {
        if let SlotState::Active(active) = slot.state {
            slot.state = retired(&slot.selector, active, now, actions);
        }
    }
    let slot = &mut slots.slots[place];
    slot.state = SlotState::Active(Active {
        key,
        since: now,
        seen_at: now,
        gone_since: None,
        is_compromised: false,
        is_due: false,
    });
    let selector = slot.selector.clone();
    actions.push(Action::Activate { selector, key });
}

/// A key that others have is revoked at once: what it signed and is still on its way is worth less than what they would sign.
fn retired(selector: &str, active: Active, now: UnixMs, actions: &mut Vec<Action>) -> SlotState {
    let (key, selector) = (active.key, selector.to_owned());
    if active.is_compromised {
        actions.push(Action::Revoke { selector, key });
        return SlotState::Revoked { key, since: now };
    }
    actions.push(Action::Retire { selector, key });
    SlotState::Retiring { key, since: now }
}

/// What time alone changes.
fn age(slot: &mut Slot, schedule: &Schedule, now: UnixMs, actions: &mut Vec<Action>) {
    let selector = slot.selector.clone();
    match slot.state {
        SlotState::Retiring { key, since } if now.since(since) >= schedule.retiring => {
            slot.state = SlotState::Revoked { key, since: now };
            actions.push(Action::Revoke { selector, key });
        }
        SlotState::Revoked { since, .. } if now.since(since) >= schedule.revoked => {
            slot.state = SlotState::Empty;
            actions.push(Action::Remove { selector });
        }
        _ => {}
    }
}

fn ask_for_key(slots: &Slots, now: UnixMs, actions: &mut Vec<Action>) {
    actions.extend(wanted(slots, now).map(|selector| Action::Generate {
        selector: selector.to_owned(),
    }));
}

/// The selector that a key is to be made for, if one is. One key is on its way at a time. An empty slot takes it, or where it is
/// needed at once one that is revoked.
#[must_use]
pub fn wanted(slots: &Slots, now: UnixMs) -> Option<&str> {
    let need = need(slots, now);
    let is_coming = slots.slots.iter().any(|slot| {
        matches!(
            slot.state,
            SlotState::Published { .. } | SlotState::Seen { .. }
        )
    });
    if need == Need::Nothing || is_coming {
        return None;
    }
    let find =
        |is_free: fn(&SlotState) -> bool| slots.slots.iter().find(|slot| is_free(&slot.state));
    let empty = find(|state| matches!(state, SlotState::Empty));
    let free = match need {
        Need::Any => empty.or_else(|| find(|state| matches!(state, SlotState::Revoked { .. }))),
        _ => empty,
    };
    free.map(|slot| slot.selector.as_str())
}
