//! What the rules that are in force mean for one way that mail may take.

use std::collections::BTreeMap;
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use super::active_action::{self, ActiveAction, Phase, STEPS};
use super::rule::{Action, Rate, RuleAt, Scope};
use crate::rows::ReadRows;
use crate::time::UnixMs;

/// Limits when nothing is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub connections: u32,
    pub rate: Option<Rate>,
}

/// Mail to a site through an IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    pub ip: IpAddr,
    pub site: &'a str,
    pub tenant: &'a str,
    pub pool: &'a str,
}

/// What applies to a path: of everything that is in force, the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect<'a> {
    /// Mail waits, at least so long.
    pub suspended_until: Option<UnixMs>,
    /// Mail goes through other IPs of the pool, at least so long.
    pub rests_until: Option<UnixMs>,
    /// What suspends or rests it for the longest time.
    pub stops: Option<&'a ActiveAction>,
    /// Mail is given up, for the reason that is said here.
    pub bounces: Option<&'a ActiveAction>,
    pub limits: Limits,
}

/// What rules have done, as of one state of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ActiveActions(#[n(0)] BTreeMap<RuleAt, ActiveAction>);

pub fn active_actions(rows: &(impl ReadRows + ?Sized)) -> ActiveActions {
    ActiveActions(active_action::all(rows))
}

impl ActiveActions {
    fn of_scope(&self, scope: Scope) -> impl Iterator<Item = &ActiveAction> {
        let first = RuleAt {
            scope,
            provider: String::new(),
            rule: 0,
        };
        let scope = first.scope.clone();
        let all = self.0.range(first..);
        all.take_while(move |(at, _)| at.scope == scope)
            .map(|(_, force)| force)
    }

    /// An IP rests at all sites.
    fn rests_elsewhere(&self, path: &Path<'_>) -> impl Iterator<Item = &ActiveAction> {
        let (ip, site) = (path.ip.to_canonical(), path.site.to_owned());
        let first = RuleAt {
            scope: Scope::IpSite {
                ip,
                site: String::new(),
            },
            provider: String::new(),
            rule: 0,
        };
        let of_ip = self.0.range(first..).map_while(move |(at, force)| {
            let Scope::IpSite { ip: of, site } = &at.scope else {
                return None;
            };
            (*of == ip).then_some((site, force))
        });
        let elsewhere = of_ip.filter(move |(at, _)| **at != site);
        let elsewhere = elsewhere.map(|(_, force)| force);
        elsewhere.filter(|force| force.action == Action::RestIp)
    }

    /// What applies of one scope alone.
    pub fn limits_at(&self, scope: &Scope, now: UnixMs, normal: Limits) -> Limits {
        let mut effect = Effect::none(normal);
        for force in self.of_scope(scope.clone()) {
            match force.phase(now) {
                Phase::InForce => effect.add(force),
                Phase::Climbing(step) => effect.climb(force.action, step, normal),
                Phase::Over => {}
            }
        }
        effect.limits
    }

    pub fn iter(&self) -> impl Iterator<Item = (&RuleAt, &ActiveAction)> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What applies at a time, given the limits that apply without rules.
    pub fn effect(&self, path: &Path<'_>, now: UnixMs, normal: Limits) -> Effect<'_> {
        let mut effect = Effect::none(normal);
        let site = || path.site.to_owned();
        let scopes = [
            Scope::IpSite {
                ip: path.ip.to_canonical(),
                site: site(),
            },
            Scope::Tenant {
                tenant: path.tenant.to_owned(),
                site: site(),
            },
            Scope::Pool {
                pool: path.pool.to_owned(),
                site: site(),
            },
        ];
        let of_scopes = scopes.into_iter().flat_map(|scope| self.of_scope(scope));
        for force in of_scopes.chain(self.rests_elsewhere(path)) {
            match force.phase(now) {
                Phase::InForce => effect.add(force),
                Phase::Climbing(step) => effect.climb(force.action, step, normal),
                Phase::Over => {}
            }
        }
        effect
    }
}

impl<'a> Effect<'a> {
    fn none(normal: Limits) -> Self {
        Self {
            suspended_until: None,
            rests_until: None,
            stops: None,
            bounces: None,
            limits: normal,
        }
    }

    fn add(&mut self, force: &'a ActiveAction) {
        let is_longer = self.stops.is_none_or(|stops| force.until > stops.until);
        if is_longer && matches!(force.action, Action::Suspend | Action::RestIp) {
            self.stops = Some(force);
        }
        match force.action {
            Action::Suspend => self.suspended_until = self.suspended_until.max(Some(force.until)),
            Action::RestIp => self.rests_until = self.rests_until.max(Some(force.until)),
            Action::Bounce => self.bounces = self.bounces.or(Some(force)),
            Action::Rate(rate) => self.limit_rate(rate),
            Action::Connections(count) => self.limit_connections(count),
        }
    }

    /// The limit grows by a tenth of the way with each step, and by 1 at least. What was stopped begins with 1 connection.
    fn climb(&mut self, action: Action, step: u8, normal: Limits) {
        match action {
            Action::Bounce => {}
            Action::Suspend | Action::RestIp => {
                self.limit_connections(climbed(1, normal.connections, step - 1));
            }
            Action::Connections(count) => {
                self.limit_connections(climbed(count, normal.connections, step));
            }
            Action::Rate(low) => {
                let count = match normal.rate {
                    // A normal rate that is below the low one applies by itself.
                    Some(normal) => {
                        let top = in_time_of(low, normal).max(low.count);
                        climbed(low.count, top, step)
                    }
                    // There is nothing to climb to, so each step adds what there was.
                    None => low.count.saturating_mul(u32::from(step) + 1),
                };
                self.limit_rate(Rate { count, ..low });
            }
        }
    }

    fn limit_connections(&mut self, count: u32) {
        self.limits.connections = self.limits.connections.min(count);
    }

    fn limit_rate(&mut self, rate: Rate) {
        if self.limits.rate.is_none_or(|known| rate.is_below(known)) {
            self.limits.rate = Some(rate);
        }
    }
}

fn climbed(low: u32, normal: u32, step: u8) -> u32 {
    let way = u64::from(normal.saturating_sub(low));
    let part = (way * u64::from(step)).div_ceil(u64::from(STEPS));
    let risen = u64::from(low) + part.max(u64::from(step));
    u32::try_from(risen).unwrap_or(u32::MAX).min(normal)
}

/// How many of a rate go in the time of another, rounded down.
fn in_time_of(other: Rate, rate: Rate) -> u32 {
    let count = u128::from(rate.count) * u128::from(other.per.0) / u128::from(rate.per.0.max(1));
    u32::try_from(count).unwrap_or(u32::MAX)
}
