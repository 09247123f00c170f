//! What is kept of a domain.

use minicbor::{Decode, Encode};

use crate::rotation::{KeyId, Schedule, Signing, SlotState, Slots};
use crate::time::UnixMs;

/// Changes that are kept of a domain, the latest ones: two years of keys.
pub const CHANGES_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Algorithm {
    #[n(0)]
    Rsa,
    #[n(1)]
    Ed25519,
}

impl Algorithm {
    /// As k= of a record says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The names that its keys are published under, in turn.
    pub fn selectors(self) -> [String; 2] {
        let selectors = match self {
            Self::Rsa => ["sk1", "sk2"],
            Self::Ed25519 => ["ske1", "ske2"],
        };
        selectors.map(str::to_owned)
    }
}

/// The keys of one algorithm, which take turns.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeySet {
    #[n(0)]
    pub algorithm: Algorithm,
    #[n(1)]
    pub slots: Slots,
}

/// A key of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyRow {
    #[n(0)]
    pub id: KeyId,
    #[n(1)]
    pub algorithm: Algorithm,
    /// The text of its TXT record.
    #[n(2)]
    pub record: String,
    /// The private key, encrypted; empty when it was destroyed, because the key is revoked.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
    #[n(4)]
    pub made_at: UnixMs,
}

/// What happened to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum What {
    #[n(0)]
    Added,
    /// Its owner has shown that it is theirs.
    #[n(1)]
    Verified,
    /// A key was made, and its record is to be published.
    #[n(2)]
    Made,
    /// Mail is signed with it from now on.
    #[n(3)]
    Activated,
    /// Mail is no longer signed with it; its record stays.
    #[n(4)]
    Retired,
    /// Its record is to have an empty p=, and the private key is destroyed.
    #[n(5)]
    Revoked,
    /// Its record may go.
    #[n(6)]
    Removed,
    /// An operator wants the next key.
    #[n(7)]
    Rotated,
    /// Others have the key, as an operator says.
    #[n(8)]
    Compromised,
    /// No server of the zone shows the active key any more.
    #[n(9)]
    Gone,
    /// It is gone for so long that mail waits.
    #[n(10)]
    Waiting,
    /// No server of the zone answers.
    #[n(11)]
    Unchecked,
    /// A record is gone that mail on its way still needs.
    #[n(12)]
    RemovedEarly,
    /// The private key was encrypted with another key-encryption key.
    #[n(13)]
    Rewrapped,
    /// Other faults of the records were found than before, or none any more.
    #[n(14)]
    Findings,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    #[n(0)]
    pub at: UnixMs,
    #[n(1)]
    pub what: What,
    /// Of the slot that it happened to; empty: to the domain.
    #[n(2)]
    pub selector: String,
    /// Who did it; empty: nobody.
    #[n(3)]
    pub who: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DomainRow {
    #[n(0)]
    pub tenant: String,
    /// A label that stands for it in the operator's zone; a domain that is added again has another one.
    #[n(1)]
    pub label: String,
    /// What the owner publishes to show that the domain is theirs.
    #[n(2)]
    pub token: String,
    /// Keys are published in the operator's zone, and the domain has CNAMEs to them.
    #[n(3)]
    pub is_delegated: bool,
    /// All mail is signed with its keys as well.
    #[n(4)]
    pub is_operator: bool,
    /// One for each algorithm.
    #[n(5)]
    pub sets: Vec<KeySet>,
    /// Those that slots have.
    #[n(6)]
    pub keys: Vec<KeyRow>,
    #[n(7)]
    pub last_key: KeyId,
    #[n(8)]
    pub added_at: UnixMs,
    #[n(9)]
    pub verified_at: Option<UnixMs>,
    #[n(10)]
    pub checked_at: Option<UnixMs>,
    /// Ids of what the last check found.
    #[n(11)]
    pub findings: Vec<String>,
    #[n(12)]
    pub next_check: UnixMs,
    /// Since something changed.
    #[n(13)]
    pub checks: u32,
    /// The latest last.
    #[n(14)]
    pub changes: Vec<Change>,
}

/// Why mail of a domain waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// No key was ever seen in the DNS.
    NoneYet,
    /// The key is gone from the DNS.
    Gone { selector: String, since: UnixMs },
}

