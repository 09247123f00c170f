//! The tasks of one spool group that a sender has.

use std::collections::BTreeMap;

use crate::id::TaskId;

/// Given out to this sender, and neither settled nor given back, with the attempts before. Told to each new leader, so that
/// it gives them to no other sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeasedTasks(BTreeMap<TaskId, u32>);

impl LeasedTasks {
    /// Whether a task that arrives is to be attempted. A leader that is new to us may hand out what we have from the one
    /// before.
    pub fn receive(&mut self, task: TaskId, attempts: u32) -> bool {
        self.0.insert(task, attempts) != Some(attempts)
    }

    /// The attempt after so many others is settled or not begun: the task is not ours any more, unless the next attempt is.
    pub fn remove(&mut self, task: TaskId, attempts: u32) {
        if self.0.get(&task) == Some(&attempts) {
            self.0.remove(&task);
        }
    }

    /// Each with the attempts before.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, u32)> {
        self.0.iter().map(|(task, attempts)| (*task, *attempts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MessageId;

    #[test]
    fn an_attempt_is_made_once_and_settled_once() {
        let task = TaskId {
            message: MessageId([1; 16]),
            number: 0,
        };
        let mut held = LeasedTasks::default();
        assert!(held.receive(task, 0));
        assert!(!held.receive(task, 0), "it is being attempted");
        assert!(held.receive(task, 1), "the next attempt");
        held.remove(task, 0);
        assert_eq!(held.tasks().collect::<Vec<_>>(), [(task, 1)]);
        held.remove(task, 1);
        assert_eq!(held, LeasedTasks::default());
    }
}
