//! Work streams and reports, as in `client::work`.

use std::collections::BTreeMap;
use std::rc::Rc;

use skein_model::leased_tasks::LeasedTasks;
use skein_model::spool::{Refile, Report};
use skein_model::{Epoch, GroupId, NodeId, SessionId, Slot, TaskId};

use super::Sender;
use crate::control::SPOOLS;
use crate::message::{Frame, Recorded};
use crate::mutation::Mutation;
use crate::sim::Sim;

const WINDOW: usize = 32;
const TRY_AGAIN_MS: u64 = 100;
/// A stream that does not answer a report by then is given up.
const DEADLINE_MS: u64 = 20_000;
/// A stream that is not opened by then is given up.
const OPEN_WITHIN_MS: u64 = 17_000;

#[derive(Debug, Default)]
pub struct Worker {
    stream: Option<Stream>,
    /// Results can be reported.
    pub is_open: bool,
    open_at: u64,
    /// The latest change that all tasks to come conform to.
    pub settled: u64,
    pub held: LeasedTasks,
    /// By task and number of the attempt.
    reports: BTreeMap<(TaskId, u32), Waiting>,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    leader: NodeId,
    session: SessionId,
    slots: Vec<(Slot, Epoch)>,
    /// The latest change that was told.
    sent: u64,
    began_at: u64,
}

/// What a task came to.
#[derive(Debug, Clone)]
pub enum Said {
    Report(Rc<Report>),
    Refile(Rc<Refile>),
}

#[derive(Debug)]
struct Waiting {
    said: Said,
    attempts: u32,
    /// When it is sent, unless it is on its way.
    send_at: Option<u64>,
    /// When the stream that it is on its way over is given up.
    answered_by: u64,
}

impl Sender {
    /// Opens streams, tells them of changed slots, and leaves those of leaders and sessions that are no more.
    pub(super) fn run_workers(&mut self, sim: &mut Sim) {
        for group in SPOOLS {
            self.workers.entry(group).or_default();
            let leader = self.leader(group);
            let worker = self.workers.get_mut(&group).expect("it is there");
            let Some(stream) = worker.stream.as_mut() else {
                self.open_stream(sim, group);
                continue;
            };
            let is_other = leader.is_some_and(|(leader, _)| leader != stream.leader);
            let is_late = !worker.is_open && sim.now >= stream.began_at + OPEN_WITHIN_MS;
            let mut reports = worker.reports.values();
            let is_silent = reports.any(|w| w.send_at.is_none() && sim.now >= w.answered_by);
            if is_other || is_late || is_silent || self.session != Some(stream.session) {
                let id = stream.id;
                sim.close_stream(id, self.pid);
                self.stream_broke(sim, id);
                continue;
            }
            if !worker.is_open || stream.sent.max(worker.settled) >= self.change {
                continue;
            }
            if stream.slots == self.slots && worker.settled >= stream.sent {
                worker.settled = self.change;
                continue;
            }
            stream.slots.clone_from(&self.slots);
            stream.sent = self.change;
            let slots = self.slots.clone();
            let (id, change) = (stream.id, self.change);
            sim.frame(id, self.pid, Frame::Slots { slots, change });
        }
    }

    fn open_stream(&mut self, sim: &mut Sim, group: GroupId) {
        let worker = self.workers.get_mut(&group).expect("it is there");
        worker.settled = self.change;
        let (Some(session), Some(view)) = (self.session, self.view.get(&group)) else {
            return;
        };
        let leader = view.leader.filter(|_| sim.now >= worker.open_at);
        let Some((leader, pid)) = leader.and_then(|node| Some((node, *view.voters.get(&node)?)))
        else {
            return;
        };
        let id = sim.open_stream(self.pid, pid);
        worker.stream = Some(Stream {
            id,
            leader,
            session,
            slots: self.slots.clone(),
            sent: 0,
            began_at: sim.now,
        });
        let held = match sim.is(Mutation::HeldNotTold) {
            true => Vec::new(),
            false => worker.held.tasks().collect(),
        };
        let open = Frame::Open {
            group,
            session,
            slots: self.slots.clone(),
            window: WINDOW,
            held,
        };
        sim.frame(id, self.pid, open);
    }

