//! What a progress is asked and says.

use skein_model::UnixMs;

use super::{AttemptId, DeadLetter};

/// Which numbers a group's log has: `oldest..next`, none if they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    pub oldest: u64,
    pub next: u64,
}

/// What a lane is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until an operator resumes the endpoint or starts a replay.
    Nothing,
    /// Nothing before this time.
    Wait(UnixMs),
    /// A batch is to be cut ([`crate::batch::cut`]) of the events from `first` on, up to `last` if there is one, and begun with.
    Cut { first: u64, last: Option<u64> },
    /// A request with these events ([`crate::batch::again`]) is to be made now, if none with this id is in flight.
    Attempt {
        id: AttemptId,
        first: u64,
        through: u64,
    },
}

/// What a result has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the attempt's result is known, or it has been given up.
    Stale,
    Delivered {
        events: u64,
    },
    Retry {
        at: UnixMs,
    },
    /// All requests to the endpoint should wait, also those of other groups.
    Throttled {
        until: UnixMs,
    },
    Dead(DeadLetter),
    Disabled,
}
