//! Members of the groups, as in `control::cluster::members`, and bodies that this node lacks, as in `control::spool::bodies`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use skein_model::meta::{self, ClusterRow, Command, Join, Member, Step};
use skein_model::{GroupId, MessageId, NodeId};

use super::{Control, SPOOLS, Then};
use crate::message::{Answer, Question};
use crate::mutation::Mutation;
use crate::raft::{Config, What};
use crate::sim::{Pid, Sim, Timer};

/// A copy that is on its way from the intake has this long to arrive before it is pulled.
const PATIENCE_MS: u64 = 3_000;

#[derive(Debug)]
pub enum Asked {
    /// Whether a learner has all bodies.
    Learner(GroupId, NodeId),
    Join,
    Body(MessageId),
}

impl Control {
    /// Tells the cluster where this node is.
    pub(super) fn announce(&mut self, sim: &mut Sim) {
        let address = self.pid.address();
        let join = Join {
            node: self.node,
            address: address.clone(),
            version: "1".into(),
            spool_groups: SPOOLS.len() as u16,
        };
        let now = sim.mono(self.pid);
        let rest = match meta::is_as_told(self.meta(), &join) {
            true => 30_000,
            false => 2_000,
        };
        if now.0 < self.announced_at.0 + rest {
            return;
        }
        self.announced_at = now;
        let others = sim.lives.keys().copied();
        let others: Vec<Pid> = others
            .filter(|pid| matches!(pid, Pid::Control(_)))
            .collect();
        for to in others {
            let id = sim.ask(self.pid, to, Question::Join(join.clone()), 2_000);
            self.asked.insert(id, Asked::Join);
        }
    }

    pub(super) fn join(&mut self, sim: &mut Sim, from: Pid, id: u64, join: Join) {
        if meta::is_as_told(self.meta(), &join) {
            let removed = false;
            return sim.tell(self.pid, from, id, Answer::Joined { removed });
        }
        let answer = Answer::Joined { removed: false };
        self.propose_meta(sim, Command::Join(join), Then::Tell(from, id, answer));
    }

    pub(super) fn on_answer(&mut self, sim: &mut Sim, id: u64, answer: Answer) {
        match (self.asked.remove(&id), answer) {
            (Some(Asked::Learner(group, asked)), Answer::Hello { node, groups }) => {
                let is_complete = groups
                    .get(&group)
                    .is_some_and(|view| view.bodies_complete && node == asked);
                if is_complete {
                    self.reconcile(sim, group, Some(node));
                }
            }
            (Some(Asked::Join), Answer::Joined { removed: true }) => {
                let pid = self.pid;
                sim.trace(|| format!("{pid:?} learns that it was removed"));
                self.is_removed = true;
            }
            (Some(Asked::Body(message)), Answer::HasBody(true)) => {
                self.bodies.entry(message).or_insert(false);
                sim.coverage.pulled += 1;
                sim.timer(self.pid, 5, Timer::BodySynced(message, self.pid, 0));
            }
            _ => {}
        }
    }

    pub(super) fn reconcile_all(&mut self, sim: &mut Sim) {
        for group in super::GROUPS {
            self.reconcile(sim, group, None);
        }
    }

    /// One step towards the members that the meta group names. A learner is known to have all bodies, or none is.
    fn reconcile(&mut self, sim: &mut Sim, group: GroupId, complete: Option<NodeId>) {
        let raft = &self.groups[&group];
        if !raft.may_change() {
            return;
        }
        let config = raft.config().clone();
        let wanted = meta::nodes(self.meta());
        if wanted.is_empty() {
            if group == GroupId::META {
                let cluster = ClusterRow {
                    id: 1,
                    spool_groups: SPOOLS.len() as u16,
                };
                let nodes = config.members.clone().into_iter().collect();
                self.propose_meta(sim, Command::Found { cluster, nodes }, Then::Nothing);
            }
            return;
        }
        let mut ask = Vec::new();
        let members: BTreeMap<NodeId, Member> = config
            .members
            .iter()
            .map(|(node, address)| {
                let is_voter = config.votes(*node);
                let mut is_ready = raft.is_up_to_date(*node);
                let needs_bodies = group != GroupId::META && !is_voter;
                if is_ready && needs_bodies && !sim.is(Mutation::VoteWithoutBodies) {
                    is_ready = complete == Some(*node);
                    ask.extend((!is_ready).then_some((*node, address.clone())));
                }
                let address = address.clone();
                let member = Member {
                    address,
                    is_voter,
                    is_ready,
                };
                (*node, member)
            })
            .collect();
        if complete.is_none() {
            for (node, address) in ask {
                if let Some(pid) = Pid::at(&address) {
                    let id = sim.ask(self.pid, pid, Question::Hello, 2_000);
                    self.asked.insert(id, Asked::Learner(group, node));
                }
            }
        }
        if let Some(step) = meta::next_step(&wanted, &members) {
            self.change(sim, group, &config, step);
        }
    }

    fn change(&mut self, sim: &mut Sim, group: GroupId, config: &Config, step: Step) {
        let mut next = config.clone();
        match &step {
            Step::Move(moved) => next.members.extend(moved.clone()),
            Step::AddLearner(node, address) => {
                next.members.insert(*node, address.clone());
            }
            Step::Voters(voters) => {
                let voters: BTreeSet<NodeId> = voters.iter().copied().collect();
                let before = config.all_voters();
                for node in voters.difference(&before) {
                    sim.judge.new_voters.push((group, *node));
                }
                next.voters = vec![before, voters];
            }
            Step::Remove(left) => next.members.retain(|node, _| !left.contains(node)),
        }
        sim.coverage.member_steps += 1;
        let pid = self.pid;
        sim.trace(|| format!("{pid:?} group {group}: {step:?}"));
        self.raft(group).append(What::Members(Rc::new(next)));
    }

    pub(super) fn bodies_complete(&self, group: GroupId) -> bool {
        self.spools.get(&group).is_none_or(|spool| {
            spool.looked_through && spool.needed.keys().all(|id| self.bodies.contains_key(id))
        })
    }

    /// Pulls what is missing.
    pub(super) fn pull_bodies(&mut self, sim: &mut Sim) {
        let now = sim.mono(self.pid);
        for group in SPOOLS {
            if !self.spools[&group].looked_through {
                self.look_through(sim, group);
            }
            let config = self.groups[&group].config().clone();
            let voters = config.all_voters();
            let others = voters.into_iter().filter(|node| *node != self.node);
            let others: Vec<Pid> = others
                .filter_map(|node| self.address_of(group, node))
                .collect();
            let spool = self.spools.get_mut(&group).expect("it is one of ours");
            let bodies = &self.bodies;
            spool.needed.retain(|id, _| !bodies.contains_key(id));
            let late = spool.needed.iter();
            let late = late.filter(|(_, since)| now.0 >= since.0 + PATIENCE_MS);
            for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
                if let Some(from) = sim.rng.pick(&others) {
                    let question = sim.ask(self.pid, from, Question::ReadBody(id), 2_000);
                    self.asked.insert(question, Asked::Body(id));
                }
            }
        }
    }
}
