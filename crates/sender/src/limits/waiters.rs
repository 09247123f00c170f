//! Destinations that wait for limits.

use std::collections::{HashMap, VecDeque};

use skein_model::throttle::LimitId;

/// Destinations in one queue. Those beyond look again by their timers.
const QUEUE_MAX: usize = 1024;

/// A destination that waits until a token comes back.
pub struct Waiter {
    /// A destination waits once for each limit.
    pub number: u64,
    /// Whether the destination is still there, which is asked under the lock of the limits.
    pub lives: Box<dyn Fn() -> bool + Send>,
    /// Tells whether the token was of use.
    pub wake: Box<dyn Fn() -> bool + Send>,
}

struct Line {
    waiter: Waiter,
    demand: u64,
}

impl Line {
    fn lives(&self) -> bool {
        (self.waiter.lives)()
    }
}

/// First in, first out for each limit.
#[derive(Default)]
pub struct Waiters {
    waiting: HashMap<LimitId, VecDeque<Line>>,
    /// Those that have a time of their own, and go sooner if this sender's part grows.
    timed: HashMap<LimitId, VecDeque<Line>>,
}

impl Waiters {
    fn queues(&mut self, is_timed: bool) -> &mut HashMap<LimitId, VecDeque<Line>> {
        match is_timed {
            true => &mut self.timed,
            false => &mut self.waiting,
        }
    }

    /// Queues a waiter that could use so many tokens, or changes how many it could.
    pub fn wait(&mut self, is_timed: bool, id: LimitId, waiter: Waiter, demand: u64) {
        let line = Line { waiter, demand };
        let queue = self.queues(is_timed).entry(id).or_default();
        let number = line.waiter.number;
        if queue.len() >= QUEUE_MAX {
            queue.retain(Line::lives);
        }
        let known = queue.iter().position(|other| other.waiter.number == number);
        match known {
            Some(known) => queue[known].demand = line.demand,
            None if queue.len() < QUEUE_MAX => queue.push_back(line),
            None => {}
        }
    }

    /// Takes out the waiter that has waited longest.
    pub fn next(&mut self, is_timed: bool, id: &LimitId) -> Option<Waiter> {
        let queues = self.queues(is_timed);
        let queue = queues.get_mut(id)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            queues.remove(id);
        }
        next.map(|line| line.waiter)
    }

    pub fn len(&mut self, is_timed: bool, id: &LimitId) -> usize {
        let queue = self.queues(is_timed).get(id);
        queue.map_or(0, VecDeque::len)
    }

    /// Whether a waiter of another number waits for a token to come back.
    pub fn has_another(&self, id: &LimitId, number: u64) -> bool {
        let is_other = |line: &Line| line.waiter.number != number && line.lives();
        self.waiting
            .get(id)
            .is_some_and(|queue| queue.iter().any(is_other))
    }

    /// Tokens that could be used by those that wait for one to come back.
    pub fn demand(&self, id: &LimitId) -> u64 {
        let lines = self.waiting.get(id).into_iter().flatten();
        // A destination that is gone would ask for a part for ever.
        let lines = lines.filter(|line| line.lives());
        lines.map(|line| line.demand).sum()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
