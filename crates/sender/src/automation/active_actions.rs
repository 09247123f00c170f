//! The actions that rules have in force, at the places where this sender goes by them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use skein_client::{KnownActions, LeasedTask};
use skein_mail::trace::rfc5322_date;
use skein_model::automation::{self, Action, Effect, Limits, Path, Rate, Scope as ActionScope};
use skein_model::throttle::{self, COUNT_MAX, Counted, LimitId, PER_MAX, PER_MIN, SharedLimit};
use skein_model::{DurationMs, Reply, UnixMs};
use skein_policy::{Ip, OWN_ADDRESS, Policy};
use tokio::sync::watch;

use crate::limits::path_policy::{EgressPath, PathPolicy};

/// Tells the limit of a rule apart from those of resources, which have four at most.
const NTH: u8 = 200;
/// Connections climb back to this number where nothing else limits them.
const CONNECTIONS_NORMAL: u32 = 20;

/// Where a task would go.
#[derive(Debug, Clone, Copy)]
pub struct Going<'a> {
    pub site: &'a str,
    pub tenant: &'a str,
    pub pool: &'a str,
}

/// A task that an operator suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspended {
    /// Its group hands it out again when it is not held back any more.
    HeldBack,
    GivenUp(Reply),
}

/// What rules on replies do to mail that goes somewhere from an IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restraint {
    /// The IP is not used for it.
    Stopped(Stopped),
    /// The mail is given up with this reply.
    Bounced(Reply),
}

/// An IP must not be used for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub left: DurationMs,
    /// Until when and why, for people.
    pub text: String,
}

/// The latest that is known here, by site.
#[derive(Debug, Default)]
struct Here {
    known: Arc<KnownActions>,
    /// When the latest of a site began.
    began: HashMap<String, UnixMs>,
    /// When the latest IP began to rest, which is at all sites.
    rests: UnixMs,
}

impl Here {
    /// What rules do to mail that goes there from this IP, and the time by which they do; none: nothing.
    fn effect(&self, ip: Option<&Ip>, going: Going<'_>) -> Option<(Effect<'_>, UnixMs)> {
        let (actions, now) = (&self.known.active_actions, self.known.now());
        let is_any = !actions.is_empty();
        is_any.then(|| (actions.effect(&path(ip, going), now, NORMAL), now))
    }

    fn of(known: Arc<KnownActions>) -> Self {
        let (mut began, mut rests) = (HashMap::new(), UnixMs(0));
        for (at, active) in known.active_actions.iter() {
            let entry: &mut UnixMs = began.entry(site_of(&at.scope).to_owned()).or_default();
            *entry = active.from.max(*entry);
            if active.action == Action::RestIp {
                rests = active.from.max(rests);
            }
        }
        Self {
            known,
            began,
            rests,
        }
    }
}

fn site_of(scope: &ActionScope) -> &str {
    match scope {
        ActionScope::IpSite { site, .. }
        | ActionScope::Tenant { site, .. }
        | ActionScope::Pool { site, .. } => site,
    }
}

/// How automation names the address that mail goes from.
pub fn address_of(ip: Option<&Ip>) -> IpAddr {
    ip.map_or(OWN_ADDRESS, |ip| ip.public.to_canonical())
}

/// Sites whose mail goes otherwise than usual.
#[derive(Debug, Default)]
pub struct AffectedSites {
    names: HashSet<String>,
    all: bool,
}

impl AffectedSites {
    pub fn has(&self, site: &str) -> bool {
        self.all || self.names.contains(site)
    }
}

pub struct ActionsHere {
    known: watch::Receiver<Arc<KnownActions>>,
    here: RwLock<Arc<Here>>,
}

impl ActionsHere {
    pub fn new(known: watch::Receiver<Arc<KnownActions>>) -> Self {
        let here = RwLock::new(Arc::new(Here::of(known.borrow().clone())));
        Self { known, here }
    }

    pub fn changes(&self) -> watch::Receiver<Arc<KnownActions>> {
        self.known.clone()
    }

    /// Sites that something is in force at; all, if an IP rests.
    pub fn sites(&self) -> AffectedSites {
        let here = self.here();
        AffectedSites {
            names: here.began.keys().cloned().collect(),
            all: here.rests > UnixMs(0) || !here.known.suspensions.is_empty(),
        }
    }

    /// The group's time, which comes with each session.
    pub fn now(&self) -> UnixMs {
        self.known.borrow().now()
    }

    fn here(&self) -> Arc<Here> {
        let now = self.known.borrow().clone();
        let here = self.here.read().clone();
        if Arc::ptr_eq(&here.known, &now) {
            return here;
        }
        let here = Arc::new(Here::of(now));
        *self.here.write() = here.clone();
        here
    }

    /// When the latest began that is about a site. Connections from before it end with what they are at.
    pub fn latest_of(&self, site: &str) -> UnixMs {
        let here = self.here();
        let began = here.began.get(site).copied();
        began.unwrap_or_default().max(here.rests)
    }

