//! A small honest Raft: terms, votes, a log with fsync, snapshots, joint membership, confirmed reads.
//!
//! It stands in for openraft and keeps to its ways: a voter heeds a leader for a while before it votes for another, a
//! leader that is cut off goes on until it hears of a higher term, and a removed voter stays as a learner at first.

mod follower;
mod leader;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use skein_model::{NodeId, UnixMs, meta, spool};

use crate::disk::{Disk, Image, Snapshot, Write};
use crate::rng::Rng;
use crate::rows::HashedRows;

/// How long a leader is heeded after it was last heard.
const HEED_MS: u64 = 1300;
const BEAT_MS: u64 = 600;
/// An append that is not answered is sent again after this.
const APPEND_AGAIN_MS: u64 = 400;
const APPEND_MAX: usize = 64;
/// Applied entries after which a snapshot is made, and entries that stay in the log after it.
const SNAPSHOT_EVERY: u64 = 120;
const KEEP: u64 = 30;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// One set, or two while they change.
    pub voters: Vec<BTreeSet<NodeId>>,
    pub members: BTreeMap<NodeId, String>,
}

impl Config {
    pub fn of(members: BTreeMap<NodeId, String>) -> Self {
        Self {
            voters: vec![members.keys().copied().collect()],
            members,
        }
    }

    pub fn votes(&self, node: NodeId) -> bool {
        self.voters.iter().any(|set| set.contains(&node))
    }

    pub fn all_voters(&self) -> BTreeSet<NodeId> {
        self.voters.iter().flatten().copied().collect()
    }

    /// A majority of the members before or after a change.
    pub fn has_some_majority(&self, agree: impl Fn(NodeId) -> bool) -> bool {
        let mut sets = self.voters.iter();
        sets.any(|set| set.iter().filter(|node| agree(**node)).count() * 2 > set.len())
    }

    pub fn has_majority(&self, agree: impl Fn(NodeId) -> bool) -> bool {
        let is_majority = |set: &BTreeSet<NodeId>| {
            set.iter().filter(|node| agree(**node)).count() * 2 > set.len()
        };
        !self.voters.is_empty() && self.voters.iter().all(is_majority)
    }
}

#[derive(Debug)]
pub enum What {
    Blank,
    Members(Rc<Config>),
    Meta(UnixMs, meta::Command),
    Spool(UnixMs, spool::Command),
}

#[derive(Debug)]
pub struct Entry {
    pub term: u64,
    pub index: u64,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum RaftMessage {
    Vote {
        term: u64,
        last: (u64, u64),
    },
    Voted {
        term: u64,
        granted: bool,
    },
    Append {
        term: u64,
        before: (u64, u64),
        entries: Vec<Rc<Entry>>,
        commit: u64,
        round: u64,
    },
    Snapshot {
        term: u64,
        snapshot: Rc<Snapshot>,
        round: u64,
    },
    Appended {
        term: u64,
        /// The index up to which the logs agree, or from which the leader should go back.
        matched: Result<u64, u64>,
        round: u64,
    },
}

/// What a node has to do for its group.
#[derive(Debug)]
pub enum Out {
    Send(NodeId, RaftMessage),
    /// After an fsync of all that was written so far.
    SendSynced(u64, NodeId, RaftMessage),
    /// The leader has this read confirmed, or not.
    Read(u64, bool),
    BecameLeader,
    StoodDown,
    StoodForElection,
    Installed,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Role {
    Follower,
    Candidate,
    Leader,
}

#[derive(Debug, Default)]
struct Follower {
    next: u64,
    matched: u64,
    round: u64,
    sent_at: u64,
    waits: bool,
}

#[derive(Debug)]
struct Read {
    token: u64,
    round: u64,
    index: u64,
}

pub struct Raft {
    pub me: NodeId,
    pub disk: Disk,
    pub role: Role,
    pub leader: Option<NodeId>,
    pub commit: u64,
    pub applied: u64,
    pub rows: HashedRows,
    pub out: Vec<Out>,
    config: Rc<Config>,
    config_index: u64,
    votes: BTreeSet<NodeId>,
    /// The write of our own vote.
    vote_written: u64,
    followers: BTreeMap<NodeId, Follower>,
    round: u64,
    reads: Vec<Read>,
    began_at: u64,
    heard_at: u64,
    election_at: u64,
    beat_at: u64,
    /// Leadership is being given to another.
    pub silent_until: u64,
}

impl Raft {
    pub fn start(me: NodeId, disk: Disk, now: u64, rng: &mut Rng) -> Self {
        let snapshot = disk.now.snapshot.clone();
        let mut raft = Self {
            me,
            role: Role::Follower,
            leader: None,
            commit: snapshot.index,
            applied: snapshot.index,
            rows: snapshot.rows.clone(),
            out: Vec::new(),
            config: Rc::default(),
            config_index: 0,
            votes: BTreeSet::new(),
            vote_written: 0,
            followers: BTreeMap::new(),
            round: 0,
            reads: Vec::new(),
            began_at: 0,
            heard_at: 0,
            election_at: 0,
            beat_at: 0,
            silent_until: 0,
            disk,
        };
        raft.find_config();
        raft.rest(now, rng);
        raft
    }

