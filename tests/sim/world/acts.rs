//! What goes wrong, done to the processes.

use skein_model::meta::{self, Command};
use skein_model::{GroupId, NodeId, SessionId, Slot};

use super::{ADDRESSES, HEAL_MS, World};
use crate::control::{Control, GROUPS};
use crate::mutation::Mutation;
use crate::nemesis::Act;
use crate::sender::Sender;
use crate::sim::Pid;

impl World {
    pub(super) fn command(&mut self, command: Command) {
        if let Some(leader) = self.leader_of(GroupId::META) {
            let control = self.controls.get_mut(&leader).expect("it leads");
            control.command(&mut self.sim, command);
        }
    }

    pub(super) fn operator_drain(&mut self, sender: Pid, drained: bool) {
        let sender = sender.address();
        self.command(Command::SetDrained { sender, drained });
    }

    pub(super) fn start(&mut self, pid: Pid) {
        if self.sim.lives[&pid].up {
            return;
        }
        if let Some(control) = self.controls.get_mut(&pid) {
            if !control.is_removed {
                self.sim.start(pid);
                control.start(&mut self.sim);
            }
        } else {
            self.sim.start(pid);
            self.senders.insert(pid, Sender::new(pid));
        }
    }

    pub(super) fn crash(&mut self, pid: Pid) {
        if !self.sim.lives[&pid].up {
            return;
        }
        self.sim.stop(pid);
        match self.controls.get_mut(&pid) {
            Some(control) => {
                self.sim.coverage.control_crashes += 1;
                if control.crash(&mut self.sim) {
                    self.sim.coverage.lost_suffixes += 1;
                }
            }
            None => {
                self.sim.coverage.sender_crashes += 1;
                self.sim.judge.sender_died(pid);
            }
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        self.sim.trace(|| format!("{act:?}"));
        let now = self.sim.now;
        match act {
            Act::Crash(pid) => self.crash(pid),
            Act::Start(pid) => self.start(pid),
            Act::Isolate(pid, begins) => self.isolate(pid, begins),
            Act::Cut(from, to) => {
                self.sim.coverage.cuts += 1;
                self.sim.cut(from, to);
            }
            Act::Heal(from, to) => self.sim.heal(from, to),
            Act::Pause(pid, span) => {
                if self.sim.lives[&pid].up {
                    self.sim.coverage.pauses += 1;
                    self.sim.pause(pid, span);
                }
            }
            Act::Storm(weather) => {
                self.sim.coverage.storms += 1;
                self.sim.weather = weather;
            }
            Act::SlowDisk(slow) => {
                self.sim.coverage.slow_disks += 1;
                self.sim.slow_disk = slow;
            }
            Act::SetClock(pid, off) => {
                self.sim.coverage.clock_jumps += 1;
                let life = self.sim.lives.get_mut(&pid).expect("it was started");
                life.wall_off_ms = off;
            }
            Act::Drain(pid) => {
                if self.sim.lives[&pid].up {
                    self.sim.coverage.drains += 1;
                    self.senders.get_mut(&pid).expect("a sender").drain();
                }
            }
            Act::OperatorDrain(pid, drained) => {
                self.sim.coverage.operator_drains += 1;
                self.operator_drain(pid, drained);
            }
            Act::MoveSlot => {
                let sessions: Vec<SessionId> =
                    self.senders.values().filter_map(|s| s.session).collect();
                if let Some(to) = self.sim.rng.pick(&sessions) {
                    let slot = Slot(self.sim.rng.below(u64::from(Slot::COUNT)) as u16);
                    self.command(Command::MoveSlot { slot, to });
                }
            }
            Act::HandOver(pid) => self.hand_over(pid),
            Act::Elect(group, pid) => {
                if self.sim.lives[&pid].up {
                    let control = self.controls.get_mut(&pid).expect("a control node");
                    control.elect(&mut self.sim, group);
                }
            }
            Act::Add | Act::Remove | Act::Wipe if self.is_healthy() => self.change_members(act),
            Act::Add | Act::Remove | Act::Wipe => {
                if now + 3_000 < HEAL_MS {
                    self.sim.act_at(now + 2_500, act);
                }
            }
        }
    }

    pub(super) fn isolate(&mut self, pid: Pid, begins: bool) {
        self.sim.coverage.isolations += u64::from(begins);
        let others: Vec<Pid> = self
            .controls
            .keys()
            .chain(self.senders.keys())
            .copied()
            .collect();
        for other in others {
            if other != pid && begins {
                self.sim.cut(pid, other);
                self.sim.cut(other, pid);
            } else if other != pid {
                self.sim.heal(pid, other);
                self.sim.heal(other, pid);
            }
        }
    }

    pub(super) fn hand_over(&mut self, pid: Pid) {
        for group in GROUPS {
            let control = &self.controls[&pid];
            let raft = &control.groups[&group];
            if !raft.is_leader() {
                continue;
            }
            let voters = raft.config().all_voters();
            let ready = voters
                .into_iter()
                .filter(|node| *node != control.node && raft.is_up_to_date(*node));
            let ready: Vec<Pid> = ready
                .filter_map(|n| Some(self.control_of(n)?.pid))
                .collect();
            if let Some(to) = self.sim.rng.pick(&ready) {
                self.sim.coverage.handovers += 1;
                let now = self.sim.now;
                let control = self.controls.get_mut(&pid).expect("a control node");
                control.fall_silent(group, now + 4_400);
                self.sim.act_at(now + 1_400, Act::Elect(group, to));
            }
        }
    }

    /// All control nodes work and have everything: one disk may be lost.
    pub(super) fn is_healthy(&self) -> bool {
        let Some(leader) = self.leader_of(GroupId::META) else {
            return false;
        };
        let wanted = meta::nodes(&self.controls[&leader].groups[&GroupId::META].rows);
        let has_all = |node: &NodeId| {
            self.control_of(*node).is_some_and(|control| {
                let life = self.sim.lives[&control.pid];
                let mut open = self.sim.judge.messages.iter();
                life.up
                    && life.paused_until <= self.sim.now
                    && open.all(|(id, message)| {
                        message.open.is_empty() || control.bodies.get(id) == Some(&true)
                    })
            })
        };
        let is_settled = |group: &GroupId| {
            let Some(leader) = self.leader_of(*group) else {
                return false;
            };
            let raft = &self.controls[&leader].groups[group];
            let config = raft.config();
            let members: Vec<NodeId> = config.members.keys().copied().collect();
            raft.may_change()
                && config.voters.len() == 1
                && config.all_voters().into_iter().eq(wanted.keys().copied())
                && members.iter().eq(wanted.keys())
                && members.iter().all(|node| {
                    self.control_of(*node).is_some_and(|c| {
                        c.groups[group].disk.synced.last_index() + 3 >= raft.commit
                    })
                })
        };
        !self.sim.has_cuts() && wanted.keys().all(has_all) && GROUPS.iter().all(is_settled)
    }

    pub(super) fn change_members(&mut self, act: Act) {
        let leader = self.leader_of(GroupId::META).expect("it is healthy");
        let wanted = meta::nodes(&self.controls[&leader].groups[&GroupId::META].rows);
        let members: Vec<NodeId> = wanted.keys().copied().collect();
        let member = self.sim.rng.pick(&members).expect("there are some");
        match act {
            Act::Add => {
                let is_taken = |pid: &Pid| wanted.values().any(|row| row.address == pid.address());
                let free = (0..ADDRESSES).map(Pid::Control).find(|pid| {
                    !is_taken(pid) && self.sim.lives.get(pid).is_none_or(|life| !life.up)
                });
                if let Some(pid) = free {
                    self.sim.coverage.joined += 1;
                    self.command(Command::Invite(pid.address()));
                    self.begin_anew(pid, None);
                }
            }
            Act::Remove if members.len() > 3 => {
                self.sim.coverage.removed += 1;
                self.command(Command::RemoveNode(member));
            }
            Act::Wipe => {
                let pid = self.control_of(member).expect("it is healthy").pid;
                self.sim.coverage.wiped += 1;
                let again = self.sim.is(Mutation::ReuseNodeId).then_some(member);
                self.begin_anew(pid, again);
            }
            _ => {}
        }
    }

    /// A node with an empty disk.
    pub(super) fn begin_anew(&mut self, pid: Pid, node: Option<NodeId>) {
        if self.sim.lives.get(&pid).is_some_and(|life| life.up) {
            self.sim.stop(pid);
        }
        self.sim.start(pid);
        let control = Control::with_id(pid, node, &mut self.sim);
        self.controls.insert(pid, control);
    }
}
