//! A sender: its session, its work streams, its transactions, and the mail that it takes in.

mod deliver;
mod intake;
mod session;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use skein_model::lease::Lease;
use skein_model::{DurationMs, Epoch, GroupId, MessageId, NodeId, SessionId, Slot, TaskId};

use crate::message::{Answer, Message, Question, View};
use crate::sim::{Event, Pid, Sim, Timer};
use deliver::{Claim, DeliveryTask};
use intake::Intake;
use work::Worker;

const TICK_MS: u64 = 50;
const LOOK_MS: u64 = 1_000;
const LOOK_AGAIN_MS: u64 = 100;
/// A node that does not say hello by then is left out of the view.
const HELLO_MS: u64 = 500;

pub struct Sender {
    pub pid: Pid,
    /// What it knows of the groups.
    view: BTreeMap<GroupId, View>,
    hellos: BTreeMap<u64, Option<BTreeMap<GroupId, View>>>,
    look_at: u64,
    merge_at: u64,
    pub session: Option<SessionId>,
    slots: Vec<(Slot, Epoch)>,
    leaving: Vec<(Slot, Epoch)>,
    /// Grows with every change of the three above.
    change: u64,
    lease: Lease,
    keeper: session::Keeper,
    released: Vec<(Slot, Epoch)>,
    pub retiring: bool,
    workers: BTreeMap<GroupId, Worker>,
    claims: BTreeMap<Slot, Claim>,
    /// Slots that are being let go of, as of a change.
    letting_go: Option<(u64, Vec<(Slot, Epoch)>)>,
    /// The slots before the latest change.
    followed: (u64, Vec<(Slot, Epoch)>),
    jobs: BTreeMap<TaskId, DeliveryTask>,
    intakes: BTreeMap<MessageId, Intake>,
    asked: BTreeMap<u64, Asked>,
}

#[derive(Debug)]
enum Asked {
    Hello,
    Open {
        sent_at: DurationMs,
    },
    Beat {
        sent_at: DurationMs,
        released: Vec<(Slot, Epoch)>,
    },
    Close,
    Body(MessageId),
    Accept(MessageId),
    Mail(TaskId, u32),
}

