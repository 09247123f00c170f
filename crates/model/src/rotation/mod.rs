//! The life of a domain's keys: which slot is published, seen, signed with, retired.
//!
//! ```text
//! empty ─ install ─► published ─ seen everywhere ─► seen ─ long enough, and due ─► active
//!   ▲                                                                               │ a newer one is active
//!   └── removed ── revoked: p= is empty ◄── retiring: still published ◄─────────────┘
//! ```
//!
//! A slot is a selector. Two are enough for a key to be published while another is signed with.

mod observation;
mod step;
#[cfg(test)]
mod year_tests;

pub use observation::{Answer, Observation, SlotAnswers, Source};
pub use step::{step, wanted};

use minicbor::{Decode, Encode};

use crate::time::{DurationMs, UnixMs};

/// Which key; a domain never has the same number twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct KeyId(#[n(0)] pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SlotState {
    #[n(0)]
    Empty,
    /// The key was made, and its record handed to who publishes it.
    #[n(1)]
    Published {
        #[n(0)]
        key: KeyId,
        #[n(1)]
        since: UnixMs,
    },
    /// Every server and resolver that was asked shows it, without a break.
    #[n(2)]
    Seen {
        #[n(0)]
        key: KeyId,
        #[n(1)]
        since: UnixMs,
    },
    /// Mail is signed with it.
    #[n(3)]
    Active(#[n(0)] Active),
    /// Mail that was signed with it is still on its way.
    #[n(4)]
    Retiring {
        #[n(0)]
        key: KeyId,
        #[n(1)]
        since: UnixMs,
    },
    /// Published with an empty p=.
    #[n(5)]
    Revoked {
        #[n(0)]
        key: KeyId,
        #[n(1)]
        since: UnixMs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Active {
    #[n(0)]
    pub key: KeyId,
    #[n(1)]
    pub since: UnixMs,
    /// When an authoritative server last showed it.
    #[n(2)]
    pub seen_at: UnixMs,
    /// Since when no authoritative server shows it, though one answers.
    #[n(3)]
    pub gone_since: Option<UnixMs>,
    /// Another has the private key, so it goes as soon as there is a new one.
    #[n(4)]
    pub is_compromised: bool,
    /// An operator wants the next key before its time.
    #[n(5)]
    pub is_due: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Slot {
    #[n(0)]
    pub selector: String,
    #[n(1)]
    pub state: SlotState,
}

impl SlotState {
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::Empty => None,
            Self::Active(active) => Some(active.key),
            Self::Published { key, .. }
            | Self::Seen { key, .. }
            | Self::Retiring { key, .. }
            | Self::Revoked { key, .. } => Some(*key),
        }
    }
}

/// How long each state lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Schedule {
    /// The longest TTL of the record. A key is signed with when it was seen for twice as long, so that no resolver still
    /// has what was there before.
    #[n(0)]
    pub ttl: DurationMs,
    /// From one active key to the next.
    #[n(1)]
    pub period: DurationMs,
    /// So long before that the next one is made.
    #[n(2)]
    pub lead: DurationMs,
    /// How long a key stays published that mail is no longer signed with: the longest life of a queued message, here and at
    /// the hosts after us, and then some.
    #[n(3)]
    pub retiring: DurationMs,
    /// How long the empty record stays, which tells receivers that the key is no good.
    #[n(4)]
    pub revoked: DurationMs,
    /// For how long an active key may be gone from the DNS until mail waits. One wrong answer stops no mail.
    #[n(5)]
    pub gone_max: DurationMs,
    /// An active key of which no server tells for so long is told of.
    #[n(6)]
    pub unchecked_max: DurationMs,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Default for Schedule {
    fn default() -> Self {
        Self {
            ttl: DurationMs::from_secs(HOUR),
            period: DurationMs::from_secs(182 * DAY),
            lead: DurationMs::from_secs(7 * DAY),
            retiring: DurationMs::from_secs(14 * DAY),
            revoked: DurationMs::from_secs(30 * DAY),
            gone_max: DurationMs::from_secs(HOUR),
            unchecked_max: DurationMs::from_secs(DAY),
        }
    }
}

/// What is to be done, or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a key and [`Slots::install`] it. Asked for again until that was done.
    Generate { selector: String },
    /// Publish its record: by the operator's zone, or by who owns the domain.
    Publish { selector: String, key: KeyId },
    /// Mail is signed with it from now on.
    Activate { selector: String, key: KeyId },
    /// Mail is no longer signed with it; its record stays.
    Retire { selector: String, key: KeyId },
    /// Publish its record with an empty p=, and destroy the private key.
    Revoke { selector: String, key: KeyId },
    /// Take its record away.
    Remove { selector: String },
    Alert {
        selector: String,
        key: KeyId,
        alert: Alert,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// No authoritative server shows the active key any more. Mail waits in a while, unless it comes back.
    Gone,
    /// It is gone for so long that mail waits.
    Waiting,
    /// No server answered for a long time.
    Unchecked,
    /// A record is gone that mail on its way still needs.
    RemovedEarly,
}

/// What mail of the domain is signed with now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing<'s> {
    With {
        selector: &'s str,
        key: KeyId,
    },
    /// Mail waits: no key was ever seen in the DNS.
    NoneYet,
    /// Mail waits: the key is gone from the DNS.
    Gone {
        selector: &'s str,
        since: UnixMs,
    },
}

