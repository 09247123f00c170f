//! One question's way through the name servers: whom to ask next, and when it is over. Pure.
//!
//! A server that errs leads to the next one at once, one that is slow leads to the next one as well and may still
//! answer. Only when every server has erred, the question has no answer, and that is no answer either: it is temporary.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::answer::Trouble;

/// A server that knows the answer, or can find it, mostly does within this time; asking another one costs a packet.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Ask(usize),
    /// For what servers say, and no longer than this.
    Wait(Instant),
    /// No server said anything that counts.
    Over,
}

/// What a server said that is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Trouble(Trouble),
    /// See [`crate::answer::Meaning::Weak`].
    Weak,
}

#[derive(Debug)]
pub(crate) struct Question {
    order: Vec<usize>,
    queue: VecDeque<usize>,
    rounds: usize,
    pending: BTreeMap<usize, Instant>,
    said: BTreeMap<usize, Said>,
    patience: Duration,
    next_at: Instant,
    until: Instant,
}

impl Question {
    /// `timeout` is what one server has in one round.
    pub(crate) fn new(order: Vec<usize>, timeout: Duration, rounds: usize, now: Instant) -> Self {
        let rounds = rounds.max(1);
        let servers = u32::try_from(order.len()).unwrap_or(u32::MAX).max(1);
        Self {
            queue: order.iter().copied().collect(),
            rounds: rounds - 1,
            pending: BTreeMap::new(),
            said: BTreeMap::new(),
            // All are asked within the first half of a round, however many are silent.
            patience: PATIENCE.min(timeout / servers / 2),
            next_at: now,
            until: now + timeout * u32::try_from(rounds).unwrap_or(u32::MAX),
            order,
        }
    }

    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if now >= self.until || self.order.is_empty() {
            return Step::Over;
        }
        if self.queue.is_empty() && self.pending.is_empty() {
            if self.rounds == 0 || self.is_weakly_answered() {
                return Step::Over;
            }
            self.rounds -= 1;
            self.queue.extend(&self.order);
        }
        if self.pending.is_empty() || now >= self.next_at {
            if let Some(server) = self.queue.pop_front() {
                self.pending.insert(server, now);
                self.next_at = now + self.patience;
                return Step::Ask(server);
            }
            return Step::Wait(self.until);
        }
        match self.queue.is_empty() {
            true => Step::Wait(self.until),
            false => Step::Wait(self.next_at.min(self.until)),
        }
    }

    /// A server has said something that is no answer.
    pub(crate) fn heard(&mut self, server: usize, said: Said, now: Instant) {
        self.pending.remove(&server);
        self.said.insert(server, said);
        self.next_at = now;
    }

    /// Whether every server says that there are no records, and none more than that.
    pub(crate) fn is_weakly_answered(&self) -> bool {
        let all = self.order.iter().map(|server| self.said.get(server));
        !self.order.is_empty() && all.into_iter().all(|said| said == Some(&Said::Weak))
    }

    /// The servers that have failed at a question to which there is an answer.
    pub(crate) fn blamed(&self, now: Instant) -> impl Iterator<Item = usize> {
        let slow = self.pending.iter();
        let slow =
            slow.filter(move |(_, since)| now.saturating_duration_since(**since) >= self.patience);
        let erred = self.said.iter().filter(|(_, said)| **said != Said::Weak);
        slow.map(|(server, _)| *server)
            .chain(erred.map(|(server, _)| *server))
    }

    /// Why there is no answer, by server, in the order in which they were asked.
    pub(crate) fn troubles(&self, now: Instant) -> Vec<(usize, Trouble)> {
        let of = |server: &usize| {
            let since = self.pending.get(server);
            let silent = since.map(|since| Trouble::Silent(now.saturating_duration_since(*since)));
            let said = self.said.get(server).map(|said| match said {
                Said::Trouble(trouble) => trouble.clone(),
                Said::Weak => Trouble::Nonsense("knows nothing of the name"),
            });
            said.or(silent).map(|trouble| (*server, trouble))
        };
        self.order.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
