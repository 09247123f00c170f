//! Mail that an operator holds back, or gives up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use super::active_action::{ActiveAction, Phase};
use super::command::Subject;
use super::effect::{ActiveActions, Limits, Path};
use super::rule::{Action, Scope};
use super::store::{key, scan};
use crate::rows::{ReadRows, Rows, put_row};
use crate::time::{DurationMs, UnixMs};

/// Each task is compared with all of them.
pub(super) const SUSPENSIONS_MAX: usize = 1_000;
/// Mail is older than any retry policy allows by then.
pub(super) const LASTS_MAX: DurationMs = DurationMs::from_secs(30 * 24 * 3600);
/// RFC 1035 2.3.4; other names are shorter.
const NAME_BYTES_MAX: usize = 255;

const HOLD: u8 = b'H';

/// The mail for which all of this holds that is said here: everything if nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Selector {
    #[n(0)]
    pub tenant: Option<String>,
    /// Of the recipients.
    #[n(1)]
    pub domain: Option<String>,
    #[n(2)]
    pub site: Option<String>,
    #[n(3)]
    pub provider: Option<String>,
    #[n(4)]
    pub pool: Option<String>,
    #[n(5)]
    pub campaign: Option<String>,
}

/// What a selector is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskFacts<'a> {
    pub tenant: &'a str,
    /// In lower case, as [`Domain`](crate::Domain) has it.
    pub domain: &'a str,
    pub site: &'a str,
    pub provider: Option<&'a str>,
    pub pool: &'a str,
    pub campaign: Option<&'a str>,
}

impl Selector {
    /// What is said.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let Self {
            tenant,
            domain,
            site,
            provider,
            pool,
            campaign,
        } = self;
        let names = [tenant, domain, site, provider, pool, campaign];
        names.into_iter().flatten()
    }

    /// Of all mail.
    pub fn is_everything(&self) -> bool {
        self.names().next().is_none()
    }

    /// Nothing is said that is too long.
    pub fn is_valid(&self) -> bool {
        let is_name = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
        self.names().all(is_name)
    }

    /// As rows have it: with the domain in lower case.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let lower = |name: &String| crate::Domain::new(name).as_str().to_owned();
        Self {
            domain: self.domain.as_ref().map(lower),
            ..self.clone()
        }
    }

    pub fn covers(&self, task: &TaskFacts<'_>) -> bool {
        let fits = |wanted: &Option<String>, fact: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == fact
        };
        fits(&self.tenant, Some(task.tenant))
            && fits(&self.domain, Some(task.domain))
            && fits(&self.site, Some(task.site))
            && fits(&self.provider, task.provider)
            && fits(&self.pool, Some(task.pool))
            && fits(&self.campaign, task.campaign)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            ("tenant", &self.tenant),
            ("domain", &self.domain),
            ("site", &self.site),
            ("provider", &self.provider),
            ("pool", &self.pool),
            ("campaign", &self.campaign),
        ];
        if self.is_everything() {
            return f.write_str("everything");
        }
        let said = said.into_iter();
        let said = said.filter_map(|(key, name)| name.as_ref().map(|name| format!("{key} {name}")));
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

/// The value of a row whose key is the selector.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hold {
    #[n(0)]
    pub who: String,
    #[n(1)]
    pub why: String,
    #[n(2)]
    pub from: UnixMs,
    #[n(3)]
    pub until: UnixMs,
    #[n(4)]
    #[cbor(default)]
    pub gives_up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Suspension {
    #[n(0)]
    pub selector: Selector,
    #[n(1)]
    pub who: String,
    #[n(2)]
    pub why: String,
    #[n(3)]
    pub from: UnixMs,
    #[n(4)]
    pub until: UnixMs,
    /// The mail does not wait but goes back to who sent it.
    #[n(5)]
    pub gives_up: bool,
}

impl Suspension {
    pub(super) fn new(selector: Selector, hold: Hold) -> Self {
        Self {
            selector,
            who: hold.who,
            why: hold.why,
            from: hold.from,
            until: hold.until,
            gives_up: hold.gives_up,
        }
    }

    pub(super) fn subject(&self) -> Subject {
        let selector = self.selector.clone();
        match self.gives_up {
            true => Subject::GivenUp(selector),
            false => Subject::ByHand(selector),
        }
    }

    pub fn is_in_force(&self, at: UnixMs) -> bool {
        (self.from..self.until).contains(&at)
    }
}

pub(super) fn all(rows: &(impl ReadRows + ?Sized)) -> Vec<Suspension> {
    let found = scan(rows, HOLD).into_iter();
    found
        .map(|(selector, hold)| Suspension::new(selector, hold))
        .collect()
}

