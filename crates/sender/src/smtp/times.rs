//! How long each step with another host took, for metrics and traces.

use std::time::{Duration, Instant};

/// A step of a session or of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    Greeting,
    Tls,
    Mail,
    /// Of all recipients together.
    Rcpt,
    Data,
    /// From the end of the body to the reply.
    Dot,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Greeting,
        Self::Tls,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Dot,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Tls => "tls",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Dot => "dot",
        }
    }
}

/// A step that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub ended: Instant,
    pub time: Duration,
}

/// The steps that have ended, at most one of each kind.
#[derive(Debug, Clone, Default)]
pub struct Times([Option<Took>; Phase::ALL.len()]);

impl Times {
    /// A step, or a part of one, has ended now that began then.
    pub fn ended(&mut self, phase: Phase, began: Instant) {
        let ended = Instant::now();
        let took = self.0[phase as usize].get_or_insert(Took {
            ended,
            time: Duration::ZERO,
        });
        took.ended = ended;
        took.time += ended.duration_since(began);
    }

    /// In the order in which they come.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Took)> {
        let all = Phase::ALL.into_iter().zip(self.0);
        all.filter_map(|(phase, took)| Some((phase, took?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_step_are_one() {
        let mut times = Times::default();
        let began = Instant::now() - Duration::from_secs(2);
        times.ended(Phase::Dot, began);
        times.ended(Phase::Rcpt, began);
        times.ended(Phase::Rcpt, began);
        let seen: Vec<_> = times
            .iter()
            .map(|(phase, took)| (phase.name(), took.time.as_secs()))
            .collect();
        assert_eq!(seen, [("rcpt", 4), ("dot", 2)]);
    }
}
