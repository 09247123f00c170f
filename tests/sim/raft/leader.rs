//! What a leader does: replication, commit, confirmed reads, changes of members.

use std::rc::Rc;

use skein_model::NodeId;

use super::{
    APPEND_AGAIN_MS, APPEND_MAX, BEAT_MS, Config, Follower, Out, Raft, RaftMessage, Read, Role,
    What,
};

impl Raft {
    /// Sends what is new to followers that are not waited for.
    pub fn replicate(&mut self, now: u64) {
        if self.role != Role::Leader || now < self.silent_until {
            return;
        }
        let members: Vec<NodeId> = self.config.members.keys().copied().collect();
        for node in members {
            let last = self.log().last_index();
            let follower = self.follower(node);
            let is_free = !follower.waits || now >= follower.sent_at + APPEND_AGAIN_MS;
            if node != self.me && is_free && self.follower(node).next <= last {
                self.send_append(node, now);
            }
        }
    }

    pub(super) fn follower(&mut self, node: NodeId) -> &mut Follower {
        let next = self.disk.now.last_index() + 1;
        self.followers.entry(node).or_insert(Follower {
            next,
            ..Follower::default()
        })
    }

    pub(super) fn beat(&mut self, now: u64) {
        self.beat_at = now + BEAT_MS;
        self.round += 1;
        let members: Vec<NodeId> = self.config.members.keys().copied().collect();
        for node in members {
            if node != self.me {
                self.send_append(node, now);
            }
        }
        self.confirm_reads();
    }

    pub(super) fn send_append(&mut self, node: NodeId, now: u64) {
        let (term, round, commit) = (self.term(), self.round, self.commit);
        let follower = self.follower(node);
        follower.sent_at = now;
        follower.waits = true;
        let next = follower.next;
        let log = self.log();
        let message = match log.term_at(next - 1) {
            Some(before) => RaftMessage::Append {
                term,
                before: (before, next - 1),
                entries: (next..=log.last_index())
                    .map_while(|index| log.entry(index).cloned())
                    .take(APPEND_MAX)
                    .collect(),
                commit,
                round,
            },
            None => RaftMessage::Snapshot {
                term,
                snapshot: log.snapshot.clone(),
                round,
            },
        };
        self.out.push(Out::Send(node, message));
    }

    /// Asks a majority whether this node leads; the answer comes as [`Out::Read`].
    pub fn read(&mut self, token: u64, now: u64) {
        if self.role != Role::Leader {
            self.out.push(Out::Read(token, false));
            return;
        }
        let index = self.commit.max(self.began_at);
        self.reads.push(Read {
            token,
            round: self.round + 1,
            index,
        });
        self.beat(now);
    }

    /// Reads whose round a majority has answered, and whose state is applied here.
    pub fn confirm_reads(&mut self) {
        let (me, config, followers) = (self.me, self.config.clone(), &self.followers);
        let (applied, commit, began) = (self.applied, self.commit, self.began_at);
        let is_confirmed = |read: &Read| {
            let answered = |node: NodeId| {
                node == me
                    || followers
                        .get(&node)
                        .is_some_and(|follower| follower.round >= read.round)
            };
            config.has_majority(answered) && commit >= began && applied >= read.index
        };
        let (done, waiting) = self.reads.drain(..).partition(is_confirmed);
        self.reads = waiting;
        for read in done {
            self.out.push(Out::Read(read.token, true));
        }
    }

    pub(super) fn on_appended(
        &mut self,
        from: NodeId,
        term: u64,
        matched: Result<u64, u64>,
        round: u64,
        now: u64,
    ) {
        if term > self.term() {
            return self.stand_down(term);
        }
        if term < self.term() || self.role != Role::Leader {
            return;
        }
        let last = self.log().last_index();
        let follower = self.follower(from);
        follower.round = follower.round.max(round);
        follower.waits = false;
        match matched {
            Ok(index) => {
                follower.matched = follower.matched.max(index);
                follower.next = follower.next.max(index + 1);
            }
            Err(from) => follower.next = from.max(follower.matched + 1).min(follower.next),
        }
        if follower.next <= last && now >= self.silent_until {
            self.send_append(from, now);
        }
        self.advance_commit();
        self.confirm_reads();
    }

    pub(super) fn advance_commit(&mut self) {
        let synced = &self.disk.synced;
        let own = synced.last_index();
        let own = if synced.term_at(own) == self.disk.now.term_at(own) {
            own
        } else {
            0
        };
        let mut index = self.log().last_index();
        while index > self.commit && self.log().term_at(index) == Some(self.term()) {
            let has = |node: NodeId| {
                let matched = if node == self.me {
                    own
                } else {
                    self.followers
                        .get(&node)
                        .map_or(0, |follower| follower.matched)
                };
                matched >= index
            };
            if self.config.has_majority(has) {
                self.commit = index;
                break;
            }
            index -= 1;
        }
    }

    /// Whether another change of members may begin.
    pub fn may_change(&self) -> bool {
        self.is_leader() && self.config_index <= self.commit && self.commit >= self.began_at
    }

    /// After a joint configuration is committed, the new one alone; after that one, a leader outside it stops.
    pub fn finish_change(&mut self) {
        if !self.may_change() {
            return;
        }
        if let [_, new] = &self.config.voters[..] {
            let config = Config {
                voters: vec![new.clone()],
                members: self.config.members.clone(),
            };
            self.append(What::Members(Rc::new(config)));
        } else if !self.config.votes(self.me) {
            self.stand_down(self.term());
        }
    }

    /// Whether a member has all of the log, or nearly.
    pub fn is_up_to_date(&self, node: NodeId) -> bool {
        let matched = self.followers.get(&node).map_or(0, |f| f.matched);
        node == self.me || matched + 20 >= self.log().last_index()
    }
}
