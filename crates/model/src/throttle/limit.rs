//! What a limit is on, and what keeps it within one process.

use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::concurrency::Concurrency;
use super::rate::Rate;
use super::shares::SHORT;
use super::token_lease::TokenLease;
use super::window::Window;
use crate::lease::Lease;
use crate::time::DurationMs;

/// The mail that a limit holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Scope {
    #[n(0)]
    Site = 0,
    /// What one source IP sends to one site. The key is the IP's name, a space and the site.
    #[n(1)]
    IpSite = 1,
    // 2 and 3 were scopes of providers. The numbers are also in the keys of rows.
    #[n(4)]
    Tenant = 4,
    #[n(5)]
    Ip = 5,
    #[n(6)]
    Pool = 6,
    /// Mail that comes in. The key is `tenant` or `credential`, a space and its name.
    #[n(7)]
    Intake = 7,
}

impl Scope {
    /// As metrics and people have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::IpSite => "ip_site",
            Self::Tenant => "tenant",
            Self::Ip => "ip",
            Self::Pool => "pool",
            Self::Intake => "intake",
        }
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Counted {
    /// That are open.
    #[n(0)]
    Connections,
    #[n(1)]
    ConnectionAttempts,
    #[n(2)]
    Messages,
    /// Of messages that come in.
    #[n(3)]
    Recipients,
}

impl Counted {
    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionAttempts => "connection_attempts",
            Self::Messages => "messages",
            Self::Recipients => "recipients",
        }
    }
}

/// Names a limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId {
    pub scope: Scope,
    /// Of the site, provider, tenant or address. Cheap to copy, because each permit remembers it.
    pub key: Arc<str>,
    pub counts: Counted,
    /// Tells limits apart that count the same over several windows.
    pub nth: u8,
}

impl LimitId {
    /// The site that the limit is of, if it is of one.
    pub fn site(&self) -> Option<&str> {
        match self.scope {
            Scope::Site => Some(&self.key),
            Scope::IpSite => self.key.split_once(' ').map(|(_, site)| site),
            _ => None,
        }
    }

    /// The source IP that the limit is of, if it is of one.
    pub fn ip(&self) -> Option<&str> {
        match self.scope {
            Scope::Ip => Some(&self.key),
            Scope::IpSite => self.key.split_once(' ').map(|(ip, _)| ip),
            _ => None,
        }
    }

    /// Whether it is of mail that comes in.
    pub fn is_of_intake(&self) -> bool {
        self.scope == Scope::Intake || self.counts == Counted::Recipients
    }

    /// Whether it is of a node's own address, which has no name. No other sender's mail goes from there, so it is not shared.
    pub fn is_of_node(&self) -> bool {
        self.ip().is_some_and(str::is_empty)
    }
}

impl<C> Encode<C> for LimitId {
    fn encode<W: encode::Write>(
        &self,
        to: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        (self.scope, &*self.key, self.counts, self.nth).encode(to, context)
    }
}

impl<'b, C> Decode<'b, C> for LimitId {
    fn decode(from: &mut Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        let (scope, key, counts, nth): (Scope, &str, Counted, u8) = Decode::decode(from, context)?;
        Ok(Self {
            scope,
            key: key.into(),
            counts,
            nth,
        })
    }
}

