//! A control node: the real state machines over a small Raft, and the services around them.

mod members;
mod sessions;
mod spool;

use std::collections::BTreeMap;
use std::rc::Rc;

use skein_model::meta::Leases;
use skein_model::spool::Effect;
use skein_model::{DurationMs, GroupId, MessageId, NodeId, UnixMs, meta};

use self::spool::{Spool, Work};
use crate::apply;
use crate::disk::Disk;
use crate::message::{Answer, Message, Question, View};
use crate::mutation::Mutation;
use crate::raft::{Out, Raft, RaftMessage, What};
use crate::sim::{Event, Pid, Sim, Timer};
use members::Asked;
use sessions::Beat;

pub const SPOOLS: [GroupId; 2] = [GroupId(1), GroupId(2)];
pub const GROUPS: [GroupId; 3] = [GroupId::META, SPOOLS[0], SPOOLS[1]];
const TICK_MS: u64 = 50;

pub struct Control {
    pub pid: Pid,
    pub node: NodeId,
    /// Tells one disk from another that has the same id.
    pub disk_number: u64,
    pub groups: BTreeMap<GroupId, Raft>,
    /// Whether each body is fsynced.
    pub bodies: BTreeMap<MessageId, bool>,
    /// Removed from the cluster, and knows it.
    pub is_removed: bool,
    pub spools: BTreeMap<GroupId, Spool>,
    streams: BTreeMap<u64, Work>,
    leases: Leases,
    waiting: BTreeMap<(GroupId, u64), (u64, Then)>,
    reads: BTreeMap<u64, Read>,
    asked: BTreeMap<u64, Asked>,
    after_sync: BTreeMap<GroupId, Vec<(u64, NodeId, RaftMessage)>>,
    sync_asked: BTreeMap<GroupId, u64>,
    /// What the group's time is ahead of our clock.
    ahead_ms: u64,
    looked_at: DurationMs,
    seconds: u64,
    announced_at: DurationMs,
}

/// What follows when a command is committed, or is not.
#[derive(Debug)]
enum Then {
    Nothing,
    Tell(Pid, u64, Answer),
    OpenSession(Pid, u64, skein_model::SessionId),
    Beat(Pid, u64, Beat),
    OpenSlots {
        stream: u64,
        slots: Vec<(skein_model::Slot, skein_model::Epoch)>,
        change: Option<u64>,
    },
    Report {
        stream: u64,
        /// And the number of the attempt.
        task: (skein_model::TaskId, u32),
    },
}

#[derive(Debug)]
enum Read {
    Beat(Pid, u64, crate::message::Heartbeat),
    Lead(GroupId),
}

/// How a proposal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Result {
    Done,
    Refused,
    Joined { removed: bool },
    NotLeader,
    Unknown,
}

impl Control {
    pub fn new(pid: Pid, sim: &mut Sim) -> Self {
        Self::with_id(pid, None, sim)
    }

    /// A node with an empty disk, under an id of its own unless it is given one.
    pub fn with_id(pid: Pid, node: Option<NodeId>, sim: &mut Sim) -> Self {
        let fresh = NodeId(sim.rng.next() >> 1);
        let node = node.unwrap_or(fresh);
        let disk_number = sim.unique();
        let groups = GROUPS.map(|group| (group, Raft::start(node, Disk::new(), 0, &mut sim.rng)));
        let mut control = Self {
            pid,
            node,
            disk_number,
            groups: groups.into(),
            bodies: BTreeMap::new(),
            is_removed: false,
            spools: BTreeMap::new(),
            streams: BTreeMap::new(),
            leases: Leases::default(),
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            asked: BTreeMap::new(),
            after_sync: BTreeMap::new(),
            sync_asked: BTreeMap::new(),
            ahead_ms: 0,
            looked_at: DurationMs(0),
            seconds: 0,
            announced_at: DurationMs(0),
        };
        control.start(sim);
        control
    }

    pub fn found(&mut self, members: &BTreeMap<NodeId, String>) {
        for raft in self.groups.values_mut() {
            raft.found(members);
        }
    }

    /// What an operator wants, at the leader of the meta group.
    pub fn command(&mut self, sim: &mut Sim, command: meta::Command) {
        self.propose_meta(sim, command, Then::Nothing);
        self.settle(sim);
    }

    /// Begins an election.
    pub fn elect(&mut self, sim: &mut Sim, group: GroupId) {
        let (now, rng) = (sim.now, &mut sim.rng);
        self.raft(group).elect(now, rng);
        self.settle(sim);
    }

