//! Slots and transactions, as in `sender::slots` and `sender::connection`.

use std::collections::BTreeSet;
use std::rc::Rc;

use skein_model::event::AttemptFacts;
use skein_model::retry::{Next, RetryPolicy};
use skein_model::spool::{MOVES_MAX, Outcome, Refile, Report, TaskRow, Verdict};
use skein_model::{DurationMs, Epoch, QueueId, Reply, SessionId, Slot, TaskId};

use super::work::Said;
use super::{Asked, Sender};
use crate::judge::Dot;
use crate::message::{Answer, Mail, Question, Task};
use crate::mutation::Mutation;
use crate::sim::{Pid, Sim, Timer};

/// After this a host is taken to have lost the connection; much longer in the product.
const REPLY_WITHIN_MS: u64 = 15_000;

/// Work for a slot under one epoch.
#[derive(Debug, Default)]
pub struct Claim {
    epoch: Epoch,
    is_stopped: bool,
    /// What may still be undone.
    active: BTreeSet<TaskId>,
}

/// A task that is being attempted.
#[derive(Debug)]
pub struct DeliveryTask {
    session: SessionId,
    epoch: Epoch,
    row: Rc<TaskRow>,
    has_passed_dot: bool,
}

impl DeliveryTask {
    /// Whether it is the attempt after so many others.
    pub fn is_of(&self, attempts: u32) -> bool {
        self.row.attempts == attempts
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy {
        first: DurationMs(700),
        cap: DurationMs(4_000),
        ..RetryPolicy::default()
    }
}

impl Sender {
    pub(super) fn begin(&mut self, sim: &mut Sim, session: SessionId, task: Task) {
        let (id, attempts) = (task.id, task.row.attempts);
        let claim = self.claims.entry(task.row.slot).or_insert(Claim {
            epoch: task.epoch,
            ..Claim::default()
        });
        if claim.epoch < task.epoch {
            let passed = std::mem::replace(
                claim,
                Claim {
                    epoch: task.epoch,
                    ..Claim::default()
                },
            );
            self.abort(sim, passed.active);
        }
        let claim = self.claims.get_mut(&task.row.slot).expect("just made");
        if claim.epoch > task.epoch || claim.is_stopped || self.retiring {
            return self.give_back(sim, id, attempts);
        }
        claim.active.insert(id);
        let job = DeliveryTask {
            session,
            epoch: task.epoch,
            row: task.row,
            has_passed_dot: false,
        };
        let is_elsewhere = job.row.moves < MOVES_MAX && sim.rng.in_thousand(60);
        self.jobs.insert(id, job);
        if is_elsewhere {
            return self.refile(sim, id);
        }
        let takes = match sim.rng.in_thousand(50) {
            true => sim.rng.range(500, 8_000),
            false => sim.rng.range(5, 200),
        };
        sim.timer(self.pid, takes, Timer::Dot(id, attempts));
    }

    /// A task turns out to be of another site than the one that it is filed under.
    fn refile(&mut self, sim: &mut Sim, id: TaskId) {
        let job = self.jobs.get_mut(&id).expect("it was just begun");
        job.has_passed_dot = true;
        if let Some(claim) = self.claims.get_mut(&job.row.slot) {
            claim.active.remove(&id);
        }
        let site = match sim.rng.range(0, 3) {
            0 => None,
            n => Some(format!("provider{n}")),
        };
        let refile = Refile {
            task: id,
            session: job.session,
            epoch: job.epoch,
            slot: Slot::of(site.as_deref().unwrap_or(job.row.domain.as_str()), 0),
            site,
            moves: job.row.moves,
        };
        let attempts = job.row.attempts;
        let pid = self.pid;
        sim.detail(|| format!("{pid:?} has {id} filed anew: {refile:?}"));
        sim.coverage.refiled += 1;
        let said = Said::Refile(Rc::new(refile));
        self.say(sim, (id, attempts + 1), said, attempts);
    }

    /// Ends what is before its final dot, and gives it back.
    fn abort(&mut self, sim: &mut Sim, tasks: BTreeSet<TaskId>) {
        for task in tasks {
            if let Some(job) = self.jobs.remove(&task) {
                self.give_back(sim, task, job.row.attempts);
            }
        }
    }

    /// Stops what is done for these slots.
    fn stop(&mut self, sim: &mut Sim, slots: &[(Slot, Epoch)]) {
        let mut aborted = BTreeSet::new();
        for (slot, epoch) in slots {
            let claim = self.claims.entry(*slot).or_default();
            if claim.epoch <= *epoch {
                claim.epoch = *epoch;
                claim.is_stopped = true;
                if !sim.is(Mutation::ReleaseEarly) {
                    aborted.append(&mut claim.active);
                }
            }
        }
        self.abort(sim, aborted);
    }