/// A limit that spans senders, as policy has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SharedLimit {
    #[n(0)]
    Connections(#[n(0)] u64),
    #[n(1)]
    Rate(#[n(0)] Rate),
}

impl SharedLimit {
    pub fn count(self) -> u64 {
        match self {
            Self::Connections(count) => count,
            Self::Rate(rate) => rate.count,
        }
    }

    /// The window; 0 for connections.
    pub fn per(self) -> DurationMs {
        match self {
            Self::Connections(_) => DurationMs(0),
            Self::Rate(rate) => rate.per,
        }
    }

    /// Whether its tokens are granted one by one. Else each sender has a share.
    pub fn is_granted(self) -> bool {
        self.per() > SHORT
    }

    /// As one process keeps it that has all of it.
    pub fn alone(self) -> Limit {
        match self {
            Self::Connections(count) => Limit::Concurrency(count),
            Self::Rate(rate) => Limit::Rate(rate),
        }
    }

    fn with_count(self, count: u64) -> Self {
        match self {
            Self::Connections(_) => Self::Connections(count),
            Self::Rate(rate) => Self::Rate(Rate { count, ..rate }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Rate(Rate),
    Concurrency(u64),
    /// A part of what all senders together may use.
    Shared {
        limit: SharedLimit,
        /// The owner of the site's slot keeps it by itself unless the site is known to be several senders'.
        is_by_owner: bool,
    },
}

/// A limit that keeps its name and becomes another kind is another limiter: tokens go back to where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Rate,
    Concurrency,
    Granted,
}

impl Limit {
    pub(super) fn form(self) -> Form {
        match self {
            Self::Rate(_) => Form::Rate,
            Self::Concurrency(_) => Form::Concurrency,
            Self::Shared { limit, .. } => match limit {
                limit if limit.is_granted() => Form::Granted,
                SharedLimit::Connections(_) => Form::Concurrency,
                SharedLimit::Rate(_) => Form::Rate,
            },
        }
    }

    /// None for what the leader grants.
    pub(super) fn count(self) -> Option<u64> {
        match self {
            Self::Rate(rate) => Some(rate.count),
            Self::Concurrency(limit) => Some(limit),
            Self::Shared { limit, .. } if !limit.is_granted() => Some(limit.count()),
            Self::Shared { .. } => None,
        }
    }

    pub(super) fn with_count(self, count: u64) -> Self {
        match self {
            Self::Rate(rate) => Self::Rate(Rate { count, ..rate }),
            Self::Concurrency(_) => Self::Concurrency(count),
            Self::Shared { limit, is_by_owner } => Self::Shared {
                limit: limit.with_count(count),
                is_by_owner,
            },
        }
    }
}

#[derive(Debug)]
pub(super) enum Limiter {
    Window(Window),
    Concurrency(Concurrency),
    TokenLease(TokenLease),
}

impl Limiter {
    pub fn new(limit: Limit, token_lease: u64) -> Self {
        match limit {
            Limit::Rate(rate) => Self::Window(Window::new(rate)),
            Limit::Concurrency(limit) => Self::Concurrency(Concurrency::new(limit)),
            Limit::Shared { limit, .. } => match limit {
                limit if limit.is_granted() => Self::TokenLease(TokenLease::new(token_lease)),
                SharedLimit::Connections(limit) => Self::Concurrency(Concurrency::new(limit)),
                SharedLimit::Rate(rate) => Self::Window(Window::new(rate)),
            },
        }
    }

    pub fn set(&mut self, now: DurationMs, limit: Limit) {
        match (self, limit) {
            (Self::Window(window), Limit::Rate(rate)) => window.set(now, rate),
            (Self::Concurrency(concurrency), Limit::Concurrency(limit)) => concurrency.set(limit),
            (limiter, Limit::Shared { limit, .. }) => limiter.set(now, limit.alone()),
            _ => {}
        }
    }

    pub fn predecessor_gone(&mut self, now: DurationMs, count: u64, gone_since: DurationMs) {
        if let Self::Window(window) = self {
            window.predecessor_gone(now, count, gone_since);
        }
    }

    pub fn take(&mut self, now: DurationMs, lease: Lease) -> bool {
        match self {
            Self::Window(window) => window.take(now),
            Self::Concurrency(concurrency) => concurrency.take(),
            Self::TokenLease(token_lease) => token_lease.take(now, lease),
        }
    }

    pub fn ended(&mut self, now: DurationMs) {
        match self {
            Self::Window(window) => window.ended(now),
            Self::Concurrency(concurrency) => concurrency.ended(),
            Self::TokenLease(token_lease) => token_lease.ended(),
        }
    }

    pub fn cancel(&mut self) {
        match self {
            Self::Window(window) => window.cancel(),
            Self::Concurrency(concurrency) => concurrency.ended(),
            Self::TokenLease(token_lease) => token_lease.cancel(),
        }
    }

    pub fn next_at(&self, now: DurationMs, lease: Lease) -> Option<DurationMs> {
        match self {
            Self::Window(window) => window.next_at(now),
            Self::Concurrency(concurrency) => concurrency.is_open().then_some(now),
            Self::TokenLease(token_lease) => {
                (token_lease.unused() > 0 && lease.holds(now)).then_some(now)
            }
        }
    }

    /// What counts here now, of what is not granted.
    pub fn counted(&self, now: DurationMs) -> u64 {
        match self {
            Self::Window(window) => window.counted(now),
            Self::Concurrency(concurrency) => concurrency.out(),
            Self::TokenLease(_) => 0,
        }
    }

    pub fn is_idle(&self, now: DurationMs) -> bool {
        match self {
            Self::Window(window) => window.is_idle(now),
            Self::Concurrency(concurrency) => concurrency.is_idle(),
            Self::TokenLease(token_lease) => token_lease.is_idle(),
        }
    }
}
