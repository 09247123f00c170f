//! The Sessions service, as in `control::senders::sessions`.

use skein_model::{GroupId, SessionId, meta};

use super::{Control, Read, Result, Then};
use crate::message::{Answer, Heartbeat, Message, SlotsOf};
use crate::mutation::Mutation;
use crate::sim::{Pid, Sim};

/// A heartbeat whose commands are being committed.
#[derive(Debug)]
pub struct Beat {
    session: SessionId,
    version: u64,
    sent_at: u64,
}

impl Control {
    pub(super) fn open_session(
        &mut self,
        sim: &mut Sim,
        from: Pid,
        id: u64,
        sender: String,
        order: u64,
    ) {
        let session = SessionId(sim.unique());
        let command = meta::Command::OpenSession {
            session,
            sender,
            order,
        };
        self.propose_meta(sim, command, Then::OpenSession(from, id, session));
    }

    pub(super) fn session_opened(
        &mut self,
        sim: &mut Sim,
        to: Pid,
        id: u64,
        session: SessionId,
        result: &Result,
    ) {
        if *result != Result::Done {
            return sim.tell(self.pid, to, id, Answer::Unavailable);
        }
        let (now, term) = (sim.mono(self.pid), self.groups[&GroupId::META].term());
        let _ = self.leases.heard_from(now, term, session, None);
        let slots = self.slots_of(session);
        sim.tell(self.pid, to, id, Answer::Opened { session, slots });
    }

    fn slots_of(&self, session: SessionId) -> SlotsOf {
        let version = meta::assignments_version(self.meta());
        let held = meta::assignments(self.meta()).into_iter();
        let held = held.filter(|(_, held)| held.session == session);
        let (leaving, slots): (Vec<_>, Vec<_>) =
            held.partition(|(_, held)| held.moving_to.is_some());
        let strip = |slots: Vec<(_, meta::Assignment)>| {
            let slots = slots.into_iter();
            slots.map(|(slot, held)| (slot, held.epoch)).collect()
        };
        SlotsOf {
            version,
            slots: strip(slots),
            leaving: strip(leaving),
        }
    }

    /// Answered when a majority has confirmed that this node leads.
    pub(super) fn heartbeat(&mut self, sim: &mut Sim, from: Pid, id: u64, beat: Heartbeat) {
        let token = sim.unique();
        self.reads.insert(token, Read::Beat(from, id, beat));
        let now = sim.now;
        self.raft(GroupId::META).read(token, now);
    }

    pub(super) fn beat(&mut self, sim: &mut Sim, from: Pid, id: u64, beat: &Heartbeat) {
        let session = beat.session;
        let gone = Answer::Beat {
            alive: false,
            slots: None,
        };
        let Some(row) = meta::session(self.meta(), session) else {
            return sim.tell(self.pid, from, id, gone);
        };
        let (now, term) = (sim.mono(self.pid), self.groups[&GroupId::META].term());
        let unreachable = Some(beat.unreachable.clone());
        let renewed = self.leases.heard_from(now, term, session, unreachable);
        if !renewed && !sim.is(Mutation::RenewWhileEnding) {
            return sim.tell(self.pid, from, id, gone);
        }
        let mut commands = Vec::new();
        if beat.retiring && !row.retiring {
            commands.push(meta::Command::Retire(session));
        }
        if !beat.released.is_empty() {
            let slots = beat.released.clone();
            commands.push(meta::Command::Release { session, slots });
        }
        let beat = Beat {
            session,
            version: beat.version,
            sent_at: beat.sent_at,
        };
        let Some(last) = commands.pop() else {
            return self.beat_done(sim, from, id, beat, &Result::Done);
        };
        for command in commands {
            self.propose_meta(sim, command, Then::Nothing);
        }
        self.propose_meta(sim, last, Then::Beat(from, id, beat));
    }

    pub(super) fn beat_done(
        &mut self,
        sim: &mut Sim,
        to: Pid,
        id: u64,
        beat: Beat,
        result: &Result,
    ) {
        if *result != Result::Done {
            return sim.tell(self.pid, to, id, Answer::Unavailable);
        }
        sim.judge.renewed(beat.session, beat.sent_at);
        let has_changed = meta::assignments_version(self.meta()) != beat.version;
        let slots = has_changed.then(|| self.slots_of(beat.session));
        let alive = true;
        sim.tell(self.pid, to, id, Answer::Beat { alive, slots });
    }

    /// Tells senders that slots have changed, if that gets there.
    pub(super) fn hint(&mut self, sim: &mut Sim) {
        if !self.groups[&GroupId::META].is_leader() {
            return;
        }
        let version = meta::assignments_version(self.meta());
        let senders: Vec<Pid> = sim.lives.keys().copied().collect();
        for sender in senders {
            if matches!(sender, Pid::Sender(_)) {
                sim.send(self.pid, sender, Message::Changed(version));
            }
        }
    }

    /// Ends sessions of which nothing is heard, and takes slots from those that cannot work.
    pub(super) fn look_after_sessions(&mut self, sim: &mut Sim) {
        let raft = &self.groups[&GroupId::META];
        if !raft.is_leader() {
            return;
        }
        let (now, term) = (sim.mono(self.pid), raft.term());
        for command in self
            .leases
            .due(now, term, &self.groups[&GroupId::META].rows)
        {
            let pid = self.pid;
            sim.trace(|| format!("{pid:?} proposes {command:?}"));
            self.propose_meta(sim, command, Then::Nothing);
        }
    }
}
