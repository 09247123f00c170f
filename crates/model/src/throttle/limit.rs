//! What a limit is on, and what keeps it within one process.

use std::sync::Arc;

use super::concurrency::Concurrency;
use super::purse::Purse;
use super::rate::Rate;
use super::window::Window;
use crate::lease::Lease;
use crate::time::DurationMs;

/// Whose mail a limit holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Site,
    /// What one source IP sends to one site.
    SiteFromIp,
    /// All sites of a provider.
    Provider,
    ProviderFromIp,
    Tenant,
    Ip,
    Pool,
}

impl Scope {
    /// As metrics and people have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::SiteFromIp => "ip_site",
            Self::Provider => "provider",
            Self::ProviderFromIp => "ip_provider",
            Self::Tenant => "tenant",
            Self::Ip => "ip",
            Self::Pool => "pool",
        }
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counted {
    /// That are open.
    Connections,
    ConnectionAttempts,
    Messages,
    Recipients,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Rate(Rate),
    Concurrency(u64),
    /// As many as the leader of the meta group has granted.
    Granted,
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
            Self::Granted => Form::Granted,
        }
    }

    /// What can be lowered. The leader lowers what it grants.
    pub(super) fn count(self) -> Option<u64> {
        match self {
            Self::Rate(rate) => Some(rate.count),
            Self::Concurrency(limit) => Some(limit),
            Self::Granted => None,
        }
    }

    pub(super) fn with_count(self, count: u64) -> Self {
        match self {
            Self::Rate(rate) => Self::Rate(Rate { count, ..rate }),
            Self::Concurrency(_) => Self::Concurrency(count),
            Self::Granted => Self::Granted,
        }
    }
}

#[derive(Debug)]
pub(super) enum Limiter {
    Window(Window),
    Concurrency(Concurrency),
    Purse(Purse),
}

impl Limiter {
    pub fn new(limit: Limit, purse: u64) -> Self {
        match limit {
            Limit::Rate(rate) => Self::Window(Window::new(rate)),
            Limit::Concurrency(limit) => Self::Concurrency(Concurrency::new(limit)),
            Limit::Granted => Self::Purse(Purse::new(purse)),
        }
    }

    pub fn set(&mut self, now: DurationMs, limit: Limit) {
        match (self, limit) {
            (Self::Window(window), Limit::Rate(rate)) => window.set(now, rate),
            (Self::Concurrency(concurrency), Limit::Concurrency(limit)) => concurrency.set(limit),
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
            Self::Purse(purse) => purse.take(now, lease),
        }
    }

    pub fn ended(&mut self, now: DurationMs) {
        match self {
            Self::Window(window) => window.ended(now),
            Self::Concurrency(concurrency) => concurrency.ended(),
            Self::Purse(purse) => purse.ended(),
        }
    }

    pub fn cancel(&mut self) {
        match self {
            Self::Window(window) => window.cancel(),
            Self::Concurrency(concurrency) => concurrency.ended(),
            Self::Purse(purse) => purse.cancel(),
        }
    }

    pub fn next_at(&self, now: DurationMs, lease: Lease) -> Option<DurationMs> {
        match self {
            Self::Window(window) => window.next_at(now),
            Self::Concurrency(concurrency) => concurrency.is_open().then_some(now),
            Self::Purse(purse) => (purse.hand() > 0 && lease.holds(now)).then_some(now),
        }
    }

    pub fn is_idle(&self, now: DurationMs) -> bool {
        match self {
            Self::Window(window) => window.is_idle(now),
            Self::Concurrency(concurrency) => concurrency.is_idle(),
            Self::Purse(purse) => purse.is_idle(),
        }
    }
}