pub(super) fn set<R: Rows>(rows: &mut R, one: &Suspension) {
    let hold = Hold {
        who: one.who.clone(),
        why: one.why.clone(),
        from: one.from,
        until: one.until,
        gives_up: one.gives_up,
    };
    put_row(rows, key(HOLD, &one.selector), &hold);
}

pub(super) fn delete<R: Rows>(rows: &mut R, selector: &Selector) {
    rows.delete(key(HOLD, selector));
}

/// All suspensions as of one state of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Suspensions(#[n(0)] Vec<Suspension>);

pub fn suspensions(rows: &(impl ReadRows + ?Sized)) -> Suspensions {
    Suspensions(all(rows))
}

/// What rules hold back as a whole, so that it need not go to senders to wait there: mail of a tenant or a pool to a
/// site, and of a pool all of whose IPs are stopped there. `pools` are the IPs of each, as senders name them.
///
/// At most as many as there may be suspensions: what is beyond waits at senders.
pub fn held_by_rules(
    active_actions: &ActiveActions,
    pools: &BTreeMap<String, Vec<IpAddr>>,
    now: UnixMs,
) -> Vec<Suspension> {
    let mut held = Vec::new();
    let stops = |force: &ActiveAction| {
        force.phase(now) == Phase::InForce
            && matches!(force.action, Action::Suspend | Action::RestIp)
    };
    let mut sites = BTreeSet::new();
    for (at, force) in active_actions.iter().filter(|(_, force)| stops(force)) {
        let (tenant, pool, site) = match &at.scope {
            Scope::IpSite { site, .. } => {
                sites.insert(site.as_str());
                continue;
            }
            Scope::Tenant { tenant, site } => (Some(tenant), None, site),
            Scope::Pool { pool, site } => (None, Some(pool), site),
        };
        let selector = Selector {
            tenant: tenant.cloned(),
            pool: pool.cloned(),
            site: Some(site.clone()),
            ..Selector::default()
        };
        held.push(by_rule(selector, force));
    }
    for site in sites {
        for (pool, ips) in pools {
            held.extend(whole_pool(active_actions, site, pool, ips, now));
        }
    }
    held.truncate(SUSPENSIONS_MAX);
    held
}

fn by_rule(selector: Selector, force: &ActiveAction) -> Suspension {
    Suspension {
        selector,
        who: String::new(),
        why: force.why.clone(),
        from: force.from,
        until: force.until,
        gives_up: false,
    }
}

/// A pool waits at a site until the first of its IPs may be used there.
fn whole_pool(
    active_actions: &ActiveActions,
    site: &str,
    pool: &str,
    ips: &[IpAddr],
    now: UnixMs,
) -> Option<Suspension> {
    let normal = Limits {
        connections: u32::MAX,
        rate: None,
    };
    let mut first: Option<&ActiveAction> = None;
    for ip in ips {
        let path = Path {
            ip: *ip,
            site,
            tenant: "",
            pool: "",
        };
        let stops = active_actions.effect(&path, now, normal).stops?;
        if first.is_none_or(|first| stops.until < first.until) {
            first = Some(stops);
        }
    }
    let selector = Selector {
        site: Some(site.to_owned()),
        pool: Some(pool.to_owned()),
        ..Selector::default()
    };
    first.map(|force| by_rule(selector, force))
}

impl Suspensions {
    /// These and some more.
    #[must_use]
    pub fn with(mut self, more: Vec<Suspension>) -> Self {
        self.0.extend(more);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The suspension that holds a task at a time, which may be to come: the answer is that of the time that is asked
    /// about, whenever it is asked. Of several, the one that lasts longest. Mail that is given up is not held.
    pub fn is_held(&self, task: &TaskFacts<'_>, at: UnixMs) -> Option<&Suspension> {
        if self.is_given_up(task, at).is_some() {
            return None;
        }
        let holding = self.covering(task, at).filter(|one| !one.gives_up);
        holding.reduce(|longest, one| match one.until > longest.until {
            true => one,
            false => longest,
        })
    }

    fn covering(&self, task: &TaskFacts<'_>, at: UnixMs) -> impl Iterator<Item = &Suspension> {
        let all = self.0.iter();
        all.filter(move |one| one.is_in_force(at) && one.selector.covers(task))
    }

    /// What a task is given up for at a time.
    pub fn is_given_up(&self, task: &TaskFacts<'_>, at: UnixMs) -> Option<&Suspension> {
        self.covering(task, at).find(|one| one.gives_up)
    }

    /// The first time from this one on at which nothing holds the task.
    pub fn free_at(&self, task: &TaskFacts<'_>, from: UnixMs) -> UnixMs {
        let mut at = from;
        // Each holds until a later time, so each is met once at most.
        while let Some(one) = self.is_held(task, at) {
            at = one.until;
        }
        at
    }
}
