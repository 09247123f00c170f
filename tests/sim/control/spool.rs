//! The Spool service: bodies and Accepts, work streams and the dispenser, as in `control::spool`.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use skein_model::dispense::Dispenser;
use skein_model::history::Horizon;
use skein_model::rows::ReadRows;
use skein_model::spool::{Accept, Command, OpenSlots, key, query};
use skein_model::{DurationMs, Epoch, GroupId, MessageId, SessionId, Slot, TaskId, absence, meta};

use super::{Control, Read, Result, SPOOLS, Then};
use crate::message::{Answer, Frame, Recorded, Task};
use crate::mutation::Mutation;
use crate::raft::What;
use crate::sim::{Pid, Sim, Timer};

const FRAME_TASKS: usize = 64;
/// History is kept for less than in the product, so that trimming it happens within a run.
const KEEP_HISTORY: DurationMs = DurationMs::from_secs(20);

#[derive(Default)]
pub struct Spool {
    /// None while another node leads the group.
    pub dispenser: Option<Dispenser>,
    /// Messages that were committed before their bytes came here.
    pub needed: BTreeMap<MessageId, DurationMs>,
    pub looked_through: bool,
    asking: bool,
    led_since: DurationMs,
    horizon: Horizon,
    /// The latest work stream of each session.
    latest: BTreeMap<SessionId, u64>,
    /// Streams that ended, and when.
    ended: BTreeMap<u64, (SessionId, DurationMs)>,
}

pub struct Work {
    group: GroupId,
    session: SessionId,
    slots: BTreeMap<Slot, Epoch>,
    change: u64,
    told: u64,
    window: usize,
    outstanding: usize,
    is_open: bool,
    /// Its server led no more; only a mutation lets it go on.
    is_idle: bool,
}

impl Control {
    fn spool(&mut self, group: GroupId) -> &mut Spool {
        self.spools
            .get_mut(&group)
            .expect("every node has all groups")
    }

    pub(super) fn store_body(&mut self, sim: &mut Sim, id: MessageId, from: Pid, question: u64) {
        self.bodies.entry(id).or_insert(false);
        let takes = match sim.slow_disk {
            true => sim.rng.range(20, 400),
            false => sim.rng.range(1, 8),
        };
        if sim.is(Mutation::BodyBeforeFsync) {
            sim.tell(self.pid, from, question, Answer::Stored(self.node));
        }
        sim.timer(self.pid, takes, Timer::BodySynced(id, from, question));
    }

    pub(super) fn body_synced(&mut self, sim: &mut Sim, id: MessageId, to: Pid, question: u64) {
        if let Some(synced) = self.bodies.get_mut(&id) {
            *synced = true;
            if to != self.pid {
                sim.tell(self.pid, to, question, Answer::Stored(self.node));
            }
        }
    }

    pub(super) fn accept(&mut self, sim: &mut Sim, from: Pid, id: u64, accept: &Rc<Accept>) {
        let group = accept.id.group();
        let voters: Vec<_> = self.groups[&group]
            .config()
            .all_voters()
            .into_iter()
            .collect();
        let is_on_majority = accept.body.is_on_majority_of(&voters);
        if !is_on_majority && !sim.is(Mutation::AcceptWithoutMajorityOfBodies) {
            return sim.tell(self.pid, from, id, Answer::Refused);
        }
        let command = Command::Accept(Box::new((**accept).clone()));
        self.propose_spool(sim, group, command, Then::Tell(from, id, Answer::Done));
    }

    fn propose_spool(&mut self, sim: &mut Sim, group: GroupId, command: Command, then: Then) {
        let at = self.now(sim);
        self.propose(sim, group, What::Spool(at, command), then);
    }

    /// Finds open messages without bytes, as there are after a snapshot or a restart.
    pub(super) fn look_through(&mut self, sim: &Sim, group: GroupId) {
        let now = sim.mono(self.pid);
        let mut lacking = Vec::new();
        let rows = &self.groups[&group].rows;
        ReadRows::scan(rows, key::MESSAGES, &[], &mut |row_key, _| {
            lacking.extend(
                key::read_message(row_key)
                    .filter(|id| query::needs_body(rows, *id) && !self.bodies.contains_key(id)),
            );
            true
        });
        let spool = self.spool(group);
        for id in lacking {
            spool.needed.entry(id).or_insert(now);
        }
        spool.looked_through = true;
    }

