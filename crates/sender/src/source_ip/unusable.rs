//! Why an IP is not used for a task, in words for people, and when that may be over. Pure.

use std::fmt;
use std::time::Duration;

use skein_mail::trace::rfc5322_date;
use skein_model::{DurationMs, UnixMs};

use crate::automation::active_actions::Stopped;
use crate::source_ip::placed::{Missing, Unreached};
use crate::source_ip::site_health::Blocked;

/// Why a member of a pool does not take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    Suspended,
    Missing(Missing),
    OtherFamily,
    Absent,
    Resting(Duration),
    /// The site gives it no connection.
    Blocked(Blocked),
    /// By a rule.
    Stopped(Stopped),
    /// Its budget is used up until then, if that is known.
    Warming(Option<UnixMs>),
    /// Policy warms it up, and no operator has started that.
    NotStarted,
}

impl Unusable {
    /// When it may be over, if that is known.
    pub fn again(&self, now: UnixMs) -> Option<Duration> {
        match self {
            Self::Resting(left) => Some(*left),
            Self::Missing(missing) => Some(missing.again),
            Self::Stopped(stopped) => Some(stopped.left.into()),
            Self::Warming(Some(next)) => Some(next.since(now).max(DurationMs(1)).into()),
            _ => None,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSession => {
                f.write_str("is not known to be anywhere: this sender has no session")
            }
            Self::Unplaced => f.write_str("is at no node"),
            Self::Leaving => f.write_str("moves to another node"),
            Self::Closed { node } => write!(
                f,
                "is at node {node}, which takes no connections for others (egress.listen)"
            ),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended => f.write_str("is suspended"),
            Self::Missing(missing) => missing.why.fmt(f),
            Self::OtherFamily => f.write_str(
                "is not of the family of the hosts' addresses, so it reaches none of them",
            ),
            Self::Absent => f.write_str("is not an address of the node that it is at"),
            Self::Stopped(stopped) => f.write_str(&stopped.text),
            Self::Warming(Some(next)) => {
                let next = rfc5322_date(next.0);
                write!(f, "is warming up and has no budget before {next}")
            }
            Self::Warming(None) => f.write_str("is warming up and has no budget"),
            Self::NotStarted => f.write_str("is to be warmed up, which nobody has started"),
            Self::Resting(left) => write!(f, "could not be used; again in {} s", left.as_secs()),
            Self::Blocked(Blocked { left, reply }) => {
                write!(
                    f,
                    "gets no connection from the site; again in {} s; the last time: {reply}",
                    left.as_secs()
                )
            }
        }
    }
}