impl Sender {
    pub fn new(pid: Pid) -> Self {
        Self {
            pid,
            view: BTreeMap::new(),
            hellos: BTreeMap::new(),
            look_at: 0,
            merge_at: u64::MAX,
            session: None,
            slots: Vec::new(),
            leaving: Vec::new(),
            change: 0,
            lease: Lease::ENDED,
            keeper: session::Keeper::default(),
            released: Vec::new(),
            retiring: false,
            workers: BTreeMap::new(),
            claims: BTreeMap::new(),
            letting_go: None,
            followed: (0, Vec::new()),
            jobs: BTreeMap::new(),
            intakes: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    pub fn name(&self) -> String {
        self.pid.address()
    }

    pub fn handle(&mut self, sim: &mut Sim, event: Event) {
        match event {
            Event::Message(_, Message::Tell(id, answer)) => self.on_answer(sim, id, Some(answer)),
            Event::Message(from, Message::Ask(id, Question::Submit(recipients))) => {
                self.submit(sim, from, id, recipients);
            }
            Event::Message(_, Message::Changed(version)) => self.hinted(version),
            Event::Message(..) => {}
            Event::Frame(stream, frame) => self.on_frame(sim, stream, frame),
            Event::Broken(stream) => self.stream_broke(sim, stream),
            Event::Timer(Timer::Tick) => {
                sim.timer(self.pid, TICK_MS, Timer::Tick);
                self.look(sim);
                self.retry_accepts(sim);
                self.resend_reports(sim);
            }
            Event::Timer(Timer::Deadline(id)) => self.on_answer(sim, id, None),
            Event::Timer(Timer::Dot(task, attempts)) => self.dot(sim, task, attempts),
            Event::Timer(_) => {}
        }
        self.keep_session(sim);
        self.follow_slots(sim);
        self.run_workers(sim);
        self.let_go(sim);
    }

    /// An answer, or none in time.
    fn on_answer(&mut self, sim: &mut Sim, id: u64, answer: Option<Answer>) {
        let Some(asked) = self.asked.remove(&id) else {
            return;
        };
        match asked {
            Asked::Hello => {
                if let (Some(told), Some(Answer::Hello { groups, .. })) =
                    (self.hellos.get_mut(&id), answer)
                {
                    *told = Some(groups);
                }
                if self.hellos.values().all(Option::is_some) {
                    self.merge_at = 0;
                }
            }
            Asked::Open { sent_at } => self.on_opened(sim, sent_at, answer),
            Asked::Beat { sent_at, released } => self.on_beat(sim, sent_at, &released, answer),
            Asked::Close => self.keeper.closed = true,
            Asked::Body(message) => self.on_stored(sim, message, answer),
            Asked::Accept(message) => self.on_accepted(sim, message, answer),
            Asked::Mail(task, attempts) => self.on_replies(sim, task, attempts, answer),
        }
    }

    fn ask(&mut self, sim: &mut Sim, to: Pid, question: Question, within: u64, asked: Asked) {
        let id = sim.ask(self.pid, to, question, within);
        self.asked.insert(id, asked);
    }

    /// Looks who leads what.
    fn look(&mut self, sim: &mut Sim) {
        if sim.now >= self.merge_at {
            self.merge_at = u64::MAX;
            let told = std::mem::take(&mut self.hellos);
            self.view = merge(told.into_values().flatten());
            let is_whole =
                !self.view.is_empty() && self.view.values().all(|view| view.leader.is_some());
            self.look_at = sim.now + if is_whole { LOOK_MS } else { LOOK_AGAIN_MS };
        }
        if sim.now < self.look_at || self.merge_at != u64::MAX {
            return;
        }
        let nodes: Vec<Pid> = sim.lives.keys().copied().collect();
        self.hellos.clear();
        self.merge_at = sim.now + HELLO_MS;
        for node in nodes {
            if matches!(node, Pid::Control(_)) {
                let id = sim.ask(self.pid, node, Question::Hello, HELLO_MS);
                self.asked.insert(id, Asked::Hello);
                self.hellos.insert(id, None);
            }
        }
    }

    /// Somebody was not what the view says.
    fn doubt(&mut self, sim: &Sim) {
        self.look_at = self.look_at.min(sim.now + LOOK_AGAIN_MS);
    }

    fn leader(&self, group: GroupId) -> Option<(NodeId, Pid)> {
        let view = self.view.get(&group)?;
        let leader = view.leader?;
        Some((leader, *view.voters.get(&leader)?))
    }

    /// What it has not come to an end with.
    pub fn holds(&self) -> String {
        let held = self.workers.iter();
        let held = held.map(|(group, worker)| (group.0, worker.is_open, &worker.held));
        let held: Vec<_> = held.collect();
        format!(
            "{:?} has {:?}, holds {held:?}, attempts {:?}",
            self.pid, self.session, self.jobs
        )
    }

    /// Nothing is left to do: the process may end.
    pub fn is_drained(&self) -> bool {
        self.retiring && self.keeper.closed && self.intakes.is_empty()
    }

    /// The operator wants the process to end.
    pub fn drain(&mut self) {
        self.retiring = true;
    }

    fn unreachable(&self) -> BTreeSet<GroupId> {
        let shut = self.workers.iter().filter(|(_, worker)| !worker.is_open);
        shut.map(|(group, _)| *group).collect()
    }
}

/// Members may be behind: the highest term counts, and within it who knows a leader.
fn merge(told: impl Iterator<Item = BTreeMap<GroupId, View>>) -> BTreeMap<GroupId, View> {
    let mut merged: BTreeMap<GroupId, View> = BTreeMap::new();
    for (group, view) in told.flatten() {
        let rank = |view: &View| (view.term, view.leader.is_some());
        let known = merged.get(&group).map_or((0, false), rank);
        if rank(&view) > known {
            merged.insert(group, view);
        }
    }
    merged
}