    /// Dispenses while this node leads the group, and only then.
    pub(super) fn follow_leadership(&mut self, sim: &mut Sim) {
        for group in SPOOLS {
            let leads = self.groups[&group].is_leader();
            let spool = self.spool(group);
            if leads && spool.dispenser.is_none() && !spool.asking {
                spool.asking = true;
                let token = sim.unique();
                self.reads.insert(token, Read::Lead(group));
                let now = sim.now;
                self.raft(group).read(token, now);
            } else if !leads && spool.dispenser.is_some() {
                spool.dispenser = None;
                self.follow(sim, group);
            }
        }
    }

    fn follow(&mut self, sim: &mut Sim, group: GroupId) {
        self.spool(group).ended.clear();
        let streams = self
            .streams
            .iter_mut()
            .filter(|(_, work)| work.group == group);
        let mut over = Vec::new();
        for (id, work) in streams {
            work.is_idle = true;
            over.push(*id);
        }
        if !sim.is(Mutation::StreamOutlivesLeadership) {
            for id in over {
                sim.close_stream(id, self.pid);
                self.streams.remove(&id);
            }
        }
    }

    /// With everything applied that an earlier leader committed.
    pub(super) fn lead(&mut self, sim: &mut Sim, group: GroupId, leads: bool) {
        self.spool(group).asking = false;
        if !leads || !self.groups[&group].is_leader() {
            return;
        }
        let rows = &self.groups[&group].rows;
        let registered = meta::sessions(self.meta()).into_keys();
        let owners = Slot::all().filter_map(|slot| query::slot(rows, slot));
        let mut absent = registered.chain(owners.map(|row| row.session)).collect();
        if sim.is(Mutation::DispenseAtOnce) {
            absent = Default::default();
        }
        let dispenser = Dispenser::load(rows, absent);
        let (now, term) = (sim.mono(self.pid), self.groups[&group].term());
        let spool = self.spool(group);
        spool.dispenser = Some(dispenser);
        spool.led_since = now;
        spool.horizon = Horizon::default();
        spool.latest.clear();
        spool.ended.clear();
        sim.judge.dispenses(sim.now, group, term, self.node);
    }

    /// Gives up waiting for sessions that are gone.
    pub(super) fn look_for_absent(&mut self, sim: &Sim) {
        let now = sim.mono(self.pid);
        for group in SPOOLS {
            let live = &self.groups[&GroupId::META].rows;
            let lives = |session: SessionId| meta::session(live, session).is_some();
            let spool = self.spools.get_mut(&group).expect("it is one of ours");
            let Some(dispenser) = spool.dispenser.as_mut() else {
                continue;
            };
            let waited = DurationMs(now.0 - spool.led_since.0);
            for session in dispenser.absent().clone() {
                if absence::predecessor_is_gone(waited, lives(session)) {
                    dispenser.session_gone(session);
                    spool.latest.remove(&session);
                }
            }
            let latest = &mut spool.latest;
            spool.ended.retain(|stream, (session, since)| {
                if latest.get(session) != Some(stream) {
                    return false;
                }
                let waited = DurationMs(now.0 - since.0);
                let is_gone = absence::stream_is_gone(waited, lives(*session));
                if is_gone {
                    dispenser.session_gone(*session);
                    latest.remove(session);
                }
                !is_gone
            });
        }
    }

