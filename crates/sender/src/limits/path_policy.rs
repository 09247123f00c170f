//! What policy asks of a task on its way from an IP to a site.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skein_model::DurationMs;
use skein_model::throttle::{
    COUNT_MAX, Counted, Limit, LimitId, LimitRequest, PER_MAX, PER_MIN, Rate, Scope, SharedLimit,
};
use skein_policy::{
    BUILT_IN_NAME, DEFAULT_PROVIDER, EffectiveLimit, LimitValue, Policy, Provider,
    Scope as PolicyScope, Timeouts as Given,
};
use skein_tls::TlsPolicy;

use crate::config::Timeouts;

/// One for each pool, IP, site and tenant at work together; about 1 kB each. When they are too many, all are made anew.
const PATHS_MAX: usize = 16_384;

/// The pool and tenant of a task, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct EgressPath<'a> {
    pub pool: &'a str,
    /// Empty: the node's own address.
    pub ip: &'a str,
    pub site: &'a str,
    pub tenant: &'a str,
    /// The operator of this cluster named the hosts.
    pub is_named: bool,
}

/// Limits that are kept together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitRequests {
    /// As the owner of the site's slot keeps them, which is the only sender to that site.
    alone: Vec<LimitRequest>,
    /// As senders keep them that share the site.
    shared: Vec<LimitRequest>,
}

impl LimitRequests {
    /// A limit is lower for a while, or there is one for a while. It is never higher than what policy says.
    pub fn lower(&mut self, id: LimitId, lowered: SharedLimit) {
        let shared = Limit::Shared {
            limit: lowered,
            is_by_owner: true,
        };
        let Some(at) = self.shared.iter().position(|known| known.id == id) else {
            let want = |limit| LimitRequest {
                id: id.clone(),
                limit,
                is_inherited: false,
                gone_since: DurationMs(0),
            };
            self.alone.push(want(lowered.alone()));
            self.shared.push(want(shared));
            return;
        };
        if is_lower(given(self.shared[at].limit), lowered) {
            return;
        }
        for known in [&mut self.alone[at], &mut self.shared[at]] {
            known.limit = match known.limit {
                Limit::Shared { is_by_owner, .. } => Limit::Shared {
                    limit: lowered,
                    is_by_owner,
                },
                _ => lowered.alone(),
            };
        }
    }

    /// Limits that no other sender has a part in.
    #[cfg(test)]
    pub fn exactly(wants: &[LimitRequest]) -> Self {
        Self {
            alone: wants.to_vec(),
            shared: wants.to_vec(),
        }
    }

    /// Limits of a site, as its owner has them and as senders share them.
    #[cfg(test)]
    pub fn of_owner(alone: &[LimitRequest], shared: &[LimitRequest]) -> Self {
        Self {
            alone: alone.to_vec(),
            shared: shared.to_vec(),
        }
    }

    /// The requests of a sender that shares the site with others, or has it from another one, which may have used its limits
    /// until `gone_since`; none: no other sender has had it.
    pub fn of(&self, is_shared: bool, gone_since: Option<DurationMs>) -> Cow<'_, [LimitRequest]> {
        if is_shared {
            return Cow::Borrowed(&self.shared);
        }
        let Some(gone_since) = gone_since else {
            return Cow::Borrowed(&self.alone);
        };
        let wants = self.alone.iter().map(|want| LimitRequest {
            gone_since: match want.is_inherited {
                true => gone_since,
                false => want.gone_since,
            },
            ..want.clone()
        });
        Cow::Owned(wants.collect())
    }

    /// All limits, of whichever keeper: those of a node's own address are not shared.
    fn given(&self) -> impl Iterator<Item = (&LimitId, SharedLimit)> {
        let wants = self.shared.iter();
        wants.map(|want| (&want.id, given(want.limit)))
    }

    /// Limits that are the site's owner's unless the site is shared.
    pub fn by_owner(&self) -> impl Iterator<Item = &LimitId> {
        let both = self.alone.iter().zip(&self.shared);
        both.filter(|(alone, shared)| alone.limit != shared.limit)
            .map(|(_, shared)| &shared.id)
    }
}

/// A limit as policy has it.
fn given(limit: Limit) -> SharedLimit {
    match limit {
        Limit::Shared { limit, .. } => limit,
        Limit::Concurrency(count) => SharedLimit::Connections(count),
        Limit::Rate(rate) => SharedLimit::Rate(rate),
    }
}

