//! A sender's copy of what is suppressed: all hashes, page by page, and then each change.

use minicbor::{Decode, Encode};

use super::filter::Filter;
use super::key::Key;

/// A key has its first entry, or its last one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// Of the key ([`Key::hash`]).
    #[n(0)]
    pub hash: u64,
    #[n(1)]
    pub is_added: bool,
}

/// What a sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedPart {
    /// Some of all hashes.
    Page {
        /// The number of the first change that the pages may lack: they are read while others write.
        since: u64,
        hashes: Vec<u64>,
        /// What was known before is forgotten.
        is_first: bool,
        is_last: bool,
    },
    Changes {
        /// The number of the first of them.
        since: u64,
        changes: Vec<Change>,
    },
}

/// Something is missing between this part and the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the suppression feed does not follow the one before")]
pub struct Gap;

/// While it does not know all, every recipient may be suppressed. What was known before is forgotten at the first page, so that
/// there are never two lists in memory.
#[derive(Debug, Default)]
pub struct Follower {
    filter: Filter,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    /// Pages come, and changes from this number on have to follow.
    Loading(u64),
    /// All changes before this number are known.
    Known(u64),
}

impl Follower {
    /// # Errors
    /// It does not follow what came before. It changes nothing, and the feed has to begin again, from [`Follower::since`].
    pub fn take(&mut self, part: FeedPart) -> Result<(), Gap> {
        match part {
            FeedPart::Page {
                since,
                hashes,
                is_first,
                is_last,
            } => {
                if is_first {
                    self.filter = Filter::default();
                } else if self.state != State::Loading(since) {
                    return Err(Gap);
                }
                self.filter.extend(hashes);
                self.state = match is_last {
                    true => State::Known(since),
                    false => State::Loading(since),
                };
            }
            FeedPart::Changes { since, changes } => {
                if self.state != State::Known(since) {
                    return Err(Gap);
                }
                self.state = State::Known(since + changes.len() as u64);
                for Change { hash, is_added } in changes {
                    match is_added {
                        true => self.filter.insert(hash),
                        false => self.filter.remove(hash),
                    };
                }
            }
        }
        Ok(())
    }

    /// From where a feed goes on; none: from the first page.
    pub fn since(&self) -> Option<u64> {
        match self.state {
            State::Known(next) => Some(next),
            State::Unknown | State::Loading(_) => None,
        }
    }

    /// Whether the control plane has to be asked about mail that is looked up under these keys.
    pub fn may_be_suppressed(&self, keys: &[Key]) -> bool {
        let is_known = matches!(self.state, State::Known(_));
        !is_known || keys.iter().any(|key| self.filter.contains(key.hash()))
    }

    pub fn filter(&self) -> &Filter {
        &self.filter
    }
}