    pub(super) fn on_frame(&mut self, sim: &mut Sim, stream: u64, frame: Frame) {
        match frame {
            Frame::Open {
                group,
                session,
                slots,
                window,
                held,
            } => self.open_work(sim, stream, group, session, slots, window, &held),
            Frame::Slots { slots, change } => {
                if let Some(work) = self.streams.get(&stream) {
                    let (group, session) = (work.group, work.session);
                    let command = Command::OpenSlots(OpenSlots {
                        session,
                        slots: slots.clone(),
                    });
                    let then = Then::OpenSlots {
                        stream,
                        slots,
                        change: Some(change),
                    };
                    self.propose_spool(sim, group, command, then);
                }
            }
            Frame::Report(report) => {
                if let Some(work) = self.streams.get(&stream) {
                    let group = work.group;
                    let task = (report.task, report.facts.number);
                    let command = Command::Report(Box::new((*report).clone()));
                    self.propose_spool(sim, group, command, Then::Report { stream, task });
                }
            }
            Frame::Refile(refile, attempt) => {
                if let Some(work) = self.streams.get(&stream) {
                    let group = work.group;
                    let task = (refile.task, attempt);
                    let command = Command::Refile(Box::new((*refile).clone()));
                    self.propose_spool(sim, group, command, Then::Report { stream, task });
                }
            }
            Frame::Returned(task) => {
                if let Some(work) = self.streams.get_mut(&stream) {
                    work.outstanding = work.outstanding.saturating_sub(1);
                    let (group, session) = (work.group, work.session);
                    let pid = self.pid;
                    sim.detail(|| format!("{pid:?} has {task} back from session {session}"));
                    if self.spool(group).latest.get(&session) == Some(&stream) {
                        self.give_back(group, session, task);
                    }
                }
            }
            Frame::Opened | Frame::Tasks { .. } | Frame::Recorded { .. } => {}
        }
    }

