//! Tasks that are out at senders.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::id::{SessionId, TaskId};
use crate::queue::Queue;
use crate::time::UnixMs;

#[derive(Debug, Clone, Copy)]
pub struct Out {
    pub session: SessionId,
    pub queue: Queue,
    pub due: UnixMs,
    /// It went out before that, because it waits for its destination.
    pub awaits_host: bool,
}

/// One entry for each task that is out, and how many of them each session has.
#[derive(Debug, Default)]
pub struct Outstanding {
    tasks: HashMap<TaskId, Out>,
    held: HashMap<SessionId, usize>,
}

impl Outstanding {
    pub fn insert(&mut self, task: TaskId, out: Out) {
        *self.held.entry(out.session).or_default() += 1;
        if let Some(before) = self.tasks.insert(task, out) {
            self.less(before.session);
        }
    }

    pub fn remove(&mut self, task: TaskId) -> Option<Out> {
        let out = self.tasks.remove(&task)?;
        self.less(out.session);
        Some(out)
    }

    fn less(&mut self, session: SessionId) {
        if let Entry::Occupied(mut held) = self.held.entry(session) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    pub fn get(&self, task: TaskId) -> Option<Out> {
        self.tasks.get(&task).copied()
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn held_by(&self, session: SessionId) -> usize {
        self.held.get(&session).copied().unwrap_or(0)
    }

    /// What a session has, in the order of the tasks.
    pub fn of(&self, session: SessionId) -> Vec<(TaskId, Out)> {
        let held = self.iter().filter(|(_, out)| out.session == session);
        let mut held: Vec<(TaskId, Out)> = held.collect();
        held.sort_unstable_by_key(|(task, _)| *task);
        held
    }

    pub fn iter(&self) -> impl Iterator<Item = (TaskId, Out)> {
        self.tasks.iter().map(|(task, out)| (*task, *out))
    }
}
