//! The three ways to share a limit, as the simulated leader and senders see them: as one.

use super::*;
use crate::codec;
use crate::id::SessionId;
use crate::lease::Lease;
use crate::time::{DurationMs, LimitMs};

#[derive(Debug, Clone)]
pub enum Leader {
    Ledger(Ledger),
    Shares(Shares),
}

#[derive(Debug, Clone, Copy)]
pub enum Report {
    TokenLease(TokenLeaseReport),
    Share(ShareReport),
}

#[derive(Debug, Clone, Copy)]
pub enum Answer {
    TokenLease(TokenLeaseAnswer),
    Share(ShareAnswer),
    NoSession,
}

#[derive(Debug)]
pub enum Side {
    TokenLease(TokenLease),
    Window(ShareHeld, Window),
    Connections(ShareHeld, Concurrency),
}

const UNFIT: &str = "the sides fit, because the leader's decides";

impl Leader {
    /// From what is in the rows.
    pub fn replayed(&self) -> Self {
        match self {
            Self::Ledger(ledger) => {
                Self::Ledger(codec::decode(&codec::encode(ledger)).expect("rows are read"))
            }
            Self::Shares(shares) => {
                Self::Shares(codec::decode(&codec::encode(shares)).expect("rows are read"))
            }
        }
    }

    pub fn report(&mut self, at: LimitMs, session: SessionId, report: Report) -> Answer {
        match (self, report) {
            (Self::Ledger(ledger), Report::TokenLease(report)) => {
                Answer::TokenLease(ledger.report(at, session, &report))
            }
            (Self::Shares(shares), Report::Share(report)) => {
                Answer::Share(shares.report(at, session, &report))
            }
            _ => panic!("{UNFIT}"),
        }
    }

    pub fn session_gone(&mut self, at: LimitMs, session: SessionId) {
        match self {
            Self::Ledger(ledger) => ledger.session_gone(at, session),
            Self::Shares(shares) => shares.session_gone(at, session),
        }
    }

    /// Whether something may have changed that no sender has asked for.
    pub fn divide(&mut self, at: LimitMs) -> bool {
        let Self::Shares(shares) = self else {
            return false;
        };
        let is_due = shares.due_at(at).is_some_and(|due| due <= at);
        if is_due {
            shares.divide(at);
        }
        is_due
    }

    pub fn hint(&self, session: SessionId) -> Option<Answer> {
        match self {
            Self::Ledger(_) => None,
            Self::Shares(shares) => Some(Answer::Share(shares.answer(session))),
        }
    }
}

impl Side {
    pub fn new(leader: &Leader, is_connections: bool, per: DurationMs) -> Self {
        let held = ShareHeld::default();
        let none = Rate {
            count: 0,
            per,
            burst: None,
        };
        match (leader, is_connections) {
            (Leader::Ledger(_), _) => Self::TokenLease(TokenLease::new(1)),
            (Leader::Shares(_), true) => Self::Connections(held, Concurrency::new(0)),
            (Leader::Shares(_), false) => Self::Window(held, Window::new(none)),
        }
    }

    pub fn answered(&mut self, answer: Answer) {
        match (self, answer) {
            (Self::TokenLease(token_lease), Answer::TokenLease(answer)) => {
                token_lease.answered(answer)
            }
            (Self::Window(held, _) | Self::Connections(held, _), Answer::Share(answer)) => {
                held.answered(answer);
            }
            _ => panic!("{UNFIT}"),
        }
    }

    pub fn report(&mut self, now: DurationMs, wants: u64) -> Report {
        match self {
            Self::TokenLease(token_lease) => Report::TokenLease(token_lease.report(wants)),
            Self::Window(held, window) => Report::Share(held.report(window.counted(now), wants)),
            Self::Connections(held, open) => Report::Share(held.report(open.out(), wants)),
        }
    }

    pub fn take(&mut self, now: DurationMs, lease: Lease) -> bool {
        match self {
            Self::TokenLease(token_lease) => token_lease.take(now, lease),
            Self::Window(held, window) => {
                let count = held.may(now, lease);
                let rate = window.rate();
                window.set(now, Rate { count, ..rate });
                window.take(now)
            }
            Self::Connections(held, open) => {
                open.set(held.may(now, lease));
                open.take()
            }
        }
    }

    pub fn ended(&mut self, now: DurationMs) {
        match self {
            Self::TokenLease(token_lease) => token_lease.ended(),
            Self::Window(_, window) => window.ended(now),
            Self::Connections(_, open) => open.ended(),
        }
    }

    pub fn cancel(&mut self) {
        match self {
            Self::TokenLease(token_lease) => token_lease.cancel(),
            Self::Window(_, window) => window.cancel(),
            Self::Connections(_, open) => open.ended(),
        }
    }

    /// Whether to report before it is time to: the leader, or work, waits for it.
    pub fn is_urgent(&self, now: DurationMs) -> bool {
        match self {
            Self::TokenLease(token_lease) => token_lease.unused() == 0,
            Self::Window(held, window) => held.is_over(window.counted(now)),
            Self::Connections(held, open) => held.is_over(open.out()),
        }
    }
}