/// The keys of one domain and algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Slots {
    #[n(0)]
    slots: Vec<Slot>,
    #[n(1)]
    schedule: Schedule,
}

impl Slots {
    /// Empty slots; two or more selectors.
    #[must_use]
    pub fn new(selectors: impl IntoIterator<Item = String>, schedule: Schedule) -> Self {
        let slots = selectors.into_iter().map(|selector| Slot {
            selector,
            state: SlotState::Empty,
        });
        Self {
            slots: slots.collect(),
            schedule,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Puts a new key into a slot that a [`Action::Generate`] named. A slot that is in use stays as it is, and no action
    /// follows.
    #[must_use]
    pub fn install(mut self, selector: &str, key: KeyId, now: UnixMs) -> (Self, Vec<Action>) {
        let mut slots = self.slots.iter_mut();
        let free = slots.find(|slot| {
            slot.selector == selector
                && matches!(slot.state, SlotState::Empty | SlotState::Revoked { .. })
        });
        let Some(slot) = free else {
            return (self, Vec::new());
        };
        slot.state = SlotState::Published { key, since: now };
        let selector = slot.selector.clone();
        (self, vec![Action::Publish { selector, key }])
    }

    /// An operator knows that others have the active key.
    #[must_use]
    pub fn compromised(mut self) -> Self {
        if let Some(active) = self.active_mut() {
            active.is_compromised = true;
        }
        self
    }

    /// An operator wants the next key before its time.
    #[must_use]
    pub fn due(mut self) -> Self {
        if let Some(active) = self.active_mut() {
            active.is_due = true;
        }
        self
    }

    /// From now on these times hold.
    #[must_use]
    pub fn with_schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What to sign with. The answer is as good as the last observation.
    #[must_use]
    pub fn signing(&self, now: UnixMs) -> Signing<'_> {
        for slot in &self.slots {
            if let SlotState::Active(active) = &slot.state {
                let selector = &slot.selector;
                return match active.gone_since {
                    Some(since) if now.since(since) >= self.schedule.gone_max => {
                        Signing::Gone { selector, since }
                    }
                    _ => Signing::With {
                        selector,
                        key: active.key,
                    },
                };
            }
        }
        Signing::NoneYet
    }

    fn active_mut(&mut self) -> Option<&mut Active> {
        self.slots
            .iter_mut()
            .find_map(|slot| match &mut slot.state {
                SlotState::Active(active) => Some(active),
                _ => None,
            })
    }
}