/// Whether what is given lets less through than the other limit, which counts the same.
fn is_lower(given: SharedLimit, other: SharedLimit) -> bool {
    pace(given) < pace(other)
}

/// Connections, or events in a thousand seconds.
fn pace(limit: SharedLimit) -> u128 {
    match limit {
        SharedLimit::Connections(count) => count.into(),
        SharedLimit::Rate(rate) => {
            u128::from(rate.count) * 1_000_000 / u128::from(rate.per.0.max(1))
        }
    }
}

/// Limits and manners of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPolicy {
    /// For a connection: how many are open, and how many are opened in a time.
    pub connect: LimitRequests,
    /// For a transaction.
    pub message: LimitRequests,
    pub messages_per_connection: Option<u32>,
    /// Where nobody else says more of TLS.
    pub tls: TlsPolicy,
    timeouts: Given,
    /// Sets tasks apart whose pool or tenant has limits, so that they hold up no others.
    pub label: String,
}

impl PathPolicy {
    /// The policy of a path.
    ///
    /// The limits of IPs, pools and tenants are shared by all senders. Hosts that the operator named are not strangers:
    /// they have the figures of a provider of their name, and not those of `default`.
    pub fn of(policy: &Policy, path: EgressPath<'_>) -> Self {
        let named = policy.provider(path.site);
        let provider: &Provider = named.unwrap_or_else(|| policy.default_provider());
        let is_strange = named.is_some() || !path.is_named;
        let limits = policy.limits(path.pool, path.ip, Some(provider), path.tenant);
        let mut made = Self {
            connect: LimitRequests::default(),
            message: LimitRequests::default(),
            messages_per_connection: None,
            tls: TlsPolicy::Opportunistic,
            timeouts: Given::default(),
            label: String::new(),
        };
        if is_strange {
            made.messages_per_connection =
                provider.messages_per_connection.as_ref().map(|at| at.value);
            made.tls = provider.tls.into();
            made.timeouts = provider.timeouts;
        }
        for limit in &limits.0 {
            let is_of_site = matches!(limit.scope, PolicyScope::IpSite | PolicyScope::Site);
            if is_strange || !is_of_site {
                made.add(limit, path);
            }
        }
        made
    }

