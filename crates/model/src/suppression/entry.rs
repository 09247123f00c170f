//! Why a subject is not mailed, since when and until when.

use minicbor::{Decode, Encode};

use super::key::Key;
use crate::time::UnixMs;

/// The id of an event, or an operator's word. An id has 26 characters, and a name of an import some more.
pub const SOURCE_BYTES_MAX: usize = 128;
/// A sentence. Ten million of the longest are what no cluster should keep, so it is a short one.
pub const NOTE_BYTES_MAX: usize = 256;

/// Why a subject is not mailed. Rows and files of other versions have the numbers: none is used for another reason later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// The mailbox is not there, for good.
    #[n(0)]
    HardBounce,
    /// Bounces that pass have come too often.
    #[n(1)]
    SoftBounce,
    /// A person has called mail spam.
    #[n(2)]
    Complaint,
    /// A person wants no more of it. Mail of transactional streams goes on.
    #[n(3)]
    Unsubscribe,
    /// Somebody has entered it.
    #[n(4)]
    Manual,
}

impl Reason {
    pub const ALL: [Self; 5] = [
        Self::HardBounce,
        Self::SoftBounce,
        Self::Complaint,
        Self::Unsubscribe,
        Self::Manual,
    ];

    /// As files, tables and events have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce",
            Self::SoftBounce => "soft_bounce",
            Self::Complaint => "complaint",
            Self::Unsubscribe => "unsubscribe",
            Self::Manual => "manual",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The number that rows have.
    pub fn number(self) -> u8 {
        match self {
            Self::HardBounce => 0,
            Self::SoftBounce => 1,
            Self::Complaint => 2,
            Self::Unsubscribe => 3,
            Self::Manual => 4,
        }
    }

    pub fn of_number(number: u8) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|reason| reason.number() == number)
    }

    /// Of two reasons, the graver one is told: what may not be taken back lightly before what may, and what ends by itself last.
    pub fn gravity(self) -> u8 {
        match self {
            Self::Complaint => 5,
            Self::HardBounce => 4,
            Self::Manual => 3,
            Self::Unsubscribe => 2,
            Self::SoftBounce => 1,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    #[n(0)]
    pub reason: Reason,
    /// The id of the event that it follows from, or an operator's word.
    #[n(1)]
    pub source: String,
    #[n(2)]
    pub created: UnixMs,
    /// From then on it does not count; none: it never ends.
    #[n(3)]
    pub expires: Option<UnixMs>,
    #[n(4)]
    pub note: String,
}

/// An entry that is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewEntry {
    #[n(0)]
    pub key: Key,
    /// How the subject was written, if that says more than the key.
    #[n(1)]
    pub spelling: Option<String>,
    #[n(2)]
    pub entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("{field} has {bytes} octets, and up to {max} are kept")]
    TooLong {
        field: &'static str,
        bytes: usize,
        max: usize,
    },
    #[error("{0} has a control character, such as the end of a line")]
    Control(&'static str),
}

impl BadEntry {
    /// Which text it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::TooLong { field, .. } | Self::Control(field) => field,
        }
    }
}

/// What came of an entry where another one of the same key and reason may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The one before had ended, and is forgotten.
    Replaced,
    /// It began earlier or ends later now.
    Changed,
    Same,
}

impl Entry {
    pub fn counts_at(&self, now: UnixMs) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Takes in a later word of the same reason: the earlier `created` is kept, and the later `expires`, with the source and the
    /// note of whoever set it.
    pub fn merge(&mut self, other: Self, now: UnixMs) -> Merged {
        if !self.counts_at(now) {
            *self = other;
            return Merged::Replaced;
        }
        let is_earlier = other.created < self.created;
        let is_longer = ends(other.expires) > ends(self.expires);
        let created = self.created.min(other.created);
        if is_longer {
            *self = other;
        }
        self.created = created;
        match is_earlier || is_longer {
            true => Merged::Changed,
            false => Merged::Same,
        }
    }

    /// # Errors
    /// A text is too long, or has a control character.
    pub fn check(&self) -> Result<(), BadEntry> {
        check_text("source", &self.source, SOURCE_BYTES_MAX)?;
        check_text("note", &self.note, NOTE_BYTES_MAX)
    }
}

/// Where none is later than all.
fn ends(expires: Option<UnixMs>) -> UnixMs {
    expires.unwrap_or(UnixMs(u64::MAX))
}

fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), BadEntry> {
    if text.len() > max {
        let bytes = text.len();
        return Err(BadEntry::TooLong { field, bytes, max });
    }
    match text.chars().any(char::is_control) {
        true => Err(BadEntry::Control(field)),
        false => Ok(()),
    }
}
