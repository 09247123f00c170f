//! Sending again what an endpoint has been told of, without disturbing what it is told next.

use minicbor::{Decode, Encode};
use skein_model::UnixMs;

use super::{Lane, LaneId, Progress};

/// A time range that an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Span {
    #[n(0)]
    pub since: UnixMs,
    #[n(1)]
    pub until: UnixMs,
}

/// A second cursor, which ends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Replay {
    #[n(0)]
    pub number: u32,
    #[n(1)]
    pub lane: Lane,
    /// The last event that is sent again.
    #[n(2)]
    pub last: u64,
    #[n(3)]
    pub span: Span,
}

/// Why nothing is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReplay {
    #[error("another replay is running: cancel it, or wait for its end")]
    Running,
    #[error("no event of that time has had its turn: what waits goes out by itself")]
    Nothing,
}

impl Progress {
    /// Sends the events with numbers from `first` to `last` again, which the log has for this span. Events have the ids that they
    /// had, and so has a batch with the same first and last event: a receiver that keeps ids of requests takes it once only.
    ///
    /// What the main cursor has not passed is left to it.
    ///
    /// # Errors
    /// One is running, or there is nothing to send.
    pub fn start_replay(&mut self, span: Span, first: u64, last: u64) -> Result<LaneId, NoReplay> {
        if self.replay.is_some() {
            return Err(NoReplay::Running);
        }
        let (first, last) = (first.max(1), last.min(self.main.cursor));
        if first > last {
            return Err(NoReplay::Nothing);
        }
        self.replays = self.replays.wrapping_add(1);
        let number = self.replays;
        self.replay = Some(Replay {
            number,
            lane: Lane::new(first - 1),
            last,
            span,
        });
        Ok(LaneId::Replay(number))
    }

    pub fn cancel_replay(&mut self) {
        self.replay = None;
    }

    #[must_use]
    pub fn replay(&self) -> Option<&Replay> {
        self.replay.as_ref()
    }

    /// The lanes that there are.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneId> {
        let replay = self.replay.as_ref();
        let replay = replay.map(|replay| LaneId::Replay(replay.number));
        [Some(LaneId::Main), replay].into_iter().flatten().collect()
    }

    /// A replay is over when its cursor is at its end.
    pub(super) fn end_replay(&mut self) {
        self.replay = self
            .replay
            .take()
            .filter(|replay| replay.lane.cursor < replay.last);
    }
}