    /// Makes the group with these members.
    pub fn found(&mut self, members: &BTreeMap<NodeId, String>) {
        let config = Rc::new(Config::of(members.clone()));
        let entry = Entry {
            term: 0,
            index: 1,
            what: What::Members(config),
        };
        self.disk.write(Write::Append(vec![Rc::new(entry)]));
        self.disk.sync(u64::MAX);
        self.find_config();
    }

    pub fn term(&self) -> u64 {
        self.disk.now.term
    }

    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    fn log(&self) -> &Image {
        &self.disk.now
    }

    fn find_config(&mut self) {
        let log = &self.disk.now;
        let found = log.log.iter().rev().find_map(|entry| match &entry.what {
            What::Members(config) => Some((entry.index, config.clone())),
            _ => None,
        });
        (self.config_index, self.config) =
            found.unwrap_or_else(|| (log.snapshot.index, log.snapshot.config.clone()));
    }

    fn rest(&mut self, now: u64, rng: &mut Rng) {
        self.election_at = now + HEED_MS + rng.range(700, HEED_MS);
    }

    fn heard(&mut self, now: u64, from: NodeId, rng: &mut Rng) {
        self.heard_at = now;
        self.leader = Some(from);
        self.rest(now, rng);
    }

    fn stand_down(&mut self, term: u64) {
        if term > self.term() {
            self.disk.write(Write::Vote(term, None));
            self.leader = None;
        }
        if self.role == Role::Leader {
            self.out.push(Out::StoodDown);
            self.leader = None;
        }
        self.role = Role::Follower;
        for read in self.reads.drain(..) {
            self.out.push(Out::Read(read.token, false));
        }
    }

    pub fn tick(&mut self, now: u64, rng: &mut Rng) {
        match self.role {
            Role::Leader if now >= self.beat_at.max(self.silent_until) => self.beat(now),
            Role::Leader => {}
            _ if now >= self.election_at && self.config.votes(self.me) => self.elect(now, rng),
            _ => {}
        }
    }

    pub fn elect(&mut self, now: u64, rng: &mut Rng) {
        if self.role == Role::Leader || !self.config.votes(self.me) {
            return;
        }
        self.role = Role::Candidate;
        self.leader = None;
        self.votes.clear();
        let term = self.term() + 1;
        self.vote_written = self.disk.write(Write::Vote(term, Some(self.me)));
        self.rest(now, rng);
        self.out.push(Out::StoodForElection);
        let last = self.last();
        for node in self.config.all_voters() {
            if node != self.me {
                self.out
                    .push(Out::Send(node, RaftMessage::Vote { term, last }));
            }
        }
    }