    /// Lets another node be elected.
    pub fn fall_silent(&mut self, group: GroupId, until: u64) {
        self.raft(group).silent_until = until;
    }

    /// Loses what was not fsynced. True if that was something.
    pub fn crash(&mut self, sim: &mut Sim) -> bool {
        let mut lost = 0;
        for raft in self.groups.values_mut() {
            lost += raft.disk.crash(&mut sim.rng);
        }
        let before = self.bodies.len();
        self.bodies.retain(|_, synced| *synced);
        lost > 0 || self.bodies.len() < before
    }

    /// Starts from what is on disk.
    pub fn start(&mut self, sim: &mut Sim) {
        let node = self.node;
        let disks = std::mem::take(&mut self.groups).into_iter();
        self.groups = disks
            .map(|(group, raft)| (group, Raft::start(node, raft.disk, sim.now, &mut sim.rng)))
            .collect();
        self.spools = SPOOLS.map(|group| (group, Spool::default())).into();
        self.streams.clear();
        self.leases = Leases::default();
        self.waiting.clear();
        self.reads.clear();
        self.asked.clear();
        self.after_sync.clear();
        self.sync_asked.clear();
        self.ahead_ms = 0;
        sim.judge.started(self.node, self.disk_number);
        sim.addresses.insert(self.node, self.pid);
    }

    /// The time that this node stamps on entries, and dispenses by.
    fn now(&self, sim: &Sim) -> UnixMs {
        let ahead = match sim.is(Mutation::OwnClock) {
            true => 0,
            false => self.ahead_ms,
        };
        sim.wall(self.pid) + DurationMs(ahead)
    }

    /// A group's time never goes back, and this node's does not stand still until its clock is there.
    fn observe(&mut self, sim: &Sim, at: UnixMs) {
        let ahead = at.since(sim.wall(self.pid)).0;
        self.ahead_ms = self.ahead_ms.max(ahead);
    }

    fn meta(&self) -> &crate::rows::HashedRows {
        &self.groups[&GroupId::META].rows
    }

    fn raft(&mut self, group: GroupId) -> &mut Raft {
        self.groups
            .get_mut(&group)
            .expect("every node has all groups")
    }

    fn address_of(&self, group: GroupId, node: NodeId) -> Option<Pid> {
        let config = self.groups[&group].config();
        Pid::at(config.members.get(&node)?)
    }

    pub fn handle(&mut self, sim: &mut Sim, event: Event) {
        match event {
            Event::Message(
                _,
                Message::Raft {
                    group,
                    from: node,
                    to,
                    message,
                },
            ) => {
                if to == self.node {
                    if let RaftMessage::Voted { granted: true, .. } = &message {
                        sim.judge.voted(group, node);
                    }
                    let (now, rng) = (sim.now, &mut sim.rng);
                    self.raft(group).handle(node, message, now, rng);
                }
            }
            Event::Message(from, Message::Ask(id, question)) => {
                self.on_question(sim, from, id, question);
            }
            Event::Message(_, Message::Tell(id, answer)) => self.on_answer(sim, id, answer),
            Event::Message(_, Message::Changed(_)) => {}
            Event::Frame(stream, frame) => self.on_frame(sim, stream, frame),
            Event::Broken(stream) => self.stream_ended(sim, stream),
            Event::Timer(timer) => self.on_timer(sim, timer),
        }
        self.settle(sim);
    }

    fn on_timer(&mut self, sim: &mut Sim, timer: Timer) {
        match timer {
            Timer::Tick => {
                sim.timer(self.pid, TICK_MS, Timer::Tick);
                for raft in self.groups.values_mut() {
                    raft.tick(sim.now, &mut sim.rng);
                }
                self.follow_leadership(sim);
                self.look_for_absent(sim);
                let now = sim.mono(self.pid);
                if now.0 >= self.looked_at.0 + 500 {
                    self.looked_at = now;
                    self.look_after_sessions(sim);
                    self.seconds += 1;
                    if self.seconds.is_multiple_of(2) {
                        self.reconcile_all(sim);
                        self.pull_bodies(sim);
                        self.announce(sim);
                    }
                    if self.seconds.is_multiple_of(20) {
                        self.trim(sim);
                    }
                }
            }
            Timer::Synced(group, up_to) => {
                let now = sim.now;
                self.raft(group).synced(up_to, now);
                let waiting = self.after_sync.remove(&group).unwrap_or_default();
                let (ready, waiting) = waiting.into_iter().partition(|(at, ..)| *at <= up_to);
                self.after_sync.insert(group, waiting);
                let ready: Vec<(u64, NodeId, RaftMessage)> = ready;
                for (_, to, message) in ready {
                    self.send(sim, group, to, message);
                }
            }
            Timer::BodySynced(id, to, question) => self.body_synced(sim, id, to, question),
            Timer::Deadline(id) => {
                self.asked.remove(&id);
            }
            Timer::Dot(..) | Timer::Submit | Timer::Reply(..) => {}
        }
    }

