//! Checks of resources against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::built_in;
use crate::draft::Draft;
use crate::ip::{Ip, Proxy};
use crate::nearest::did_you_mean;
use crate::place::{At, Kind, Place};
use crate::read::{Reader, problem};
use crate::route::DEFAULT_POOL;
use crate::warmup::Target;

impl Draft {
    /// `providers`: the names of providers that are there without a resource.
    pub(crate) fn check_names(&mut self, providers: &BTreeSet<Arc<str>>) {
        self.check_pools();
        self.check_routes();
        self.check_tenants();
        self.check_warmups(providers);
        self.check_overflow_ends();
        self.check_addresses();
        self.check_warmed_once();
    }

    fn may_have(&self, kind: Kind, name: &str) -> bool {
        self.is_partial || self.declared.contains_key(&(kind, name.into()))
    }

    /// A problem where a resource is named that is not there.
    fn need(&mut self, kind: Kind, named: &At<String>) {
        let name = &named.value;
        if !self.may_have(kind, name) {
            let of_kind = self.declared.keys().filter(|(other, _)| *other == kind);
            let meant = did_you_mean(name, of_kind.map(|(_, name)| &**name));
            let message = format!("there is no {kind} {name:?}: add it, or name another{meant}");
            self.problems.push(problem(&named.origin, message));
        }
    }

    fn check_pools(&mut self) {
        let pools: Vec<_> = self
            .pools
            .values()
            .map(|pool| Arc::clone(&pool.value))
            .collect();
        for pool in pools {
            for member in &pool.members {
                self.need(Kind::Ip, &member.ip);
            }
            if let Some(overflow) = &pool.overflow {
                self.need(Kind::Pool, overflow);
            }
        }
    }

    fn check_routes(&mut self) {
        let routes: Vec<_> = self
            .routes
            .values()
            .map(|route| Arc::clone(&route.value))
            .collect();
        for route in routes {
            for pool in route.pools() {
                if pool.value != DEFAULT_POOL {
                    self.need(Kind::Pool, pool);
                }
            }
        }
    }

    /// A tenant with pools has no way out of them: neither by its routes nor by their overflows.
    fn check_tenants(&mut self) {
        let tenants: Vec<_> = self
            .tenants
            .values()
            .map(|tenant| Arc::clone(&tenant.value))
            .filter(|tenant| !tenant.pools.is_empty())
            .collect();
        let mut problems = Vec::new();
        for tenant in tenants {
            let name = &tenant.name;
            for pool in &tenant.pools {
                if pool.value != DEFAULT_POOL {
                    self.need(Kind::Pool, pool);
                }
                let found = self.pools.get(pool.value.as_str());
                let overflow = found.and_then(|found| found.value.overflow.as_ref());
                if let Some(overflow) = overflow.filter(|one| !tenant.may_use(&one.value)) {
                    let (pool, overflow) = (&pool.value, &overflow.value);
                    let message = format!(
                        "mail of pool {pool:?} overflows into {overflow:?}, which is none of these: add it, or leave {pool:?} \
                         out"
                    );
                    let at = tenant.pools.iter().find(|one| one.value == *pool);
                    problems.extend(at.map(|at| problem(&at.origin, message)));
                }
            }
            let own = self.routes.values().map(|route| &route.value);
            let own = own.filter(|route| route.tenant.as_deref() == Some(&**name));
            for pool in own.flat_map(|route| route.pools()) {
                if !tenant.may_use(&pool.value) {
                    let message = format!(
                        "{:?} is none of the pools of tenant {name:?}: name one of those, or add it to them",
                        pool.value
                    );
                    problems.push(problem(&pool.origin, message));
                }
            }
        }
        self.problems.append(&mut problems);
    }

    fn check_warmups(&mut self, providers: &BTreeSet<Arc<str>>) {
        let warmups: Vec<_> = self
            .warmups
            .values()
            .map(|warmup| Arc::clone(&warmup.value))
            .collect();
        for warmup in warmups {
            match &warmup.target {
                Target::Ips(ips) => ips.iter().for_each(|ip| self.need(Kind::Ip, ip)),
                Target::Pool(pool) => self.need(Kind::Pool, pool),
            }
            for share in &warmup.shares {
                let name = share.provider.as_str();
                if !providers.contains(name) && !self.may_have(Kind::Provider, name) {
                    let meant = built_in::meant(name);
                    let message =
                        format!("there is no provider {name:?}: add it, or name another{meant}");
                    self.problems.push(problem(&share.origin, message));
                }
            }
        }
    }