    /// Connections at once from one IP to the site; none: as many as the node allows.
    pub fn connections_max(&self) -> Option<u32> {
        let counts = self.connect.given().filter_map(|(id, limit)| match limit {
            SharedLimit::Connections(count) if id.scope == Scope::IpSite => Some(count),
            _ => None,
        });
        counts
            .min()
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The slowest rate of messages.
    pub fn lowest_message_rate(&self) -> Option<Rate> {
        let rates = self.message.given().filter_map(|(id, limit)| match limit {
            SharedLimit::Rate(rate) if id.counts == Counted::Messages => Some(rate),
            _ => None,
        });
        rates.min_by_key(|rate| pace(SharedLimit::Rate(*rate)))
    }

    /// Whether connections may go on that were made under the other one: limits on messages are asked for with each message.
    pub fn is_same_for_connection(&self, other: &Self) -> bool {
        let Self {
            connect,
            message: _,
            messages_per_connection,
            tls,
            timeouts,
            label,
        } = self;
        *connect == other.connect
            && *messages_per_connection == other.messages_per_connection
            && *tls == other.tls
            && *timeouts == other.timeouts
            && *label == other.label
    }

    /// Sets tasks apart that have limits of their own.
    pub fn label_of(path: EgressPath<'_>) -> String {
        format!(" pool {} tenant {}", path.pool, path.tenant)
    }

    fn add(&mut self, limit: &EffectiveLimit, path: EgressPath<'_>) {
        let (scope, key) = match limit.scope {
            PolicyScope::IpSite => (Scope::IpSite, format!("{} {}", path.ip, path.site)),
            PolicyScope::Site => (Scope::Site, path.site.to_owned()),
            PolicyScope::Ip => (Scope::Ip, path.ip.to_owned()),
            PolicyScope::Pool => (Scope::Pool, path.pool.to_owned()),
            PolicyScope::Tenant => (Scope::Tenant, path.tenant.to_owned()),
        };
        if matches!(scope, Scope::Pool | Scope::Tenant) && self.label.is_empty() {
            self.label = Self::label_of(path);
        }
        let (counts, value) = match limit.value {
            LimitValue::Connections(count) => {
                (Counted::Connections, SharedLimit::Connections(count.into()))
            }
            LimitValue::ConnectionRate(given) => {
                (Counted::ConnectionAttempts, SharedLimit::Rate(rate(given)))
            }
            LimitValue::MessageRate(given) => (Counted::Messages, SharedLimit::Rate(rate(given))),
        };
        let wants = match counts {
            Counted::Messages => &mut self.message,
            _ => &mut self.connect,
        };
        let is_alike = |want: &&LimitRequest| want.id.scope == scope && want.id.counts == counts;
        let nth = wants.shared.iter().filter(is_alike).count();
        let is_by_owner = is_by_owner(limit, value);
        let id = LimitId {
            scope,
            key: key.into(),
            counts,
            // A resource has four rates at most.
            nth: u8::try_from(nth).unwrap_or(u8::MAX),
        };
        let is_own = id.is_of_node();
        let shared = LimitRequest {
            id,
            limit: Limit::Shared {
                limit: value,
                is_by_owner,
            },
            is_inherited: is_by_owner && !is_own && is_inherited(limit),
            gone_since: DurationMs(0),
        };
        let alone = LimitRequest {
            limit: match is_by_owner || is_own {
                true => value.alone(),
                false => shared.limit,
            },
            ..shared.clone()
        };
        wants.shared.push(match is_own {
            true => alone.clone(),
            false => shared,
        });
        wants.alone.push(alone);
    }

    /// The node's configuration, where the provider says nothing unusual.
    pub fn timeouts(&self, own: &Timeouts) -> Timeouts {
        let (given, usual) = (self.timeouts, Given::default());
        let pick = |given: DurationMs, usual: DurationMs, own: Duration| match given == usual {
            true => own,
            false => given.into(),
        };
        Timeouts {
            connect: pick(given.connect, usual.connect, own.connect),
            command: pick(given.command, usual.command, own.command),
            data: pick(given.data, usual.data, own.data),
            dot: pick(given.dot, usual.dot, own.dot),
            idle: pick(given.idle, usual.idle, own.idle),
        }
    }
}

/// The limits of a site are one sender's after another's. The built-in figures of `default` are what is usual and not
/// what a host is known to want: the mail of every site would stand still for a minute whenever slots change hands.
fn is_inherited(limit: &EffectiveLimit) -> bool {
    let origin = &limit.origin;
    let is_usual = &*origin.name == DEFAULT_PROVIDER && &*origin.place.source == BUILT_IN_NAME;
    matches!(limit.scope, PolicyScope::IpSite | PolicyScope::Site) && !is_usual
}

/// A site has one owner, mostly, which keeps its limits without asking. Long windows that policy has for a provider are
/// granted by the leader all the same: a day's window need not stay closed for a day after the slot changed hands. Those
/// of `default` are not, because they are on every site there is.
fn is_by_owner(limit: &EffectiveLimit, value: SharedLimit) -> bool {
    let is_of_site = matches!(limit.scope, PolicyScope::IpSite | PolicyScope::Site);
    is_of_site && !(value.is_granted() && &*limit.origin.name != DEFAULT_PROVIDER)
}

/// A rate over more than a day is kept at its pace over a day: senders keep no longer windows.
pub fn rate(given: skein_policy::Rate) -> Rate {
    let per = given.per.clamp(PER_MIN, PER_MAX);
    let count = match given.per > per {
        true => given.most_in(per),
        false => given.count,
    };
    Rate {
        count: count.clamp(1, COUNT_MAX),
        per,
        burst: given.burst,
    }
}

/// The policies of all paths that are in use, made once for each policy.
#[derive(Debug, Default)]
pub struct PathPolicies(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    policy: Option<Arc<Policy>>,
    paths: HashMap<String, Arc<PathPolicy>>,
}

impl PathPolicies {
    pub fn of(&self, policy: &Arc<Policy>, path: EgressPath<'_>) -> Arc<PathPolicy> {
        let EgressPath {
            pool,
            ip,
            site,
            tenant,
            is_named,
        } = path;
        let key = format!("{pool}\0{ip}\0{site}\0{tenant}\0{is_named}");
        let mut made = self.0.lock();
        let is_same = made
            .policy
            .as_ref()
            .is_some_and(|one| Arc::ptr_eq(one, policy));
        if !is_same || made.paths.len() >= PATHS_MAX {
            made.policy = Some(policy.clone());
            made.paths.clear();
        }
        let entry = made.paths.entry(key);
        entry
            .or_insert_with(|| Arc::new(PathPolicy::of(policy, path)))
            .clone()
    }
}

#[cfg(test)]
#[path = "path_policy_tests.rs"]
mod tests;