    fn on_question(&mut self, sim: &mut Sim, from: Pid, id: u64, question: Question) {
        match question {
            Question::Hello => {
                let groups = self.groups.keys().map(|group| (*group, self.view(*group)));
                let answer = Answer::Hello {
                    node: self.node,
                    groups: groups.collect(),
                };
                sim.tell(self.pid, from, id, answer);
            }
            Question::OpenSession { sender, order } => {
                self.open_session(sim, from, id, sender, order);
            }
            Question::Heartbeat(beat) => self.heartbeat(sim, from, id, beat),
            Question::CloseSession(session) => {
                let command = meta::Command::CloseSession(session);
                self.propose_meta(sim, command, Then::Tell(from, id, Answer::Done));
            }
            Question::StoreBody(message) => self.store_body(sim, message, from, id),
            Question::ReadBody(message) => {
                let has = self.bodies.contains_key(&message);
                sim.tell(self.pid, from, id, Answer::HasBody(has));
            }
            Question::Accept(accept) => self.accept(sim, from, id, &accept),
            Question::Join(join) => self.join(sim, from, id, join),
            Question::Submit(_) | Question::Mail(_) => {}
        }
    }

    fn view(&self, group: GroupId) -> View {
        let raft = &self.groups[&group];
        let config = raft.config();
        let members = config.members.iter();
        let members = members.filter_map(|(node, address)| Some((*node, Pid::at(address)?)));
        let (voters, learners) = members.partition(|(node, _)| config.votes(*node));
        View {
            term: raft.term(),
            leader: raft.leader,
            voters,
            learners,
            bodies_complete: self.bodies_complete(group),
        }
    }

    /// Does what the groups ask for, until they ask for nothing more.
    fn settle(&mut self, sim: &mut Sim) {
        for group in GROUPS {
            loop {
                let out = std::mem::take(&mut self.raft(group).out);
                let is_quiet = out.is_empty();
                for out in out {
                    self.on_out(sim, group, out);
                }
                let mut has_applied = false;
                while let Some(entry) = self.groups[&group].next_to_apply() {
                    self.apply(sim, group, &entry);
                    has_applied = true;
                }
                let now = sim.now;
                let raft = self.raft(group);
                raft.finish_change();
                raft.confirm_reads();
                raft.compact();
                raft.replicate(now);
                if is_quiet && !has_applied && raft.out.is_empty() {
                    break;
                }
            }
            let written = self.groups[&group].disk.written();
            let asked = self.sync_asked.entry(group).or_default();
            if written > *asked {
                *asked = written;
                let takes = match sim.slow_disk {
                    true => sim.rng.range(20, 400),
                    false => sim.rng.range(1, 6),
                };
                sim.timer(self.pid, takes, Timer::Synced(group, written));
            }
        }
        for group in SPOOLS {
            self.dispense(sim, group);
        }
    }

    fn on_out(&mut self, sim: &mut Sim, group: GroupId, out: Out) {
        match out {
            Out::Send(to, message) => self.send(sim, group, to, message),
            Out::SendSynced(after, to, message) => {
                let is_synced = self.groups[&group].disk.has_synced(after);
                if is_synced || sim.is(Mutation::AnswerBeforeFsync) {
                    return self.send(sim, group, to, message);
                }
                let waiting = self.after_sync.entry(group).or_default();
                waiting.push((after, to, message));
            }
            Out::Read(token, leads) => {
                if let Some(read) = self.reads.remove(&token) {
                    self.on_read(sim, read, leads);
                }
            }
            Out::BecameLeader => {
                let term = self.groups[&group].term();
                sim.coverage.elections += 1;
                sim.judge.leads(group, term, self.node);
                let pid = self.pid;
                sim.trace(|| format!("{pid:?} leads group {group} in term {term}"));
            }
            Out::StoodDown => {
                let lost = self.waiting.extract_if(.., |(of, _), _| *of == group);
                let lost: Vec<Then> = lost.map(|(_, (_, then))| then).collect();
                for then in lost {
                    self.done(sim, then, Result::Unknown);
                }
            }
            Out::StoodForElection => sim.coverage.candidacies += 1,
            Out::Installed => {
                sim.coverage.snapshots += 1;
                if let Some(spool) = self.spools.get_mut(&group) {
                    spool.looked_through = false;
                }
            }
        }
    }