    /// Lets go of slots as the session loses them.
    pub(super) fn follow_slots(&mut self, sim: &mut Sim) {
        let (change, before) = &self.followed;
        if *change == self.change {
            return;
        }
        let kept: BTreeSet<_> = self.slots.iter().copied().collect();
        let lost = before.iter().filter(|slot| !kept.contains(slot)).copied();
        let mut stopped: Vec<_> = lost.collect();
        if !sim.is(Mutation::KeepLeavingSlots) {
            stopped.extend(&self.leaving);
            self.stop(sim, &stopped);
        }
        self.followed = (self.change, self.slots.clone());
        self.letting_go = (!self.leaving.is_empty()).then(|| (self.change, self.leaving.clone()));
    }

    /// Releases slots when no stream brings tasks of them any more and nothing can be undone.
    pub(super) fn let_go(&mut self, sim: &mut Sim) {
        if let Some((change, slots)) = &self.letting_go {
            let conforms = self
                .workers
                .values()
                .all(|worker| worker.settled >= *change);
            let is_idle = |(slot, _): &(Slot, Epoch)| {
                self.claims
                    .get(slot)
                    .is_none_or(|claim| claim.active.is_empty())
            };
            let early = sim.is(Mutation::ReleaseEarly) || sim.is(Mutation::KeepLeavingSlots);
            if early || (conforms && slots.iter().all(is_idle)) {
                let slots = slots.clone();
                self.letting_go = None;
                sim.coverage.released += slots.len() as u64;
                self.release(&slots);
            }
        }
        self.close_when_done(sim);
    }

    /// A transaction is at its final dot: the last look at whether it may go on.
    pub(super) fn dot(&mut self, sim: &mut Sim, task: TaskId, attempts: u32) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if job.has_passed_dot || job.row.attempts != attempts {
            return;
        }
        let now = sim.mono(self.pid);
        let has_stream = self.workers[&task.message.group()].is_open;
        let may_finish = (self.lease.holds(now) || sim.is(Mutation::SkipLeaseCheck))
            && (has_stream || sim.is(Mutation::SkipStreamCheck));
        if let Some(claim) = self.claims.get_mut(&job.row.slot) {
            claim.active.remove(&task);
        }
        job.has_passed_dot = true;
        if !may_finish {
            let codes = vec![4; job.row.recipients.len()];
            return self.report_replies(sim, task, &codes);
        }
        let recipients: Vec<u32> = job
            .row
            .recipients
            .iter()
            .map(|(number, _)| *number)
            .collect();
        let number = sim.unique();
        let dot = Dot {
            number,
            at: sim.now,
            local_ms: now.0,
            by: self.pid,
            session: job.session,
            slot: job.row.slot,
            epoch: job.epoch,
            task,
            has_stream,
        };
        sim.judge.final_dot(dot, &recipients);
        let mail = Mail {
            task,
            recipients,
            dot: number,
        };
        let asked = Asked::Mail(task, attempts);
        self.ask(
            sim,
            Pid::Host,
            Question::Mail(Rc::new(mail)),
            REPLY_WITHIN_MS,
            asked,
        );
    }

    pub(super) fn on_replies(
        &mut self,
        sim: &mut Sim,
        task: TaskId,
        attempts: u32,
        answer: Option<Answer>,
    ) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        if job.row.attempts != attempts {
            return;
        }
        match answer {
            Some(Answer::Replies(codes)) => self.report_replies(sim, task, &codes),
            // Nobody knows whether the host took it.
            _ => {
                sim.judge.reply_lost(self.pid, task);
                let codes = vec![4; job.row.recipients.len()];
                self.report_replies(sim, task, &codes);
            }
        }
    }

    fn report_replies(&mut self, sim: &mut Sim, task: TaskId, codes: &[u16]) {
        let at = sim.wall(self.pid);
        let job = &self.jobs[&task];
        let row = &job.row;
        let attempt = row.attempts + 1;
        let retry_after = match policy().after(task, attempt, row.created, at) {
            Next::RetryAfter(wait) => Some(wait),
            Next::Expired => None,
        };
        let met_nobody = codes.iter().all(|code| *code == 4) && sim.rng.in_thousand(300);
        let away_for = met_nobody.then(|| DurationMs(sim.rng.range(0, 3_000)));
        let outcomes = row.recipients.iter().zip(codes);
        let outcomes = outcomes.map(|((recipient, _), code)| Outcome {
            recipient: *recipient,
            verdict: match (code, retry_after) {
                (2, _) => Verdict::Delivered,
                (4, Some(_)) => Verdict::Deferred,
                (4, None) => Verdict::Expired,
                _ => Verdict::Failed,
            },
            reply: Reply {
                // Hosts answer some; those that are met by nobody are left alone for a while.
                host: (away_for.is_none() && *code != 4).then(|| "host".to_owned()),
                ..Reply::ours((*code as u8, 0, 0), "")
            },
        });
        let report = Report {
            task,
            session: job.session,
            epoch: job.epoch,
            facts: AttemptFacts {
                number: attempt,
                queue: QueueId(0),
                domain: row.domain.clone(),
                site: String::new(),
                source: None,
                peer: None,
                tls: None,
                duration: DurationMs(1),
            },
            outcomes: outcomes.collect(),
            retry_after: retry_after.unwrap_or_default(),
            dsn: None,
            delay_notified: false,
            away_for,
        };
        let attempts = row.attempts;
        self.report(sim, report, attempts);
    }
}
