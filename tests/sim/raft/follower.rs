//! What a member does that hears of a leader or a candidate.

use std::rc::Rc;

use skein_model::NodeId;

use super::{Entry, HEED_MS, Out, Raft, RaftMessage, Role};
use crate::disk::{Snapshot, Write};
use crate::rng::Rng;

impl Raft {
    /// Takes the sender for the leader of its term; none if it is of an older one.
    pub(super) fn heed(
        &mut self,
        from: NodeId,
        term: u64,
        round: u64,
        now: u64,
        rng: &mut Rng,
    ) -> Option<()> {
        if term < self.term() {
            let reply = RaftMessage::Appended {
                term: self.term(),
                matched: Err(0),
                round,
            };
            self.out.push(Out::Send(from, reply));
            return None;
        }
        if term > self.term() || self.role != Role::Follower {
            self.stand_down(term);
        }
        self.heard(now, from, rng);
        Some(())
    }

    pub(super) fn on_vote(
        &mut self,
        from: NodeId,
        term: u64,
        last: (u64, u64),
        now: u64,
        rng: &mut Rng,
    ) {
        let follows = self.role == Role::Follower && self.leader.is_some();
        let heeds = follows && now < self.heard_at + HEED_MS;
        if term <= self.term() || heeds {
            let granted = term == self.term() && self.log_vote() == Some(from);
            let term = self.term();
            self.out
                .push(Out::Send(from, RaftMessage::Voted { term, granted }));
            return;
        }
        self.stand_down(term);
        let granted = last >= self.last();
        if granted {
            self.disk.write(Write::Vote(term, Some(from)));
            self.rest(now, rng);
        }
        let reply = RaftMessage::Voted { term, granted };
        self.out
            .push(Out::SendSynced(self.disk.written(), from, reply));
    }

    pub(super) fn log_vote(&self) -> Option<NodeId> {
        // Only a vote that is on disk may be told again.
        let synced = &self.disk.synced;
        (synced.term == self.term())
            .then_some(synced.vote)
            .flatten()
    }

    pub(super) fn on_append(
        &mut self,
        before: (u64, u64),
        entries: Vec<Rc<Entry>>,
        commit: u64,
    ) -> Result<u64, u64> {
        let (before_term, before_index) = before;
        let snapshot = self.log().snapshot.index;
        match self.log().term_at(before_index) {
            Some(term) if term == before_term => {}
            // What a snapshot covers is committed, so it agrees.
            None if before_index < snapshot => {}
            _ => return Err(before_index.min(self.log().last_index() + 1).max(1)),
        }
        let mut matched = before_index.max(snapshot);
        let mut new = Vec::new();
        for entry in entries {
            if entry.index <= self.log().base.0 {
                continue;
            }
            matched = matched.max(entry.index);
            match self.log().term_at(entry.index) {
                Some(term) if term == entry.term && new.is_empty() => {}
                Some(_) if new.is_empty() => {
                    assert!(entry.index > self.commit, "a committed entry is truncated");
                    self.disk.write(Write::Truncate(entry.index));
                    new.push(entry);
                }
                _ => new.push(entry),
            }
        }
        if !new.is_empty() {
            self.disk.write(Write::Append(new));
            self.find_config();
        }
        self.commit = self.commit.max(commit.min(matched));
        Ok(matched)
    }

    pub(super) fn install(&mut self, snapshot: Rc<Snapshot>) {
        if snapshot.index <= self.commit {
            return;
        }
        self.commit = snapshot.index;
        self.applied = snapshot.index;
        self.rows = snapshot.rows.clone();
        self.disk.write(Write::Install(snapshot));
        self.find_config();
        self.out.push(Out::Installed);
    }
}