    fn on_read(&mut self, sim: &mut Sim, read: Read, leads: bool) {
        match read {
            Read::Beat(from, id, _) if !leads => {
                sim.tell(self.pid, from, id, Answer::Unavailable);
            }
            Read::Beat(from, id, beat) => self.beat(sim, from, id, &beat),
            Read::Lead(group) => self.lead(sim, group, leads),
        }
    }

    fn send(&mut self, sim: &mut Sim, group: GroupId, to: NodeId, message: RaftMessage) {
        // An answer goes back over the connection of its question, wherever that came from.
        let pid = self
            .address_of(group, to)
            .or_else(|| sim.addresses.get(&to).copied());
        let Some(pid) = pid else {
            return;
        };
        let message = Message::Raft {
            group,
            from: self.node,
            to,
            message,
        };
        sim.send(self.pid, pid, message);
    }

    fn propose(&mut self, sim: &mut Sim, group: GroupId, what: What, then: Then) {
        let now = sim.now;
        let raft = self.raft(group);
        if !raft.is_leader() || now < raft.silent_until {
            return self.done(sim, then, Result::NotLeader);
        }
        let index = raft.append(what);
        let term = raft.term();
        self.waiting.insert((group, index), (term, then));
    }

    fn propose_meta(&mut self, sim: &mut Sim, command: meta::Command, then: Then) {
        let at = self.now(sim);
        self.propose(sim, GroupId::META, What::Meta(at, command), then);
    }

    fn apply(&mut self, sim: &mut Sim, group: GroupId, entry: &Rc<crate::raft::Entry>) {
        let mutation = sim.mutation;
        let version = meta::assignments_version(self.meta());
        let raft = self.groups.get_mut(&group).expect("it is one of ours");
        let (result, effects) = apply::entry(&mut raft.rows, entry, mutation);
        raft.applied = entry.index;
        sim.judge
            .applied(sim.now, group, entry, &raft.rows, self.node);
        if group != GroupId::META {
            let state = skein_model::spool::query::state(&self.groups[&group].rows);
            self.observe(sim, state.now);
        }
        self.on_effects(group, &effects, sim);
        if group == GroupId::META && meta::assignments_version(self.meta()) != version {
            self.hint(sim);
        }
        if let Some((term, then)) = self.waiting.remove(&(group, entry.index)) {
            let result = match term == entry.term {
                true => match result {
                    apply::Result::Done => Result::Done,
                    apply::Result::Refused => Result::Refused,
                    apply::Result::Removed => Result::Joined { removed: true },
                },
                false => Result::Unknown,
            };
            self.done(sim, then, result);
        }
    }

    fn done(&mut self, sim: &mut Sim, then: Then, result: Result) {
        match then {
            Then::Nothing => {}
            Then::Tell(to, id, answer) => {
                let answer = match result {
                    Result::Done => answer,
                    Result::Refused => Answer::Refused,
                    Result::Joined { removed } => Answer::Joined { removed },
                    Result::NotLeader => Answer::Unavailable,
                    Result::Unknown => Answer::Unknown,
                };
                sim.tell(self.pid, to, id, answer);
            }
            Then::OpenSession(to, id, session) => {
                self.session_opened(sim, to, id, session, &result);
            }
            Then::Beat(to, id, beat) => self.beat_done(sim, to, id, beat, &result),
            Then::OpenSlots {
                stream,
                slots,
                change,
            } => self.slots_opened(sim, stream, slots, change, &result),
            Then::Report { stream, task } => self.recorded(sim, stream, task, &result),
        }
    }

    fn on_effects(&mut self, group: GroupId, effects: &[Effect], sim: &Sim) {
        let now = sim.mono(self.pid);
        let Some(spool) = self.spools.get_mut(&group) else {
            return;
        };
        for effect in effects {
            if let Some(dispenser) = spool.dispenser.as_mut() {
                dispenser.on_effect(effect);
            }
            match effect {
                Effect::BodyNeeded { message, body } if !body.acks.contains(&self.node) => {
                    spool.needed.entry(*message).or_insert(now);
                }
                Effect::BodyFree { message } => {
                    spool.needed.remove(message);
                    self.bodies.remove(message);
                }
                _ => {}
            }
        }
    }
}