/// What mail of a domain is signed with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignedWith {
    /// Selectors and keys. None of a domain that is not verified, and none while mail waits.
    pub keys: Vec<(String, KeyId)>,
    pub waits: Option<Waits>,
    pub is_verified: bool,
}

impl DomainRow {
    pub fn key(&self, id: KeyId) -> Option<&KeyRow> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Every slot with its algorithm.
    pub fn slots(&self) -> impl Iterator<Item = (Algorithm, &crate::rotation::Slot)> {
        let sets = self.sets.iter();
        sets.flat_map(|set| set.slots.iter().map(|slot| (set.algorithm, slot)))
    }

    /// As the last check left it. RSA decides whether mail waits, since large receivers verify nothing else.
    pub fn signed_with(&self) -> SignedWith {
        let mut signed = SignedWith {
            is_verified: self.verified_at.is_some(),
            ..SignedWith::default()
        };
        if !signed.is_verified {
            return signed;
        }
        let now = self.checked_at.unwrap_or(self.added_at);
        for set in &self.sets {
            let is_needed = set.algorithm == Algorithm::Rsa;
            match set.slots.signing(now) {
                Signing::With { selector, key } => signed.keys.push((selector.to_owned(), key)),
                Signing::NoneYet if is_needed => signed.waits = Some(Waits::NoneYet),
                Signing::Gone { selector, since } if is_needed => {
                    let selector = selector.to_owned();
                    signed.waits = Some(Waits::Gone { selector, since });
                }
                Signing::NoneYet | Signing::Gone { .. } => {}
            }
        }
        if signed.waits.is_some() {
            signed.keys.clear();
        }
        signed
    }

    /// Selectors that keys are to be made for.
    pub fn wanted_keys(&self, now: UnixMs) -> Vec<(Algorithm, String)> {
        let sets = self.sets.iter();
        let wanted = sets.filter_map(|set| {
            let selector = crate::rotation::wanted(&set.slots, now)?;
            Some((set.algorithm, selector.to_owned()))
        });
        wanted.collect()
    }

    pub(super) fn new(new: &super::NewDomain, schedule: Schedule, now: UnixMs) -> Self {
        let algorithms = match new.has_ed25519 {
            true => vec![Algorithm::Rsa, Algorithm::Ed25519],
            false => vec![Algorithm::Rsa],
        };
        let sets = algorithms.into_iter().map(|algorithm| KeySet {
            algorithm,
            slots: Slots::new(algorithm.selectors(), schedule),
        });
        Self {
            tenant: new.tenant.clone(),
            label: new.label.clone(),
            token: new.token.clone(),
            is_delegated: new.is_delegated,
            is_operator: new.is_operator,
            sets: sets.collect(),
            keys: Vec::new(),
            last_key: KeyId(0),
            added_at: now,
            verified_at: None,
            checked_at: None,
            findings: Vec::new(),
            next_check: now,
            checks: 0,
            changes: Vec::new(),
        }
    }

    /// Private keys end with their revocation, and all of a key when no slot has it any more.
    pub(super) fn forget_keys(&mut self) {
        let states: Vec<SlotState> = self.slots().map(|(_, slot)| slot.state).collect();
        self.keys
            .retain(|key| states.iter().any(|state| state.key() == Some(key.id)));
        for key in &mut self.keys {
            let is_revoked = |state: &SlotState| matches!(state, SlotState::Revoked { key: id, .. } if *id == key.id);
            if states.iter().any(is_revoked) {
                key.wrapped.clear();
            }
        }
    }

    /// A change that is told again and again is kept once.
    pub(super) fn note(
        &mut self,
        at: UnixMs,
        what: What,
        selector: &str,
        who: &str,
    ) -> Option<Change> {
        let mut of_slot = self.changes.iter().rev();
        let last = of_slot.find(|change| change.selector == selector);
        let repeats = matches!(
            what,
            What::Gone | What::Waiting | What::Unchecked | What::RemovedEarly
        );
        if repeats && last.is_some_and(|last| last.what == what) {
            return None;
        }
        let change = Change {
            at,
            what,
            selector: selector.to_owned(),
            who: who.to_owned(),
        };
        self.changes.push(change.clone());
        let extra = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..extra);
        Some(change)
    }
}