    /// Mail that goes from pool to pool comes to an end.
    fn check_overflow_ends(&mut self) {
        let mut ended: BTreeSet<&str> = BTreeSet::new();
        let mut problems = Vec::new();
        for start in self.pools.keys() {
            let mut way: Vec<&str> = Vec::new();
            let mut at: &str = start;
            while let Some((name, pool)) = self.pools.get_key_value(at) {
                if ended.contains(at) {
                    break;
                }
                let Some(overflow) = &pool.value.overflow else {
                    break;
                };
                if let Some(begin) = way.iter().position(|name| *name == at) {
                    let circle = [&way[begin..], &[at]].concat().join(" > ");
                    let message = format!("goes in a circle ({circle}): leave one overflow out");
                    problems.push(problem(&overflow.origin, message));
                    break;
                }
                way.push(name);
                at = &overflow.value;
            }
            ended.extend(way);
        }
        self.problems.append(&mut problems);
    }

    /// An address that the world sees is one IP, and so is an address of a node.
    fn check_addresses(&mut self) {
        let mut public: BTreeMap<IpAddr, (&Ip, &Place)> = BTreeMap::new();
        let mut bound: BTreeMap<(String, IpAddr), &Ip> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut ips: Vec<_> = self.ips.values().collect();
        ips.sort_by_key(|ip| &ip.place);
        for placed in ips {
            let (ip, place) = (placed.value.as_ref(), &placed.place);
            let mut reader = Reader::new(Kind::Ip, &ip.name, place.clone());
            if let Some((other, at)) = public.get(&ip.public) {
                let (name, address) = (&other.name, ip.public);
                let message = format!(
                    "{address} is the public address of ip {name:?} ({at}) as well: leave one out"
                );
                reader.fault(place.line, "public", message);
            } else if let Some(other) = bound.get(&(location(ip), ip.bind)) {
                let (name, address) = (&other.name, ip.bind);
                let message = format!(
                    "{address} is bound by ip {name:?} at the same place: leave one out, or give each its home"
                );
                reader.fault(place.line, "bind", message);
            }
            problems.append(&mut reader.problems);
            public.entry(ip.public).or_insert((ip, place));
            bound.entry((location(ip), ip.bind)).or_insert(ip);
        }
        self.problems.append(&mut problems);
    }

    /// An IP has one budget.
    fn check_warmed_once(&mut self) {
        let mut warmed: BTreeMap<&str, (&str, &Place)> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut warmups: Vec<_> = self.warmups.values().collect();
        warmups.sort_by_key(|warmup| &warmup.place);
        for placed in warmups {
            let named: Vec<(&str, &At<String>)> = match &placed.value.target {
                Target::Ips(ips) => ips.iter().map(|ip| (ip.value.as_str(), ip)).collect(),
                Target::Pool(pool) => {
                    let found = self.pools.get(pool.value.as_str());
                    let members = found.iter().flat_map(|found| &found.value.members);
                    members
                        .map(|member| (member.ip.value.as_str(), pool))
                        .collect()
                }
            };
            for (ip, named) in named {
                if let Some((name, place)) = warmed.get(ip) {
                    let message = format!(
                        "ip {ip:?} is warmed up by {name:?} ({place}) already: leave it out of one"
                    );
                    problems.push(problem(&named.origin, message));
                    continue;
                }
                warmed.insert(ip, (&placed.value.name, &placed.place));
            }
        }
        self.problems.append(&mut problems);
    }
}

/// The node or proxy that an address is at; empty for whichever node has it.
fn location(ip: &Ip) -> String {
    match &ip.proxy {
        Some(Proxy::Socks5 { server, .. } | Proxy::Haproxy { server }) => format!("proxy {server}"),
        None => ip.home.clone().unwrap_or_default(),
    }
}