    /// Term and index of the last entry.
    fn last(&self) -> (u64, u64) {
        let index = self.log().last_index();
        (self.log().term_at(index).unwrap_or(0), index)
    }

    /// All writes up to this one are on disk.
    pub fn synced(&mut self, up_to: u64, now: u64) {
        self.disk.sync(up_to);
        if self.role == Role::Candidate && up_to >= self.vote_written {
            self.votes.insert(self.me);
            self.win_if_elected(now);
        }
        if self.role == Role::Leader {
            self.advance_commit();
        }
    }

    fn win_if_elected(&mut self, now: u64) {
        let votes = &self.votes;
        if self.config.has_majority(|node| votes.contains(&node)) {
            self.role = Role::Leader;
            self.leader = Some(self.me);
            self.followers.clear();
            self.silent_until = 0;
            self.append(What::Blank);
            self.began_at = self.log().last_index();
            self.out.push(Out::BecameLeader);
            self.beat(now);
        }
    }

    /// Adds an entry; only for a leader. Returns its index.
    pub fn append(&mut self, what: What) -> u64 {
        let index = self.log().last_index() + 1;
        let is_config = matches!(what, What::Members(_));
        let entry = Entry {
            term: self.term(),
            index,
            what,
        };
        self.disk.write(Write::Append(vec![Rc::new(entry)]));
        if is_config {
            self.find_config();
        }
        index
    }

    pub fn handle(&mut self, from: NodeId, message: RaftMessage, now: u64, rng: &mut Rng) {
        match message {
            RaftMessage::Vote { term, last } => self.on_vote(from, term, last, now, rng),
            RaftMessage::Voted { term, granted } => {
                if term > self.term() {
                    self.stand_down(term);
                } else if term == self.term() && granted && self.role == Role::Candidate {
                    self.votes.insert(from);
                    self.win_if_elected(now);
                }
            }
            RaftMessage::Append {
                term,
                before,
                entries,
                commit,
                round,
            } => {
                let reply = |matched| (matched, round);
                let Some(()) = self.heed(from, term, round, now, rng) else {
                    return;
                };
                let (matched, round) = reply(self.on_append(before, entries, commit));
                let term = self.term();
                self.out.push(Out::SendSynced(
                    self.disk.written(),
                    from,
                    RaftMessage::Appended {
                        term,
                        matched,
                        round,
                    },
                ));
            }
            RaftMessage::Snapshot {
                term,
                snapshot,
                round,
            } => {
                let Some(()) = self.heed(from, term, round, now, rng) else {
                    return;
                };
                let matched = Ok(snapshot.index);
                self.install(snapshot);
                self.out.push(Out::SendSynced(
                    self.disk.written(),
                    from,
                    RaftMessage::Appended {
                        term,
                        matched,
                        round,
                    },
                ));
            }
            RaftMessage::Appended {
                term,
                matched,
                round,
            } => self.on_appended(from, term, matched, round, now),
        }
    }

    /// The next committed entry that is not applied.
    pub fn next_to_apply(&self) -> Option<Rc<Entry>> {
        if self.applied >= self.commit {
            return None;
        }
        self.log().entry(self.applied + 1).cloned()
    }

    /// Makes a snapshot when the log has grown.
    pub fn compact(&mut self) {
        let snapshot = &self.log().snapshot;
        if self.applied < snapshot.index + SNAPSHOT_EVERY {
            return;
        }
        let applied = self.applied;
        let log = self.log().log.iter().rev();
        let mut configs = log.filter(|entry| entry.index <= applied);
        let config = configs.find_map(|entry| match &entry.what {
            What::Members(config) => Some(config.clone()),
            _ => None,
        });
        let snapshot = Snapshot {
            index: applied,
            term: self.log().term_at(applied).expect("it was just applied"),
            rows: self.rows.clone(),
            config: config.unwrap_or_else(|| snapshot.config.clone()),
        };
        let write = Write::Compact(Rc::new(snapshot), applied.saturating_sub(KEEP));
        self.disk.write(write);
    }
}
