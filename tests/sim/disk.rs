//! What one Raft group of a node has on disk, and what it has only written: a crash loses any end of the latter.

use std::collections::VecDeque;
use std::rc::Rc;

use skein_model::NodeId;

use crate::raft::{Config, Entry};
use crate::rng::Rng;
use crate::rows::HashedRows;

#[derive(Debug)]
pub struct Snapshot {
    pub index: u64,
    pub term: u64,
    pub rows: HashedRows,
    pub config: Rc<Config>,
}

/// Everything that survives if it is fsynced.
#[derive(Debug, Clone)]
pub struct Image {
    pub term: u64,
    pub vote: Option<NodeId>,
    /// The log begins after this.
    pub base: (u64, u64),
    pub log: VecDeque<Rc<Entry>>,
    pub snapshot: Rc<Snapshot>,
}

#[derive(Debug, Clone)]
pub enum Write {
    Vote(u64, Option<NodeId>),
    Append(Vec<Rc<Entry>>),
    /// Nothing from this index on.
    Truncate(u64),
    /// Another's state in place of ours.
    Install(Rc<Snapshot>),
    /// Our own state, and the log that is older than this index given up.
    Compact(Rc<Snapshot>, u64),
}

impl Image {
    fn new() -> Self {
        let snapshot = Snapshot {
            index: 0,
            term: 0,
            rows: HashedRows::default(),
            config: Rc::default(),
        };
        Self {
            term: 0,
            vote: None,
            base: (0, 0),
            log: VecDeque::new(),
            snapshot: Rc::new(snapshot),
        }
    }

    pub fn last_index(&self) -> u64 {
        self.base.0 + self.log.len() as u64
    }

    pub fn entry(&self, index: u64) -> Option<&Rc<Entry>> {
        let place = index.checked_sub(self.base.0 + 1)?;
        self.log.get(usize::try_from(place).ok()?)
    }

    /// The term of the entry at this index; none if it is not known here.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// Whether this image holds the entry, in its log or in its snapshot.
    pub fn holds(&self, index: u64, term: u64) -> bool {
        index <= self.snapshot.index || self.term_at(index) == Some(term)
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Vote(term, vote) => (self.term, self.vote) = (*term, *vote),
            Write::Append(entries) => self.log.extend(entries.iter().cloned()),
            Write::Truncate(from) => {
                let keep = from.saturating_sub(self.base.0 + 1);
                self.log
                    .truncate(usize::try_from(keep).expect("a short log"));
            }
            Write::Install(snapshot) => {
                self.log.clear();
                self.base = (snapshot.index, snapshot.term);
                self.snapshot = snapshot.clone();
            }
            Write::Compact(snapshot, keep_from) => {
                self.snapshot = snapshot.clone();
                while self.base.0 + 1 < *keep_from {
                    let Some(entry) = self.log.pop_front() else {
                        break;
                    };
                    self.base = (entry.index, entry.term);
                }
            }
        }
    }
}

#[derive(Debug)]
pub struct Disk {
    /// As the process sees it.
    pub now: Image,
    /// As it is after a crash that loses all that may be lost.
    pub synced: Image,
    unsynced: VecDeque<(u64, Write)>,
    written: u64,
}

impl Disk {
    pub fn new() -> Self {
        Self {
            now: Image::new(),
            synced: Image::new(),
            unsynced: VecDeque::new(),
            written: 0,
        }
    }

    /// Returns the number of the write, which is synced when [`Disk::sync`] is told so.
    pub fn write(&mut self, write: Write) -> u64 {
        self.now.write(&write);
        self.written += 1;
        self.unsynced.push_back((self.written, write));
        self.written
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether this write and all before it are on disk.
    pub fn has_synced(&self, write: u64) -> bool {
        self.unsynced
            .front()
            .is_none_or(|(first, _)| *first > write)
    }

    pub fn sync(&mut self, up_to: u64) {
        while let Some((_, write)) = self.unsynced.pop_front_if(|(number, _)| *number <= up_to) {
            self.synced.write(&write);
        }
    }

    /// Returns how many writes were lost.
    pub fn crash(&mut self, rng: &mut Rng) -> u64 {
        let kept = rng.below(self.unsynced.len() as u64 + 1);
        let lost = self.unsynced.len() as u64 - kept;
        for (_, write) in self.unsynced.drain(..).take(kept as usize) {
            self.synced.write(&write);
        }
        self.unsynced.clear();
        self.now = self.synced.clone();
        lost
    }
}