    pub(super) fn stream_broke(&mut self, sim: &mut Sim, id: u64) {
        let is_it = |worker: &Worker| worker.stream.as_ref().is_some_and(|s| s.id == id);
        let Some(worker) = self.workers.values_mut().find(|worker| is_it(worker)) else {
            return;
        };
        worker.stream = None;
        worker.is_open = false;
        worker.open_at = sim.now + TRY_AGAIN_MS;
        for waiting in worker.reports.values_mut() {
            waiting.send_at = Some(0);
        }
        if sim.is(Mutation::ReportOnce) {
            let lost = std::mem::take(&mut worker.reports);
            for ((task, _), waiting) in lost {
                worker.held.remove(task, waiting.attempts);
                self.jobs.remove(&task);
            }
        }
        self.doubt(sim);
    }

    pub(super) fn on_frame(&mut self, sim: &mut Sim, id: u64, frame: Frame) {
        let mut workers = self.workers.iter_mut();
        let Some((group, worker)) = workers.find_map(|(group, worker)| {
            let is_it = worker.stream.as_ref().is_some_and(|s| s.id == id);
            is_it.then_some((*group, worker))
        }) else {
            return;
        };
        let session = worker.stream.as_ref().expect("just found").session;
        match frame {
            Frame::Opened => worker.is_open = true,
            Frame::Tasks { tasks, change } => {
                let mut new = tasks;
                new.retain(|task| worker.held.receive(task.id, task.row.attempts));
                worker.settled = worker.settled.max(change);
                for task in new {
                    self.begin(sim, session, task);
                }
            }
            Frame::Recorded { task, result } => match result {
                Recorded::Committed | Recorded::Refused => self.settled(group, task),
                Recorded::NotKnown => {
                    if let Some(waiting) = worker.reports.get_mut(&task) {
                        waiting.send_at = Some(sim.now + TRY_AGAIN_MS);
                    }
                    self.doubt(sim);
                }
            },
            Frame::Open { .. }
            | Frame::Slots { .. }
            | Frame::Report(_)
            | Frame::Refile(..)
            | Frame::Returned(_) => {}
        }
    }

    /// A refused report is settled too: the task is another's.
    fn settled(&mut self, group: GroupId, attempt: (TaskId, u32)) {
        let worker = self.workers.get_mut(&group).expect("it is there");
        if let Some(waiting) = worker.reports.remove(&attempt) {
            let (task, attempts) = (attempt.0, waiting.attempts);
            worker.held.remove(task, attempts);
            if self.jobs.get(&task).is_some_and(|job| job.is_of(attempts)) {
                self.jobs.remove(&task);
            }
        }
    }

    pub(super) fn report(&mut self, sim: &mut Sim, report: Report, attempts: u32) {
        let pid = self.pid;
        sim.detail(|| {
            let outcomes = report.outcomes.iter();
            let verdicts: Vec<_> = outcomes.map(|o| (o.recipient, o.verdict)).collect();
            format!("{pid:?} reports {}: {verdicts:?}", report.task)
        });
        let attempt = (report.task, report.facts.number);
        self.say(sim, attempt, Said::Report(Rc::new(report)), attempts);
    }

    pub(super) fn say(&mut self, sim: &mut Sim, attempt: (TaskId, u32), said: Said, attempts: u32) {
        let group = attempt.0.message.group();
        let worker = self.workers.get_mut(&group).expect("the task came from it");
        let waiting = Waiting {
            said,
            attempts,
            send_at: Some(0),
            answered_by: 0,
        };
        worker.reports.insert(attempt, waiting);
        self.resend_reports(sim);
    }

    pub(super) fn resend_reports(&mut self, sim: &mut Sim) {
        for worker in self.workers.values_mut() {
            let (Some(stream), true) = (&worker.stream, worker.is_open) else {
                continue;
            };
            for ((_, attempt), waiting) in &mut worker.reports {
                if waiting.send_at.is_some_and(|at| sim.now >= at) {
                    waiting.send_at = None;
                    waiting.answered_by = sim.now + DEADLINE_MS;
                    let frame = match &waiting.said {
                        Said::Report(report) => Frame::Report(report.clone()),
                        Said::Refile(refile) => Frame::Refile(refile.clone(), *attempt),
                    };
                    sim.frame(stream.id, self.pid, frame);
                }
            }
        }
    }

    /// The task was not begun: anybody may have it.
    pub(super) fn give_back(&mut self, sim: &mut Sim, task: TaskId, attempts: u32) {
        let group = task.message.group();
        let worker = self.workers.get_mut(&group).expect("the task came from it");
        worker.held.remove(task, attempts);
        if let Some(stream) = &worker.stream {
            sim.frame(stream.id, self.pid, Frame::Returned(task));
        }
    }
}
