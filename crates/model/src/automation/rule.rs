//! What a rule says, and where it applies.

use std::fmt;
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use crate::codec;
use crate::id::Fnv;
use crate::time::DurationMs;

/// A count keeps as many times as its threshold; published rules have at most 5.
pub const THRESHOLD_MAX: u32 = 100;
/// No rule looks further back than a day, so no count is kept for longer.
pub(super) const WINDOW_MAX: DurationMs = DurationMs::from_secs(24 * 3600);
/// Shorter ones would be over before every sender has heard of them.
pub const LASTS_MIN: DurationMs = DurationMs::from_secs(10);
pub const LASTS_MAX: DurationMs = DurationMs::from_secs(24 * 3600);
const PER_MIN: DurationMs = DurationMs::from_secs(1);

/// Messages in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Rate {
    #[n(0)]
    pub count: u32,
    #[n(1)]
    pub per: DurationMs,
}

impl Rate {
    pub(super) fn is_below(self, other: Self) -> bool {
        let (own, others) = (u128::from(self.count), u128::from(other.count));
        own * u128::from(other.per.0) < others * u128::from(self.per.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// Mail of the scope waits.
    #[n(0)]
    Suspend,
    #[n(1)]
    Rate(#[n(0)] Rate),
    #[n(2)]
    Connections(#[n(0)] u32),
    /// Mail of the scope is given up.
    #[n(3)]
    Bounce,
    /// Mail goes through other IPs of its pool.
    #[n(4)]
    RestIp,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Rate(_) => "rate",
            Self::Connections(_) => "connections",
            Self::Bounce => "bounce",
            Self::RestIp => "rest-ip",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Rate(Rate { count, per }) => write!(f, " {count} per {per}"),
            Self::Connections(count) => write!(f, " {count}"),
            Self::Suspend | Self::Bounce | Self::RestIp => Ok(()),
        }
    }
}

/// Of whom matches are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ScopeKind {
    #[n(0)]
    IpSite,
    #[n(1)]
    Tenant,
    #[n(2)]
    Pool,
}

/// Mail to one site: through an IP, of a tenant or of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Scope {
    #[n(0)]
    IpSite {
        #[n(0)]
        ip: IpAddr,
        #[n(1)]
        site: String,
    },
    #[n(1)]
    Tenant {
        #[n(0)]
        tenant: String,
        #[n(1)]
        site: String,
    },
    #[n(2)]
    Pool {
        #[n(0)]
        pool: String,
        #[n(1)]
        site: String,
    },
}

impl Scope {
    pub(super) fn kind(&self) -> ScopeKind {
        match self {
            Self::IpSite { .. } => ScopeKind::IpSite,
            Self::Tenant { .. } => ScopeKind::Tenant,
            Self::Pool { .. } => ScopeKind::Pool,
        }
    }

    fn has_names(&self) -> bool {
        match self {
            Self::IpSite { site, .. } => is_name(site),
            Self::Tenant { tenant: of, site } | Self::Pool { pool: of, site } => {
                is_name(of) && is_name(site)
            }
        }
    }
}

/// RFC 1035 2.3.4; other names are shorter.
const NAME_BYTES_MAX: usize = 255;

pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpSite { ip, site } => write!(f, "{ip} to {site}"),
            Self::Tenant { tenant, site } => write!(f, "tenant {tenant} to {site}"),
            Self::Pool { pool, site } => write!(f, "pool {pool} to {site}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Rule {
    /// It comes into force with so many matches...
    #[n(0)]
    pub threshold: u32,
    /// ...within this time.
    #[n(1)]
    pub window: DurationMs,
    #[n(2)]
    pub action: Action,
    #[n(3)]
    pub scope: ScopeKind,
    /// After the last match.
    #[n(4)]
    pub lasts: DurationMs,
}

