//! The session, as in `client::sessions`.

use skein_model::lease::{HEARTBEAT, LEASE, Lease};
use skein_model::{DurationMs, Epoch, GroupId, SessionId, Slot};

use super::{Asked, Sender};
use crate::message::{Answer, Heartbeat, Question, SlotsOf};
use crate::mutation::Mutation;
use crate::sim::Sim;

const CALL_WITHIN_MS: u64 = 2_000;
const TRY_AGAIN_MS: u64 = 200;

#[derive(Debug, Default)]
pub struct Keeper {
    version: u64,
    /// A question is on its way.
    waits: bool,
    next_at: u64,
    order: u64,
    closing: bool,
    pub closed: bool,
}

impl Sender {
    pub(super) fn keep_session(&mut self, sim: &mut Sim) {
        if self.retiring && !self.slots.is_empty() {
            let kept = std::mem::take(&mut self.slots);
            self.leaving.extend(kept);
            self.leaving.sort_unstable();
            self.change += 1;
            self.keeper.next_at = 0;
        }
        if self.keeper.waits || self.keeper.closing || sim.now < self.keeper.next_at {
            return;
        }
        let Some((_, leader)) = self.leader(GroupId::META) else {
            return;
        };
        let sent_at = sim.mono(self.pid);
        self.keeper.waits = true;
        match self.session {
            None => {
                self.keeper.order = sim.wall(self.pid).0.max(self.keeper.order + 1);
                let question = Question::OpenSession {
                    sender: self.name(),
                    order: self.keeper.order,
                };
                let asked = Asked::Open { sent_at };
                self.ask(sim, leader, question, CALL_WITHIN_MS, asked);
            }
            Some(session) => {
                let beat = Heartbeat {
                    session,
                    version: self.keeper.version,
                    released: self.released.clone(),
                    unreachable: self.unreachable(),
                    retiring: self.retiring,
                    sent_at: sent_at.0,
                };
                let released = self.released.clone();
                let asked = Asked::Beat { sent_at, released };
                self.ask(
                    sim,
                    leader,
                    Question::Heartbeat(beat),
                    CALL_WITHIN_MS,
                    asked,
                );
            }
        }
    }

    /// Slots have changed, or something is to be told.
    pub(super) fn hinted(&mut self, version: u64) {
        if version != self.keeper.version {
            self.keeper.next_at = 0;
        }
    }

    fn granted(&self, sim: &Sim, sent_at: DurationMs) -> Lease {
        match sim.is(Mutation::LeaseFromAnswer) {
            true => Lease::granted(sim.mono(self.pid), LEASE),
            false => Lease::granted(sent_at, LEASE),
        }
    }

    pub(super) fn on_opened(&mut self, sim: &mut Sim, sent_at: DurationMs, answer: Option<Answer>) {
        self.keeper.waits = false;
        let Some(Answer::Opened { session, slots }) = answer else {
            self.keeper.next_at = sim.now + TRY_AGAIN_MS;
            return self.doubt(sim);
        };
        let pid = self.pid;
        sim.trace(|| format!("{pid:?} has session {session}"));
        sim.judge.opened(session, sent_at.0);
        self.lease = self.granted(sim, sent_at);
        self.session = Some(session);
        self.keeper.next_at = sim.now + HEARTBEAT.0;
        self.tell_slots(slots);
        self.change += 1;
    }

    pub(super) fn on_beat(
        &mut self,
        sim: &mut Sim,
        sent_at: DurationMs,
        released: &[(Slot, Epoch)],
        answer: Option<Answer>,
    ) {
        self.keeper.waits = false;
        match answer {
            Some(Answer::Beat { alive: false, .. }) => self.session_ended(sim),
            Some(Answer::Beat { slots, .. }) => {
                self.keeper.next_at = sim.now + HEARTBEAT.0;
                self.lease = self.granted(sim, sent_at);
                self.released.retain(|slot| !released.contains(slot));
                if let Some(slots) = slots {
                    self.tell_slots(slots);
                }
            }
            _ => {
                self.keeper.next_at = sim.now + TRY_AGAIN_MS;
                self.doubt(sim);
            }
        }
    }

    fn session_ended(&mut self, sim: &mut Sim) {
        let pid = self.pid;
        let session = self.session.take();
        sim.trace(|| format!("{pid:?} has lost session {session:?}"));
        sim.coverage.sessions_lost += 1;
        self.lease = Lease::ENDED;
        self.released.clear();
        self.slots.clear();
        self.leaving.clear();
        self.change += 1;
        self.keeper.next_at = sim.now;
    }

    fn tell_slots(&mut self, told: SlotsOf) {
        self.keeper.version = told.version;
        if self.retiring || (self.slots == told.slots && self.leaving == told.leaving) {
            return;
        }
        self.slots = told.slots;
        self.leaving = told.leaving;
        self.change += 1;
    }

    /// Nothing is done for these slots any more: others may have them.
    pub(super) fn release(&mut self, slots: &[(Slot, Epoch)]) {
        self.released.extend(slots);
        self.keeper.next_at = 0;
    }

    /// Ends the session, when the last results are reported.
    pub(super) fn close_when_done(&mut self, sim: &mut Sim) {
        if !self.retiring || self.keeper.closing || !self.jobs.is_empty() {
            return;
        }
        self.keeper.closing = true;
        match (self.session, self.leader(GroupId::META)) {
            (Some(SessionId(session)), Some((_, leader))) => {
                let question = Question::CloseSession(SessionId(session));
                self.ask(sim, leader, question, CALL_WITHIN_MS, Asked::Close);
            }
            _ => self.keeper.closed = true,
        }
    }
}
