//! What may be said to a warm-up, and what it answers.

use std::net::IpAddr;

use minicbor::{Decode, Encode};

use super::calendar::Day;
use super::schedule::{BadPlan, Plan};
use crate::time::UnixMs;

/// What is warmed up: an IP as one provider sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Target {
    /// The address that others see.
    #[n(0)]
    pub ip: IpAddr,
    #[n(1)]
    pub provider: String,
}

/// The author of an order, and its reason. Longer texts are cut.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    #[n(0)]
    pub who: String,
    #[n(1)]
    pub why: String,
}

impl Order {
    const WHO_BYTES_MAX: usize = 64;
    /// A sentence or two.
    const WHY_BYTES_MAX: usize = 256;

    #[must_use]
    pub fn bounded(&self) -> Self {
        let cut = |text: &str, bytes_max| text[..text.floor_char_boundary(bytes_max)].to_owned();
        Self {
            who: cut(&self.who, Self::WHO_BYTES_MAX),
            why: cut(&self.why, Self::WHY_BYTES_MAX),
        }
    }
}

/// What became of attempts that were granted on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// As the grant said. A report that comes after its day is over counts for nothing.
    #[n(0)]
    pub day: Day,
    #[n(1)]
    pub delivered: u64,
    #[n(2)]
    pub deferred: u64,
    #[n(3)]
    pub bounced: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Also begins one anew that has stopped or finished. What was granted today counts.
    #[n(0)]
    Start {
        #[n(0)]
        target: Target,
        #[n(1)]
        plan: Plan,
        /// Counted from 0.
        #[n(2)]
        stage: u16,
        #[n(3)]
        order: Order,
    },
    /// Goes on under another plan. The stage keeps its number.
    #[n(1)]
    Replan {
        #[n(0)]
        target: Target,
        #[n(1)]
        plan: Plan,
        #[n(2)]
        order: Order,
    },
    #[n(2)]
    Pause {
        #[n(0)]
        target: Target,
        /// Whether the stage's volume goes out each day meanwhile.
        #[n(1)]
        is_sending: bool,
        #[n(2)]
        order: Order,
    },
    #[n(3)]
    Resume {
        #[n(0)]
        target: Target,
        #[n(1)]
        order: Order,
    },
    /// To any stage, at once.
    #[n(4)]
    Skip {
        #[n(0)]
        target: Target,
        #[n(1)]
        stage: u16,
        #[n(2)]
        order: Order,
    },
    /// The IP counts as warm from now on.
    #[n(5)]
    Stop {
        #[n(0)]
        target: Target,
        #[n(1)]
        order: Order,
    },
    /// The IP is given up. Not on a day on which it had mail: a new row would grant that day's budget again.
    #[n(6)]
    Forget(#[n(0)] Target),
    /// A sender asks for attempts. They count as used from now on, whatever becomes of them or of the sender; an answer
    /// that gets lost costs budget and never doubles it.
    #[n(7)]
    Grant {
        #[n(0)]
        target: Target,
        #[n(1)]
        want: u64,
    },
    #[n(8)]
    Record {
        #[n(0)]
        target: Target,
        #[n(1)]
        report: Report,
    },
}

/// What a sender gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Granted {
    /// At most what was asked for.
    #[n(0)]
    pub count: u64,
    /// To be told with the report; none if nothing is warmed up.
    #[n(1)]
    pub day: Option<Day>,
    /// With fewer than were asked for: when more are there, if that is known.
    #[n(2)]
    pub next_at: Option<UnixMs>,
    /// What was granted may be used until then; none: at any time.
    #[n(3)]
    pub ends: Option<UnixMs>,
}

/// A sender has mail for fewer new IPs and providers at a time; others come with the next batch.
pub const ASKS_MAX: usize = 64;
/// Of the day and of the one before.
pub(super) const REPORTS_MAX: usize = 2;

/// A sender asks for attempts at one provider from one IP, and tells what became of earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ask {
    #[n(0)]
    pub target: Target,
    #[n(1)]
    pub want: u64,
    /// Of the day of an earlier grant, and of the one before.
    #[n(2)]
    pub reports: Vec<Report>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    #[n(0)]
    Done,
    #[n(1)]
    Granted(#[n(0)] Granted),
    #[n(2)]
    Refused(#[n(0)] Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    #[n(0)]
    #[error("nothing is warmed up there")]
    NoWarmup,
    #[n(1)]
    #[error("it is being warmed up; stop that first, or change its plan")]
    IsRunning,
    #[n(2)]
    #[error("it is not paused")]
    NotPaused,
    #[n(3)]
    #[error("the warm-up is over; start it again")]
    IsOver,
    #[n(4)]
    #[error("the plan has no such stage")]
    NoStage,
    #[n(5)]
    #[error("a provider's name has from 1 to 64 bytes")]
    BadProvider,
    #[n(6)]
    #[error("{0}")]
    BadPlan(#[n(0)] BadPlan),
    #[n(7)]
    #[error("there are 10000 warm-ups, which is as many as there may be; forget some first")]
    TooMany,
    #[n(8)]
    #[error("it had mail today; forget it tomorrow")]
    HadMail,
}
