//! What may be said to automation, and what it tells.

use std::fmt;
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use super::rule::{Action, Rule, RuleAt, Scope, ScopeKind, is_name};
use super::suspension::Selector;
use crate::time::{DurationMs, UnixMs};
use crate::warmup::Order;

/// A reply matched a rule. It counts at the group's time: a sender's clock decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Match {
    #[n(0)]
    pub provider: String,
    /// The rule's place among those of its provider, counted from 0.
    #[n(1)]
    pub rule: u16,
    #[n(2)]
    pub ip: IpAddr,
    #[n(3)]
    pub site: String,
    #[n(4)]
    pub tenant: String,
    #[n(5)]
    pub pool: String,
    /// The text that matched; what is long is cut.
    #[n(6)]
    pub reply: String,
}

impl Match {
    /// Where a rule counts this; nothing if a name is not one.
    pub(super) fn at(&self, rule: &Rule) -> Option<RuleAt> {
        let site = self.site.clone();
        let name = match rule.scope {
            ScopeKind::IpSite => &self.site,
            ScopeKind::Tenant => &self.tenant,
            ScopeKind::Pool => &self.pool,
        };
        if ![&self.provider, &self.site, name]
            .into_iter()
            .all(|one| is_name(one))
        {
            return None;
        }
        let scope = match rule.scope {
            ScopeKind::IpSite => Scope::IpSite {
                ip: self.ip.to_canonical(),
                site,
            },
            ScopeKind::Tenant => Scope::Tenant {
                tenant: self.tenant.clone(),
                site,
            },
            ScopeKind::Pool => Scope::Pool {
                pool: self.pool.clone(),
                site,
            },
        };
        Some(RuleAt {
            scope,
            provider: self.provider.clone(),
            rule: self.rule,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Of one sender. What matches no rule that there is, is passed over.
    #[n(0)]
    Matches(#[n(0)] Vec<Match>),
    /// An operator ends what a rule did, and its climb back.
    #[n(1)]
    Lift {
        #[n(0)]
        at: RuleAt,
        #[n(1)]
        order: Order,
    },
    /// An operator holds mail back. Said again of the same mail, it moves the end.
    #[n(2)]
    Suspend {
        #[n(0)]
        selector: Selector,
        #[n(1)]
        lasts: DurationMs,
        #[n(2)]
        order: Order,
        /// It does not wait but goes back to who sent it.
        #[n(3)]
        #[cbor(default)]
        gives_up: bool,
    },
    #[n(3)]
    Resume {
        #[n(0)]
        selector: Selector,
        #[n(1)]
        order: Order,
    },
    /// Time went on; see [`next_due`](super::next_due).
    #[n(4)]
    Tick,
    /// Of one sender, at most [`MATCH_COUNTS_MAX`]; what is beyond is passed over, as is what matches no rule that there is.
    #[n(5)]
    MatchCount(#[n(0)] Vec<MatchCount>),
    /// A sink has all events before this one.
    #[n(6)]
    Taken(#[n(0)] u64),
}

/// A sender tells once a second, and has mail for hardly more rules and scopes in that time.
pub const MATCH_COUNTS_MAX: usize = 64;

/// Some replies that matched one rule at one scope.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MatchCount {
    /// With the first of the replies.
    #[n(0)]
    pub matched: Match,
    #[n(1)]
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    #[n(0)]
    Done,
    #[n(1)]
    Refused(#[n(0)] Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Refusal {
    #[n(0)]
    #[error("no such rule is in force there")]
    NotInForce,
    #[n(1)]
    #[error("exactly this is not suspended")]
    NotSuspended,
    #[n(2)]
    #[error("a name of mail has from 1 to 255 bytes")]
    BadSelector,
    #[n(3)]
    #[error("a suspension lasts from 1 ms to 30 days")]
    BadDuration,
    #[n(4)]
    #[error("there are 1000 suspensions, which is as many as there may be; resume some first")]
    TooMany,
}

/// What something is about.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Subject {
    #[n(0)]
    Rule {
        #[n(0)]
        at: RuleAt,
        #[n(1)]
        action: Action,
    },
    #[n(1)]
    ByHand(#[n(0)] Selector),
    #[n(2)]
    GivenUp(#[n(0)] Selector),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum What {
    #[n(0)]
    Began,
    /// Its end has moved.
    #[n(1)]
    Moved,
    /// It has ended, and this step of the climb back has begun.
    #[n(2)]
    Climbs(#[n(0)] u8),
    /// All is as before.
    #[n(3)]
    Ended,
    /// By an operator.
    #[n(4)]
    Lifted,
    /// There were too many, and this one would have ended first.
    #[n(5)]
    GaveWay,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Moved => "moved",
            Self::Climbs(_) => "climbs",
            Self::Ended => "ended",
            Self::Lifted => "lifted",
            Self::GaveWay => "gave way",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { at, action } => write!(f, "{action}: {}", at.scope),
            Self::ByHand(selector) => write!(f, "suspend: {selector}"),
            Self::GivenUp(selector) => write!(f, "bounce: {selector}"),
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    #[n(0)]
    pub at: UnixMs,
    #[n(1)]
    pub what: What,
    #[n(2)]
    pub subject: Subject,
    /// The reply that began it, or the operator's reason.
    #[n(3)]
    pub why: String,
    /// An operator.
    #[n(4)]
    pub who: Option<String>,
    #[n(5)]
    pub from: UnixMs,
    #[n(6)]
    pub until: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub response: Response,
    pub events: Vec<Event>,
}
