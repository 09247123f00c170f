//! Tasks that wait for a connection.

use std::collections::VecDeque;

use skein_model::Priority;
use skein_model::priority::Precedence;

/// First in, first out within a priority; transactional before bulk, with a floor for bulk.
#[derive(Debug)]
pub struct Waiting<T> {
    transactional: VecDeque<T>,
    bulk: VecDeque<T>,
    precedence: Precedence,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            transactional: VecDeque::new(),
            bulk: VecDeque::new(),
            precedence: Precedence::default(),
        }
    }
}

impl<T> Waiting<T> {
    fn of(&mut self, priority: Priority) -> &mut VecDeque<T> {
        match priority {
            Priority::Transactional => &mut self.transactional,
            Priority::Bulk => &mut self.bulk,
        }
    }

    pub fn push(&mut self, priority: Priority, item: T) {
        self.of(priority).push_back(item);
    }

    /// Puts one back that was taken and not begun.
    pub fn push_front(&mut self, priority: Priority, item: T) {
        self.of(priority).push_front(item);
    }

    /// The one that comes next.
    pub fn first(&self) -> Option<&T> {
        let waits = (!self.transactional.is_empty(), !self.bulk.is_empty());
        match self.precedence.next(waits.0, waits.1)? {
            Priority::Transactional => self.transactional.front(),
            Priority::Bulk => self.bulk.front(),
        }
    }

    pub fn pop(&mut self) -> Option<T> {
        let waits = (!self.transactional.is_empty(), !self.bulk.is_empty());
        let priority = self.precedence.next(waits.0, waits.1)?;
        if waits == (true, true) {
            self.precedence.passed(priority, 1);
        }
        self.of(priority).pop_front()
    }

    pub fn len(&self) -> usize {
        self.transactional.len() + self.bulk.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.transactional.retain(&keep);
        self.bulk.retain(&keep);
    }

    /// Takes out what is not among the first of a priority.
    pub fn split_off(&mut self, keep: usize) -> impl Iterator<Item = T> + use<T> {
        let rest = |line: &mut VecDeque<T>| line.split_off(keep.min(line.len()));
        let transactional = rest(&mut self.transactional);
        transactional.into_iter().chain(rest(&mut self.bulk))
    }

    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.transactional.drain(..).chain(self.bulk.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_waits_for_overtakes_and_the_rest_moves_on() {
        let mut waiting = Waiting::default();
        for n in 0..10 {
            waiting.push(Priority::Bulk, n);
        }
        for n in 100..106 {
            waiting.push(Priority::Transactional, n);
        }
        waiting.push_front(Priority::Transactional, 99);
        let order: Vec<i32> = std::iter::from_fn(|| {
            let first = waiting.first().copied();
            let popped = waiting.pop();
            assert_eq!(first, popped);
            popped
        })
        .collect();
        let expected = [
            99, 100, 101, 102, 0, 103, 104, 105, 1, 2, 3, 4, 5, 6, 7, 8, 9,
        ];
        assert_eq!(order, expected);
        assert!(waiting.is_empty());
    }
}