    fn give_back(&mut self, group: GroupId, session: SessionId, task: TaskId) {
        if let Some(dispenser) = self.spool(group).dispenser.as_mut() {
            dispenser.give_back(session, task);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    fn open_work(
        &mut self,
        sim: &mut Sim,
        stream: u64,
        group: GroupId,
        session: SessionId,
        slots: Vec<(Slot, Epoch)>,
        window: usize,
        held: &[(TaskId, u32)],
    ) {
        let rows = &self.groups[&group].rows;
        let spool = self.spools.get_mut(&group).expect("it is one of ours");
        let Some(dispenser) = spool.dispenser.as_mut() else {
            return sim.close_stream(stream, self.pid);
        };
        let held: HashMap<TaskId, u32> = held.iter().copied().collect();
        let live = &self.groups[&GroupId::META].rows;
        let lives = |session: SessionId| meta::session(live, session).is_some();
        dispenser.session_back(rows, session, &held, lives);
        spool.latest.insert(session, stream);
        let work = Work {
            group,
            session,
            slots: BTreeMap::new(),
            change: 0,
            told: 0,
            window,
            outstanding: held.len(),
            is_open: false,
            is_idle: false,
        };
        self.streams.insert(stream, work);
        let command = Command::OpenSlots(OpenSlots {
            session,
            slots: slots.clone(),
        });
        let change = None;
        let then = Then::OpenSlots {
            stream,
            slots,
            change,
        };
        self.propose_spool(sim, group, command, then);
    }

    pub(super) fn slots_opened(
        &mut self,
        sim: &mut Sim,
        stream: u64,
        slots: Vec<(Slot, Epoch)>,
        change: Option<u64>,
        result: &Result,
    ) {
        let Some(work) = self.streams.get_mut(&stream) else {
            return;
        };
        let rows = &self.groups[&work.group].rows;
        let is_ours = |(slot, epoch): &(Slot, Epoch)| {
            query::slot(rows, *slot)
                .is_some_and(|row| row.session == work.session && row.epoch == *epoch)
        };
        if *result != Result::Done || !slots.iter().all(is_ours) {
            sim.close_stream(stream, self.pid);
            return self.stream_ended(sim, stream);
        }
        work.slots = slots.into_iter().collect();
        match change {
            Some(change) => work.change = change,
            None => {
                work.is_open = true;
                let (group, session) = (work.group, work.session);
                sim.judge.connected(sim.now, group, session, self.node);
                sim.frame(stream, self.pid, Frame::Opened);
            }
        }
    }

    pub(super) fn stream_ended(&mut self, sim: &mut Sim, stream: u64) {
        if let Some(work) = self.streams.remove(&stream) {
            let now = sim.mono(self.pid);
            sim.judge
                .disconnected(sim.now, work.group, work.session, self.node);
            let spool = self.spool(work.group);
            if spool.dispenser.is_some() {
                spool.ended.insert(stream, (work.session, now));
            }
        }
    }

    pub(super) fn recorded(
        &mut self,
        sim: &mut Sim,
        stream: u64,
        (task, attempt): (TaskId, u32),
        result: &Result,
    ) {
        let Some(work) = self.streams.get_mut(&stream) else {
            return;
        };
        let (group, session) = (work.group, work.session);
        let told = match result {
            Result::Done => Recorded::Committed,
            Result::Refused => Recorded::Refused,
            _ => Recorded::NotKnown,
        };
        if told != Recorded::NotKnown {
            work.outstanding = work.outstanding.saturating_sub(1);
        }
        let pid = self.pid;
        sim.detail(|| format!("{pid:?} report of {task} by session {session}: {told:?}"));
        let rows = &self.groups[&group].rows;
        let is_uncounted =
            told != Recorded::NotKnown && query::is_before_attempt(rows, task, attempt);
        let is_latest = self.spool(group).latest.get(&session) == Some(&stream);
        if is_uncounted && is_latest {
            self.give_back(group, session, task);
            if sim.is(Mutation::TaskBeforeRefusal) {
                self.dispense(sim, group);
            }
        }
        let (task, result) = ((task, attempt), told);
        sim.frame(stream, self.pid, Frame::Recorded { task, result });
    }

    /// Due tasks to all streams that have room.
    pub(super) fn dispense(&mut self, sim: &mut Sim, group: GroupId) {
        let now = self.now(sim);
        let rows = &self.groups[&group].rows;
        let spool = self.spools.get_mut(&group).expect("it is one of ours");
        let Some(dispenser) = spool.dispenser.as_mut() else {
            return;
        };
        let streams = self.streams.iter_mut();
        for (id, work) in streams.filter(|(_, work)| work.group == group) {
            if !work.is_open || work.is_idle || spool.latest.get(&work.session) != Some(id) {
                continue;
            }
            loop {
                let free = work.window.saturating_sub(work.outstanding);
                let most = free.min(FRAME_TASKS);
                let owns = |slot: Slot| work.slots.contains_key(&slot);
                let taken = dispenser.take(rows, now, work.session, owns, most, work.window);
                if taken.is_empty() && work.change == work.told {
                    break;
                }
                let task = |task: TaskId| {
                    let row = query::task(rows, task)?;
                    Some(Task {
                        id: task,
                        epoch: *work.slots.get(&row.slot)?,
                        row: Rc::new(row),
                    })
                };
                let tasks: Vec<Task> = taken.into_iter().filter_map(task).collect();
                let (pid, session) = (self.pid, work.session);
                for task in &tasks {
                    sim.detail(|| format!("{pid:?} gives {} to session {session}", task.id));
                }
                work.outstanding += tasks.len();
                work.told = work.change;
                let change = work.change;
                sim.frame(*id, self.pid, Frame::Tasks { tasks, change });
            }
        }
    }

    /// What its dispensers wait for.
    pub fn waits_for(&self, sim: &Sim) -> String {
        let now = self.now(sim);
        let leading = self.spools.iter().filter_map(|(group, spool)| {
            let dispenser = spool.dispenser.as_ref()?;
            let absent = dispenser.absent();
            let (out, next) = (dispenser.in_flight(), dispenser.next_due());
            Some(format!(
                "group {group}: {out} out, next at {next:?}, waits for {absent:?}"
            ))
        });
        let leading: Vec<String> = leading.collect();
        format!("{:?} at {now:?}: {leading:?}", self.pid)
    }

    /// Forgets old events and messages, as the node's event reader has it done.
    pub(super) fn trim(&mut self, sim: &mut Sim) {
        for group in SPOOLS {
            if self.groups[&group].is_leader() {
                let (elapsed, now) = (sim.mono(self.pid), self.now(sim));
                let state = query::state(&self.groups[&group].rows);
                let horizon = &mut self.spool(group).horizon;
                let command = Command::Trim {
                    events_before: state.next_seq,
                    finished_before: horizon.forget_before(elapsed, now, state.now, KEEP_HISTORY),
                    limit: 200,
                };
                self.propose_spool(sim, group, command, Then::Nothing);
            }
        }
    }
}
