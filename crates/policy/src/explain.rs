//! Every limit that a message meets, and who says so.

use std::fmt;
use std::sync::Arc;

use crate::limits::Limits;
use crate::place::Origin;
use crate::rate::Rate;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One IP at one site.
    IpSite,
    /// All IPs at one site.
    Site,
    /// One IP at all sites.
    Ip,
    /// All IPs of one pool.
    Pool,
    /// All mail of one tenant.
    Tenant,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Self::IpSite => "ip_site",
            Self::Site => "site",
            Self::Ip => "ip",
            Self::Pool => "pool",
            Self::Tenant => "tenant",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitValue {
    /// Open at the same time.
    Connections(u32),
    ConnectionRate(Rate),
    MessageRate(Rate),
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(connections) => write!(f, "{connections} connections"),
            Self::ConnectionRate(rate) => write!(f, "{rate} connections"),
            Self::MessageRate(rate) => write!(f, "{rate} messages"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveLimit {
    pub scope: Scope,
    pub value: LimitValue,
    pub origin: Arc<Origin>,
}

impl fmt::Display for EffectiveLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scope,
            value,
            origin,
        } = self;
        write!(f, "{}: {value}: {origin}", scope.name())
    }
}

/// All limits that apply at the same time, from the narrowest scope to the widest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EffectiveLimits(pub Vec<EffectiveLimit>);

impl EffectiveLimits {
    pub fn of(&self, scope: Scope) -> impl Iterator<Item = &EffectiveLimit> {
        self.0.iter().filter(move |limit| limit.scope == scope)
    }

    pub(crate) fn add(&mut self, scope: Scope, limits: &Limits) {
        let mut push = |value, origin: &Arc<Origin>| {
            let origin = Arc::clone(origin);
            self.0.push(EffectiveLimit {
                scope,
                value,
                origin,
            });
        };
        if let Some(limit) = &limits.connections {
            push(LimitValue::Connections(limit.value), &limit.origin);
        }
        if let Some(limit) = &limits.connection_rate {
            push(LimitValue::ConnectionRate(limit.value), &limit.origin);
        }
        for limit in &limits.message_rate {
            push(LimitValue::MessageRate(limit.value), &limit.origin);
        }
    }
}
