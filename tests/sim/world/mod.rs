//! One run: processes, what happens to them, and a look at everything after each step.

mod acts;
mod checks;

use std::collections::BTreeMap;

use skein_model::meta::{self, Command};
use skein_model::{GroupId, NodeId};

use crate::client::{self, Client, Host};
use crate::control::Control;
use crate::coverage::Coverage;
use crate::judge::{Violation, Window};
use crate::mutation::Mutation;
use crate::nemesis::{self, Profile};
use crate::sender::Sender;
use crate::sim::{Event, Happens, Pid, Sim, Weather};

/// Faults end here.
const HEAL_MS: u64 = 60_000;
/// And all must be well after so much more (DESIGN section 6).
const WELL_WITHIN_MS: u64 = 60_000;
/// Mail comes in for a little longer than there are faults.
const MAIL_MS: u64 = HEAL_MS + 3_000;
const LOOK_MS: u64 = 1_000;
/// No run needs as many.
const STEPS_MAX: u64 = 4_000_000;
/// A body that a learner lacks when it becomes a voter may be of a message that is younger than this.
const YOUNG_MS: u64 = 6_000;
const ADDRESSES: u8 = 5;

pub struct Ended {
    pub violation: Option<Violation>,
    pub coverage: Coverage,
    pub last: Vec<String>,
    /// Differs between any two runs that differ.
    pub hash: u64,
}

pub struct World {
    sim: Sim,
    controls: BTreeMap<Pid, Control>,
    senders: BTreeMap<Pid, Sender>,
    client: Client,
    host: Host,
    profile: Profile,
    is_healed: bool,
}

pub fn run(seed: u64, mutation: Option<Mutation>, traced: bool) -> Ended {
    let mut world = World::new(seed, mutation, traced);
    world.run();
    let mut coverage = std::mem::take(&mut world.sim.coverage);
    client::count(&mut coverage, &world.sim);
    for window in &world.sim.judge.duplicates {
        match window {
            Window::ReplyLost => coverage.reply_lost += 1,
            Window::CutOff => coverage.cut_off += 1,
            Window::SenderDied => coverage.died += 1,
        }
    }
    let judge = &world.sim.judge;
    Ended {
        violation: judge.violation.clone(),
        coverage,
        last: judge.last_events().cloned().collect(),
        hash: world.sim.rng.next(),
    }
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>, traced: bool) -> Self {
        let mut sim = Sim::new(seed, mutation, traced);
        let profile = Profile::of(seed);
        let voters = if sim.rng.in_thousand(150) { 5 } else { 3 };
        let senders = sim.rng.range(2, 5) as u8;
        let control_pids: Vec<Pid> = (0..voters).map(Pid::Control).collect();
        let sender_pids: Vec<Pid> = (0..senders).map(Pid::Sender).collect();
        for pid in [Pid::Client, Pid::Host] {
            sim.start(pid);
        }
        for pid in control_pids.iter().chain(&sender_pids) {
            sim.start(*pid);
            let is_chaos = profile == Profile::Chaos;
            let (rate, off) = if is_chaos { (20_000, 3_000) } else { (200, 50) };
            let life = sim.lives.get_mut(pid).expect("just started");
            life.rate_ppm = sim.rng.below(2 * rate) as i64 - rate as i64;
            life.wall_off_ms = sim.rng.below(2 * off) as i64 - off as i64;
        }
        let mut controls: BTreeMap<Pid, Control> = control_pids
            .iter()
            .map(|pid| (*pid, Control::new(*pid, &mut sim)))
            .collect();
        let members: BTreeMap<NodeId, String> = controls
            .iter()
            .map(|(pid, control)| (control.node, pid.address()))
            .collect();
        for control in controls.values_mut() {
            control.found(&members);
        }
        let acts = nemesis::plan(&mut sim.rng, profile, &control_pids, &sender_pids, HEAL_MS);
        for (at, act) in acts {
            sim.act_at(at, act);
        }
        let client = Client::start(&mut sim, senders, MAIL_MS);
        Self {
            senders: sender_pids
                .iter()
                .map(|pid| (*pid, Sender::new(*pid)))
                .collect(),
            host: Host::new(profile != Profile::Chaos),
            sim,
            controls,
            client,
            profile,
            is_healed: false,
        }
    }

    fn run(&mut self) {
        let mut look_at = HEAL_MS;
        for _ in 0..STEPS_MAX {
            if self.sim.judge.violation.is_some() {
                return;
            }
            match self.sim.next(look_at) {
                Some(Some(Happens::To(pid, event))) => self.deliver(pid, event),
                Some(Some(Happens::Act(act))) => self.act(act),
                Some(None) => {}
                None => {
                    self.sim.now = look_at;
                    look_at += LOOK_MS;
                    if !self.is_healed {
                        self.heal();
                    } else if self.is_well() || self.sim.now >= HEAL_MS + WELL_WITHIN_MS {
                        return self.judge_the_end();
                    }
                    self.resume_all();
                }
            }
            self.look();
        }
        self.sim
            .judge
            .broken("I16", || "processes are busy with nothing".into());
    }

    fn deliver(&mut self, pid: Pid, event: Event) {
        let sim = &mut self.sim;
        match pid {
            Pid::Client => self.client.handle(sim, event),
            Pid::Host => self.host.handle(sim, event),
            Pid::Control(_) => {
                if let Some(control) = self.controls.get_mut(&pid) {
                    control.handle(sim, event);
                }
            }
            Pid::Sender(_) => {
                if let Some(sender) = self.senders.get_mut(&pid) {
                    sender.handle(sim, event);
                }
            }
        }
    }

    fn heal(&mut self) {
        self.is_healed = true;
        self.sim.trace(|| "faults end".into());
        self.sim.weather = Weather::default();
        self.sim.slow_disk = false;
        self.host.is_good = true;
        self.sim.heal_all();
        let all: Vec<Pid> = self
            .controls
            .keys()
            .chain(self.senders.keys())
            .copied()
            .collect();
        for pid in all {
            self.start(pid);
        }
    }

    /// The operator asks until it is done.
    fn resume_all(&mut self) {
        let Some(leader) = self.leader_of(GroupId::META) else {
            return;
        };
        for sender in meta::drained(&self.controls[&leader].groups[&GroupId::META].rows) {
            let drained = false;
            self.command(Command::SetDrained { sender, drained });
        }
    }

    fn control_of(&self, node: NodeId) -> Option<&Control> {
        self.controls.values().find(|control| control.node == node)
    }

    fn leader_of(&self, group: GroupId) -> Option<Pid> {
        let leads = |control: &Control| control.groups[&group].is_leader();
        let up = self
            .controls
            .iter()
            .filter(|(pid, _)| self.sim.lives[pid].up);
        let leading = up.filter(|(_, control)| leads(control));
        let latest = leading.max_by_key(|(_, control)| control.groups[&group].term())?;
        Some(*latest.0)
    }
}
