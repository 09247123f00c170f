//! What happens to suppression lists, as others are told of it.

use minicbor::{Decode, Encode};

use crate::suppression::{Entry, Key};

/// Entries that are told of one by one for each command; of more, only their number. Followers of bounces and complaints hear of
/// each, and an import does not push everything else out of the log.
pub(super) const EACH_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SuppressionEvent {
    #[n(0)]
    pub what: SuppressionEventKind,
    /// None: it is of so many that each has no event of its own.
    #[n(1)]
    pub item: Option<(Key, Entry)>,
    /// How many entries it is of.
    #[n(2)]
    pub count: u32,
    /// Who did it; empty: it follows from an event or from time.
    #[n(3)]
    pub who: String,
    /// What they said of it.
    #[n(4)]
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SuppressionEventKind {
    #[n(0)]
    Added,
    #[n(1)]
    Removed,
    /// With many others, as they were added by mistake.
    #[n(2)]
    Undone,
    /// It had ended.
    #[n(3)]
    Expired,
}

impl SuppressionEventKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Undone => "undone",
            Self::Expired => "expired",
        }
    }
}

/// What one command has done to entries.
#[derive(Debug, Default)]
pub(super) struct Told {
    first: Vec<(Key, Entry)>,
    count: u32,
}

impl Told {
    pub(super) fn tell(&mut self, key: &Key, entry: &Entry) {
        self.count += 1;
        if self.first.len() < EACH_MAX {
            self.first.push((key.clone(), entry.clone()));
        }
    }

    pub(super) fn into_events(
        self,
        what: SuppressionEventKind,
        who: &str,
        note: &str,
    ) -> Vec<SuppressionEvent> {
        let event = |item: Option<(Key, Entry)>, count| SuppressionEvent {
            what,
            item,
            count,
            who: who.to_owned(),
            note: note.to_owned(),
        };
        match self.count as usize > EACH_MAX {
            true => vec![event(None, self.count)],
            false => {
                let each = self.first.into_iter();
                each.map(|item| event(Some(item), 1)).collect()
            }
        }
    }
}
