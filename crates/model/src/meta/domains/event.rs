//! What happens to domains, as others are told of it.

use minicbor::{Decode, Encode};

use super::row::{Change, DomainRow, What};
use crate::rotation::SlotState;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DomainEvent {
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub tenant: String,
    #[n(2)]
    pub what: DomainEventKind,
    /// Of the key that it happened to; empty: to the domain.
    #[n(3)]
    pub selector: String,
    /// Who did it; empty: nobody.
    #[n(4)]
    pub who: String,
    /// Ids of all that is wrong with the records now.
    #[n(5)]
    pub findings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum DomainEventKind {
    #[n(0)]
    Added,
    #[n(1)]
    Removed,
    #[n(2)]
    Verified,
    #[n(3)]
    KeyPublished,
    #[n(4)]
    KeySeen,
    #[n(5)]
    KeyActive,
    #[n(6)]
    KeyRetired,
    #[n(7)]
    KeyRevoked,
    #[n(8)]
    KeyRemoved,
    #[n(9)]
    RotationOrdered,
    #[n(10)]
    KeyCompromised,
    #[n(11)]
    KeyGone,
    #[n(12)]
    KeyBack,
    #[n(13)]
    MailWaits,
    #[n(14)]
    Unchecked,
    #[n(15)]
    RecordRemovedEarly,
    #[n(16)]
    KeysRewrapped,
    #[n(17)]
    Faulty,
    #[n(18)]
    Well,
}

impl DomainEventKind {
    pub const ALL: [Self; 19] = [
        Self::Added,
        Self::Removed,
        Self::Verified,
        Self::KeyPublished,
        Self::KeySeen,
        Self::KeyActive,
        Self::KeyRetired,
        Self::KeyRevoked,
        Self::KeyRemoved,
        Self::RotationOrdered,
        Self::KeyCompromised,
        Self::KeyGone,
        Self::KeyBack,
        Self::MailWaits,
        Self::Unchecked,
        Self::RecordRemovedEarly,
        Self::KeysRewrapped,
        Self::Faulty,
        Self::Well,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Verified => "verified",
            Self::KeyPublished => "key published",
            Self::KeySeen => "key seen",
            Self::KeyActive => "key active",
            Self::KeyRetired => "key retired",
            Self::KeyRevoked => "key revoked",
            Self::KeyRemoved => "key removed",
            Self::RotationOrdered => "rotation ordered",
            Self::KeyCompromised => "key compromised",
            Self::KeyGone => "key gone",
            Self::KeyBack => "key back",
            Self::MailWaits => "mail waits",
            Self::Unchecked => "no server answers",
            Self::RecordRemovedEarly => "record removed early",
            Self::KeysRewrapped => "keys encrypted anew",
            Self::Faulty => "faulty",
            Self::Well => "well",
        }
    }
}

/// What a command did to a domain: its changes, and keys whose state has changed without one.
pub(super) fn events(
    name: &str,
    before: &DomainRow,
    after: &DomainRow,
    changes: &[Change],
) -> Vec<DomainEvent> {
    let event = |what, selector: &str, who: &str| DomainEvent {
        name: name.to_owned(),
        tenant: after.tenant.clone(),
        what,
        selector: selector.to_owned(),
        who: who.to_owned(),
        findings: match what {
            DomainEventKind::Faulty => after.findings.clone(),
            _ => Vec::new(),
        },
    };
    let of_changes = changes.iter().filter_map(|change| {
        let what = kind(change.what, after)?;
        Some(event(what, &change.selector, &change.who))
    });
    let before_of = |selector: &str| {
        let mut slots = before.slots();
        slots.find_map(|(_, slot)| (slot.selector == selector).then_some(slot.state))
    };
    let of_slots = after.slots().filter_map(|(_, slot)| {
        let what = silent(before_of(&slot.selector)?, slot.state)?;
        Some(event(what, &slot.selector, ""))
    });
    // A key is seen before it does anything else.
    of_slots.chain(of_changes).collect()
}

/// What a domain's own history does not have, or only the first time.
fn silent(before: SlotState, after: SlotState) -> Option<DomainEventKind> {
    let is_seen = |state: SlotState| matches!(state, SlotState::Seen { .. });
    match (before, after) {
        (before, after) if is_seen(after) && !is_seen(before) => Some(DomainEventKind::KeySeen),
        (SlotState::Active(before), SlotState::Active(after)) => {
            match (before.gone_since, after.gone_since) {
                (None, Some(_)) => Some(DomainEventKind::KeyGone),
                (Some(_), None) => Some(DomainEventKind::KeyBack),
                _ => None,
            }
        }
        _ => None,
    }
}

fn kind(what: What, after: &DomainRow) -> Option<DomainEventKind> {
    Some(match what {
        What::Added => DomainEventKind::Added,
        What::Verified => DomainEventKind::Verified,
        What::Made => DomainEventKind::KeyPublished,
        What::Activated => DomainEventKind::KeyActive,
        What::Retired => DomainEventKind::KeyRetired,
        What::Revoked => DomainEventKind::KeyRevoked,
        What::Removed => DomainEventKind::KeyRemoved,
        What::Rotated => DomainEventKind::RotationOrdered,
        What::Compromised => DomainEventKind::KeyCompromised,
        // Told by the slot.
        What::Gone => return None,
        What::Waiting => DomainEventKind::MailWaits,
        What::Unchecked => DomainEventKind::Unchecked,
        What::RemovedEarly => DomainEventKind::RecordRemovedEarly,
        What::Rewrapped => DomainEventKind::KeysRewrapped,
        What::Findings if after.findings.is_empty() => DomainEventKind::Well,
        What::Findings => DomainEventKind::Faulty,
    })
}
