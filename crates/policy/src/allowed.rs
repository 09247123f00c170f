//! What the limits of a site let all senders do together.

use std::collections::BTreeSet;

use skein_model::DurationMs;
use skein_model::meta::Allowed;

use crate::explain::{LimitValue, Scope};
use crate::policy::Policy;

const HOUR: DurationMs = DurationMs::from_secs(3600);

impl Policy {
    /// For mail of these pools. The IPs of a pool add up to what the pool and the site let through. Mail of a pool that no
    /// resource has goes from the senders' own addresses, of which each has the limits of an IP: only those of the site
    /// bind them together. Limits of tenants are left out: a site has mail of several.
    pub fn allowed_at<'p>(&self, site: &str, pools: impl IntoIterator<Item = &'p str>) -> Allowed {
        let provider = self.provider(site).map(AsRef::as_ref);
        let of = |pool: &str, ip: &str, scopes: &[Scope]| {
            let limits = self.limits(pool, ip, provider, "");
            let limits = limits.0.iter();
            let bound = limits.filter(|limit| scopes.contains(&limit.scope));
            bound.fold(Allowed::default(), |all, limit| {
                least(all, value(limit.value))
            })
        };
        let mut through_pools = Some(Allowed::NOTHING);
        for pool in pools.into_iter().collect::<BTreeSet<_>>() {
            let members = self.pool(pool).map(|known| known.members.iter());
            let through_pool = members.map(|members| {
                let ips =
                    members.map(|member| of(pool, &member.ip.value, &[Scope::IpSite, Scope::Ip]));
                let ips = ips.fold(Allowed::NOTHING, sum);
                least(ips, of(pool, "", &[Scope::Pool]))
            });
            through_pools = through_pools
                .zip(through_pool)
                .map(|(all, one)| sum(all, one));
        }
        least(
            through_pools.unwrap_or_default(),
            of("", "", &[Scope::Site]),
        )
    }
}

fn value(limit: LimitValue) -> Allowed {
    match limit {
        LimitValue::Connections(count) => Allowed {
            connections: Some(count.into()),
            ..Allowed::default()
        },
        LimitValue::MessageRate(rate) => Allowed {
            messages_per_hour: Some(rate.most_in(HOUR).max(1)),
            ..Allowed::default()
        },
        LimitValue::ConnectionRate(_) => Allowed::default(),
    }
}

fn least(one: Allowed, other: Allowed) -> Allowed {
    let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    Allowed {
        connections: least(one.connections, other.connections),
        messages_per_hour: least(one.messages_per_hour, other.messages_per_hour),
    }
}

fn sum(one: Allowed, other: Allowed) -> Allowed {
    let sum = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
    Allowed {
        connections: sum(one.connections, other.connections),
        messages_per_hour: sum(one.messages_per_hour, other.messages_per_hour),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Source;

    const POLICY: &str = "\
kind: ip
name: a
bind: 192.0.2.1
ehlo: a.example.test
limits: {message_rate: 100/h}
---
kind: ip
name: b
bind: 192.0.2.2
ehlo: b.example.test
---
kind: pool
name: one
members: [{ip: a}]
---
kind: pool
name: both
members: [{ip: a}, {ip: b}]
limits: {connections: 5}
---
kind: provider
name: big
domains: [big.test]
per_ip: {connections: 4, message_rate: 1/s}
---
kind: provider
name: narrow
domains: [narrow.test]
per_ip: {connections: 2, message_rate: 5/day}
total: {connections: 2, message_rate: 10/day}
";

    #[test]
    fn ips_add_up_to_what_pool_and_site_let_through() {
        let source = Source {
            name: "file",
            text: POLICY,
        };
        let policy = Policy::parse(&[source]).unwrap();
        for (site, pools, connections, per_hour) in [
            ("big", &["one"][..], Some(4), Some(100)),
            ("big", &["both"], Some(5), Some(3700)),
            ("big", &["both", "one", "one"], Some(9), Some(3800)),
            ("big", &["both", "of-nobody"], None, None),
            ("big", &[], Some(0), Some(0)),
            ("narrow", &["both"], Some(2), Some(1)),
            ("narrow", &["of-nobody"], Some(2), Some(1)),
        ] {
            let allowed = policy.allowed_at(site, pools.iter().copied());
            let found = (allowed.connections, allowed.messages_per_hour);
            assert_eq!(found, (connections, per_hour), "{site} {pools:?}");
        }
    }
}