/// Why a rule cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    #[error("a threshold is from 1 to 100")]
    Threshold,
    #[error("a window is from 1 second to 24 hours")]
    Window,
    #[error("an action lasts from 10 seconds to 24 hours")]
    Lasts,
    #[error("a rate is at least 1 in a time from 1 second to 24 hours, and a limit at least 1")]
    Limit,
    #[error("only the scope of an IP and a site names an IP that can rest")]
    RestIp,
}

impl Rule {
    /// # Errors
    /// The first thing that is out of its range.
    pub fn check(&self) -> Result<(), BadRule> {
        let is_time = |span: DurationMs| (PER_MIN..=WINDOW_MAX).contains(&span);
        if !(1..=THRESHOLD_MAX).contains(&self.threshold) {
            return Err(BadRule::Threshold);
        }
        if !is_time(self.window) {
            return Err(BadRule::Window);
        }
        if !(LASTS_MIN..=LASTS_MAX).contains(&self.lasts) {
            return Err(BadRule::Lasts);
        }
        match self.action {
            Action::Rate(rate) if rate.count == 0 || !is_time(rate.per) => Err(BadRule::Limit),
            Action::Connections(0) => Err(BadRule::Limit),
            Action::RestIp if self.scope != ScopeKind::IpSite => Err(BadRule::RestIp),
            _ => Ok(()),
        }
    }

    /// Tells a rule from another that has its number after the configuration has changed.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new();
        hash.write(&codec::encode(self));
        hash.mixed()
    }
}

/// One rule of a provider at one scope: what is counted and what is in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RuleAt {
    #[n(0)]
    pub scope: Scope,
    #[n(1)]
    pub provider: String,
    /// The rule's place among those of its provider, counted from 0.
    #[n(2)]
    pub rule: u16,
}

impl RuleAt {
    pub(super) fn is_valid(&self) -> bool {
        is_name(&self.provider) && self.scope.has_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_out_of_range_are_refused() {
        let good = Rule {
            threshold: 5,
            window: DurationMs::from_secs(3600),
            action: Action::Suspend,
            scope: ScopeKind::Tenant,
            lasts: DurationMs::from_secs(600),
        };
        let minute = DurationMs::from_secs(60);
        let rate = |count, per| Action::Rate(Rate { count, per });
        let with = |action| Rule { action, ..good };
        for (rule, expected) in [
            (good, Ok(())),
            (with(rate(1, minute)), Ok(())),
            (
                Rule {
                    threshold: 0,
                    ..good
                },
                Err(BadRule::Threshold),
            ),
            (
                Rule {
                    threshold: 101,
                    ..good
                },
                Err(BadRule::Threshold),
            ),
            (
                Rule {
                    window: DurationMs(999),
                    ..good
                },
                Err(BadRule::Window),
            ),
            (
                Rule {
                    window: DurationMs(u64::MAX),
                    ..good
                },
                Err(BadRule::Window),
            ),
            (
                Rule {
                    lasts: DurationMs(0),
                    ..good
                },
                Err(BadRule::Lasts),
            ),
            (
                Rule {
                    lasts: DurationMs(LASTS_MAX.0 + 1),
                    ..good
                },
                Err(BadRule::Lasts),
            ),
            (with(rate(0, minute)), Err(BadRule::Limit)),
            (with(rate(1, DurationMs(0))), Err(BadRule::Limit)),
            (with(Action::Connections(0)), Err(BadRule::Limit)),
            (with(Action::RestIp), Err(BadRule::RestIp)),
        ] {
            assert_eq!(rule.check(), expected, "{rule:?}");
        }
    }

    #[test]
    fn scopes_and_actions_are_said_in_words() {
        let scope = Scope::IpSite {
            ip: [192, 0, 2, 1].into(),
            site: "google".to_owned(),
        };
        assert_eq!(scope.to_string(), "192.0.2.1 to google");
        let rate = Rate {
            count: 10,
            per: DurationMs::from_secs(60),
        };
        assert_eq!(Action::Rate(rate).to_string(), "rate 10 per 60.000 s");
        assert_eq!(Action::Connections(1).to_string(), "connections 1");
    }
}
