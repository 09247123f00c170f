//! What is kept of an endpoint's past, for people: bounded lists, counters, alerts.

use minicbor::{Decode, Encode};
use skein_model::UnixMs;

use crate::outcome::Outcome;

/// Dead batches that are told of one by one. At three days each they are months; whoever has looked replays them.
pub const DEAD_LETTERS_MAX: usize = 32;
/// Gaps that are told of one by one. Those that touch are one.
pub const GAPS_MAX: usize = 16;

/// How the last attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LastAnswer {
    #[n(0)]
    pub at: UnixMs,
    /// None: there was no answer.
    #[n(1)]
    pub status: Option<u16>,
    /// At most [`crate::outcome::TEXT_BYTES_MAX`] octets.
    #[n(2)]
    pub text: String,
}

impl LastAnswer {
    pub(super) fn new(outcome: &Outcome, at: UnixMs) -> Self {
        Self {
            at,
            status: outcome.status(),
            text: outcome.text(),
        }
    }

    /// For people.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.status {
            Some(status) => format!("HTTP {status} {}", self.text).trim_end().to_owned(),
            None => self.text.clone(),
        }
    }
}

/// A batch that was tried for as long as the schedule goes. Its events are in the log for as long as the log has them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeadLetter {
    /// Numbers in the log, both of it.
    #[n(0)]
    pub first: u64,
    #[n(1)]
    pub through: u64,
    /// Those among them that the filter took.
    #[n(2)]
    pub events: u64,
    #[n(3)]
    pub attempts: u32,
    #[n(4)]
    pub reason: String,
    #[n(5)]
    pub at: UnixMs,
    #[n(6)]
    pub is_replay: bool,
}

/// Events that the log no longer had when their turn came.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Gap {
    #[n(0)]
    pub first: u64,
    #[n(1)]
    pub last: u64,
    /// When it was last found to grow.
    #[n(2)]
    pub at: UnixMs,
    #[n(3)]
    pub is_replay: bool,
}

impl Gap {
    #[must_use]
    pub fn events(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    /// Events.
    #[n(0)]
    pub delivered: u64,
    /// Events, by replays.
    #[n(1)]
    pub replayed: u64,
    /// Attempts.
    #[n(2)]
    pub failed: u64,
    /// Events of dead batches.
    #[n(3)]
    pub dead: u64,
    /// Events that the log lost, of all types and tenants: nobody can say which of them the filter would have taken.
    #[n(4)]
    pub lost: u64,
    /// Dead letters and gaps that are in no list any more.
    #[n(5)]
    pub forgotten: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum AlertKind {
    #[n(0)]
    DeadLetter,
    /// The receiver answered 410.
    #[n(1)]
    Disabled,
    #[n(2)]
    EventsLost,
    /// The log is shorter than what was delivered: it was restored from a backup.
    #[n(3)]
    LogRewound,
}

/// One of each kind at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Alert {
    #[n(0)]
    pub kind: AlertKind,
    #[n(1)]
    pub since: UnixMs,
    #[n(2)]
    pub times: u64,
}

/// Lists and counters of one endpoint and group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Records {
    #[n(0)]
    pub counters: Counters,
    /// Oldest first.
    #[n(1)]
    pub dead_letters: Vec<DeadLetter>,
    /// Oldest first.
    #[n(2)]
    pub gaps: Vec<Gap>,
    /// Until an operator has acknowledged them.
    #[n(3)]
    pub alerts: Vec<Alert>,
}

impl Records {
    pub(super) fn dead_letter(&mut self, letter: DeadLetter) {
        self.alert(AlertKind::DeadLetter, letter.at);
        self.counters.dead += letter.events;
        self.counters.forgotten += push(&mut self.dead_letters, letter, DEAD_LETTERS_MAX);
    }

    pub(super) fn gap(&mut self, gap: Gap) {
        self.alert(AlertKind::EventsLost, gap.at);
        if !gap.is_replay {
            self.counters.lost += gap.events();
        }
        match self.gaps.last_mut() {
            Some(last) if last.is_replay == gap.is_replay && last.last + 1 == gap.first => {
                (last.last, last.at) = (gap.last, gap.at);
            }
            _ => self.counters.forgotten += push(&mut self.gaps, gap, GAPS_MAX),
        }
    }

    pub(super) fn alert(&mut self, kind: AlertKind, at: UnixMs) {
        match self.alerts.iter_mut().find(|alert| alert.kind == kind) {
            Some(alert) => alert.times += 1,
            None => self.alerts.push(Alert {
                kind,
                since: at,
                times: 1,
            }),
        }
    }
}

/// Returns how many went to make room.
fn push<T>(list: &mut Vec<T>, item: T, max: usize) -> u64 {
    list.push(item);
    let over = list.len().saturating_sub(max);
    list.drain(..over);
    over as u64
}