    /// What is done to mail that goes there from an IP; none: the node's own address.
    pub fn restraint(&self, ip: Option<&Ip>, going: Going<'_>) -> Option<Restraint> {
        let here = self.here();
        let (effect, now) = here.effect(ip, going)?;
        if let Some(active) = effect.stops {
            let (what, until) = (active.action, rfc5322_date(active.until.0));
            let site = going.site;
            let text = match what {
                Action::RestIp => format!("rests until {until}: {}", active.why),
                _ => format!("is suspended at {site} until {until}: {}", active.why),
            };
            let left = active.until.since(now).max(DurationMs(1));
            return Some(Restraint::Stopped(Stopped { left, text }));
        }
        let active = effect.bounces?;
        let until = rfc5322_date(active.until.0);
        let text = format!(
            "mail to {} is given up until {until}, after this reply to other mail: {}",
            going.site, active.why
        );
        let reply = Reply::ours((5, 7, 1), text).bounded();
        Some(Restraint::Bounced(reply))
    }

    /// Whether an operator suspended a task.
    pub fn suspended(&self, task: &LeasedTask) -> Option<Suspended> {
        let here = self.here();
        let suspensions = &here.known.suspensions;
        if suspensions.is_empty() {
            return None;
        }
        let (now, facts) = (here.known.now(), task.task.facts(&task.message.envelope));
        if let Some(one) = suspensions.is_given_up(&facts, now) {
            let text = format!("given up by an operator: {}", one.why);
            return Some(Suspended::GivenUp(Reply::ours((5, 7, 1), text).bounded()));
        }
        suspensions
            .is_held(&facts, now)
            .map(|_| Suspended::HeldBack)
    }

    /// The policy of a path with the limits that rules have lowered.
    pub fn lowered(
        &self,
        path_policy: Arc<PathPolicy>,
        policy: &Policy,
        path: EgressPath<'_>,
    ) -> Arc<PathPolicy> {
        let here = self.here();
        if !here.began.contains_key(path.site) && here.rests == UnixMs(0) {
            return path_policy;
        }
        let ip = policy.ip(path.ip).map(Arc::as_ref);
        let mut lowered = path_policy.as_ref().clone();
        let site = path.site.to_owned();
        let scopes = [
            (
                ActionScope::IpSite {
                    ip: address_of(ip),
                    site: site.clone(),
                },
                throttle::Scope::IpSite,
                path.ip,
            ),
            (
                ActionScope::Tenant {
                    tenant: path.tenant.to_owned(),
                    site: site.clone(),
                },
                throttle::Scope::Tenant,
                path.tenant,
            ),
            (
                ActionScope::Pool {
                    pool: path.pool.to_owned(),
                    site,
                },
                throttle::Scope::Pool,
                path.pool,
            ),
        ];
        let now = here.known.now();
        for (at, scope, name) in scopes {
            let normal = Limits {
                connections: path_policy.connections_max().unwrap_or(CONNECTIONS_NORMAL),
                rate: path_policy.lowest_message_rate().map(read_rate),
            };
            let limits = here.known.active_actions.limits_at(&at, now, normal);
            let key: Arc<str> = format!("{name} {}", path.site).into();
            let id = |counts, nth| LimitId {
                scope,
                key: key.clone(),
                counts,
                nth,
            };
            if limits.connections < normal.connections {
                let limit = SharedLimit::Connections(limits.connections.into());
                // In place of the one that counts the same, so that what is out counts on.
                lowered.connect.lower(id(Counted::Connections, 0), limit);
            }
            if limits.rate != normal.rate
                && let Some(rate) = limits.rate
            {
                let limit = SharedLimit::Rate(write_rate(rate));
                lowered.message.lower(id(Counted::Messages, NTH), limit);
            }
            let is_lower = limits != normal;
            if is_lower && scope != throttle::Scope::IpSite && lowered.label.is_empty() {
                lowered.label = PathPolicy::label_of(path);
            }
        }
        Arc::new(lowered)
    }
}

/// The question is only whether mail goes at all.
const NORMAL: Limits = Limits {
    connections: u32::MAX,
    rate: None,
};

fn path<'a>(ip: Option<&Ip>, going: Going<'a>) -> Path<'a> {
    Path {
        ip: address_of(ip),
        site: going.site,
        tenant: going.tenant,
        pool: going.pool,
    }
}

fn read_rate(rate: throttle::Rate) -> Rate {
    Rate {
        count: u32::try_from(rate.count).unwrap_or(u32::MAX),
        per: rate.per,
    }
}

fn write_rate(rate: automation::Rate) -> throttle::Rate {
    throttle::Rate {
        count: u64::from(rate.count).clamp(1, COUNT_MAX),
        per: rate.per.clamp(PER_MIN, PER_MAX),
        burst: None,
    }
}

#[cfg(test)]
#[path = "active_actions_tests.rs"]
mod tests;
