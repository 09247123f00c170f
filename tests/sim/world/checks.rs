//! What must hold after every step and needs a look at more than one process.

use skein_model::{GroupId, MessageId, NodeId};

use super::{MAIL_MS, World, YOUNG_MS};
use crate::control::GROUPS;
use crate::nemesis::{Act, Profile};

impl World {
    /// What must hold after every step and needs a look at more than one process.
    pub(super) fn look(&mut self) {
        for (group, index, term, by) in std::mem::take(&mut self.sim.judge.commits) {
            self.check_commit(group, index, term, by);
        }
        for (group, id, by) in std::mem::take(&mut self.sim.judge.accepts) {
            self.check_body(group, id, by);
        }
        for (group, node) in std::mem::take(&mut self.sim.judge.new_voters) {
            self.check_new_voter(group, node);
        }
        let drained = self
            .senders
            .iter()
            .find(|(pid, sender)| sender.is_drained() && self.sim.lives[pid].up);
        if let Some((pid, _)) = drained {
            let pid = *pid;
            self.sim.trace(|| format!("{pid:?} has drained"));
            self.sim.stop(pid);
            let at = self.sim.now + 1_500;
            self.sim.act_at(at, Act::Start(pid));
        }
        let removed = self
            .controls
            .iter()
            .find(|(pid, control)| control.is_removed && self.sim.lives[pid].up);
        if let Some((pid, _)) = removed {
            self.sim.stop(*pid);
        }
    }

    /// I2: what is committed is on the disks of a majority.
    pub(super) fn check_commit(&mut self, group: GroupId, index: u64, term: u64, by: NodeId) {
        let Some(config) = self
            .control_of(by)
            .map(|c| c.groups[&group].config().clone())
        else {
            return;
        };
        // A disk that is gone had it, or was replaced while all others had.
        let has = |node: NodeId| {
            self.control_of(node)
                .is_none_or(|control| control.groups[&group].disk.synced.holds(index, term))
        };
        if !config.has_majority(has) {
            self.sim.judge.broken("I2", || {
                format!(
                    "entry {index} of group {group} is committed and not on a majority of disks"
                )
            });
        }
    }

    /// I2: and so is the body of an accepted message. Members may have begun to change since it was proposed.
    pub(super) fn check_body(&mut self, group: GroupId, id: MessageId, by: NodeId) {
        let Some(config) = self
            .control_of(by)
            .map(|c| c.groups[&group].config().clone())
        else {
            return;
        };
        let has = |node: NodeId| {
            self.control_of(node)
                .is_none_or(|control| control.bodies.get(&id) == Some(&true))
        };
        if !config.has_some_majority(has) {
            self.sim.judge.broken("I2", || {
                format!("{id} is accepted and its body not on a majority of disks")
            });
        }
    }

    /// I2: who becomes a voter has the bodies of all messages.
    pub(super) fn check_new_voter(&mut self, group: GroupId, node: NodeId) {
        let now = self.sim.now;
        let Some(control) = self.control_of(node).filter(|_| group != GroupId::META) else {
            return;
        };
        let mut lacking = self.sim.judge.messages.iter().filter(|(id, message)| {
            message.group == group
                && !message.open.is_empty()
                && now >= message.at + YOUNG_MS
                && !control.bodies.contains_key(id)
        });
        if let Some((id, _)) = lacking.next() {
            let text = format!("{node} is to vote in group {group} without the body of {id}");
            self.sim.judge.broken("I2", || text);
        }
    }

    /// Whether all mail has come to rest.
    pub(super) fn is_well(&self) -> bool {
        let judge = &self.sim.judge;
        self.sim.now >= MAIL_MS + 5_000
            && judge
                .messages
                .values()
                .all(|message| message.open.is_empty())
            && judge.unowned() == 0
    }

    pub(super) fn judge_the_end(&mut self) {
        for group in GROUPS {
            if self.leader_of(group).is_none() {
                self.sim
                    .judge
                    .broken("I16", || format!("group {group} has no leader"));
            }
        }
        let unowned = self.sim.judge.unowned();
        if unowned > 0 {
            self.sim
                .judge
                .broken("I16", || format!("{unowned} slots have no owner"));
        }
        for control in self.controls.values() {
            let line = control.waits_for(&self.sim);
            self.sim.trace(|| line);
        }
        for sender in self.senders.values() {
            let line = sender.holds();
            self.sim.trace(|| line);
        }
        self.sim.judge.at_the_end();
        self.sim.coverage.unknown += self.sim.judge.untold();
        if self.profile != Profile::Chaos && !self.sim.judge.duplicates.is_empty() {
            let windows = format!("{:?}", self.sim.judge.duplicates);
            self.sim.judge.broken("I7", || {
                format!("duplicates in a run without faults: {windows}")
            });
        }
    }
}
