use std::net::IpAddr;

use crate::plan::{Host, Plan};
use crate::site::fnv1a;

/// The addresses of a plan in the order to try them: by preference; hosts of equal preference
/// shuffled by the seed (RFC 5321 5.1); a host's addresses shuffled too, the two families taking turns,
/// IPv4 first, so that one broken family costs one attempt and not all.
pub fn order(plan: &Plan, seed: u64) -> Vec<(String, IpAddr)> {
    let mut hosts: Vec<&Host> = plan.hosts.iter().collect();
    hosts.sort_by_key(|host| (host.preference, mix(seed, host.name.as_bytes())));
    hosts
        .into_iter()
        .flat_map(|host| {
            order_addresses(&host.addrs, seed)
                .into_iter()
                .map(|ip| (host.name.clone(), ip))
        })
        .collect()
}

/// The addresses of one host in the order to try them: see [`order`].
pub fn order_addresses(addrs: &[IpAddr], seed: u64) -> Vec<IpAddr> {
    let mut shuffled = addrs.to_vec();
    shuffled.sort_by_key(|ip| match ip {
        IpAddr::V4(v4) => mix(seed, &v4.octets()),
        IpAddr::V6(v6) => mix(seed, &v6.octets()),
    });
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = shuffled.into_iter().partition(IpAddr::is_ipv4);
    let turns = v4.len().max(v6.len());
    (0..turns)
        .flat_map(|turn| [v4.get(turn), v6.get(turn)])
        .flatten()
        .copied()
        .collect()
}

/// A well spread number from a seed and some bytes (the finaliser of SplitMix64 over FNV-1a).
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let mut x = fnv1a(bytes) ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeSet;
    use std::time::Instant;

    use super::*;
    use crate::plan::PlanKind;
    use crate::security::{Security, TlsaAnswer};

    fn plan(hosts: &[(&str, u16, &[&str])]) -> Plan {
        let hosts = hosts.iter().map(|(name, preference, addrs)| Host {
            name: (*name).to_owned(),
            preference: *preference,
            addrs: addrs.iter().map(|a| a.parse().unwrap()).collect(),
            security: Security::Insecure,
            tlsa: TlsaAnswer::NotAsked,
        });
        Plan {
            domain: "d.test".into(),
            kind: PlanKind::Mx,
            security: Security::Insecure,
            hosts: hosts.collect(),
            site: "s".into(),
            expires_at: Instant::now(),
        }
    }

    #[test]
    fn preference_comes_first_and_equals_are_shuffled_by_the_seed() {
        let plan = plan(&[
            ("a.test", 10, &["192.0.2.1"]),
            ("b.test", 10, &["192.0.2.2"]),
            ("c.test", 10, &["192.0.2.3"]),
            ("z.test", 20, &["192.0.2.9"]),
        ]);
        let mut orders = BTreeSet::new();
        for seed in 0..200 {
            let names: Vec<String> = order(&plan, seed)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(names.len(), 4);
            assert_eq!(names[3], "z.test");
            assert_eq!(order(&plan, seed), order(&plan, seed));
            orders.insert(names);
        }
        assert_eq!(
            orders.len(),
            6,
            "every permutation of three equal hosts turns up"
        );
    }

    #[test]
    fn families_take_turns() {
        let plan = plan(&[("a.test", 0, &["2001:db8::1", "2001:db8::2", "192.0.2.1"])]);
        for seed in 0..20 {
            let families: Vec<bool> = order(&plan, seed)
                .iter()
                .map(|(_, ip)| ip.is_ipv4())
                .collect();
            assert_eq!(families, [true, false, false]);
        }
    }
}
