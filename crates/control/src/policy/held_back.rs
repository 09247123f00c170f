//! What operators and rules hold back at the dispensers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use skein_model::automation::{self, Suspensions, held_by_rules};
use skein_model::meta;
use skein_policy::{DEFAULT_POOL, OWN_ADDRESS, Policy};
use skein_store::Reader;

use super::read;
use crate::clock;

/// What is held back, as of one state of the rows.
#[derive(Debug, Default)]
pub struct HeldBack {
    policy_version: Option<u64>,
    /// The IPs of each pool, as senders name them.
    pools: BTreeMap<String, Vec<IpAddr>>,
}

impl HeldBack {
    /// By operators and by rules.
    pub fn now(&mut self, reader: &Reader) -> Suspensions {
        let by_hand = automation::suspensions(reader);
        let active_actions = automation::active_actions(reader);
        if active_actions.is_empty() {
            return by_hand;
        }
        let version = meta::policy_version(reader);
        if self.policy_version != Some(version) {
            self.policy_version = Some(version);
            if let Some(policy) = read(reader, "rules stay as they are") {
                self.pools = pools(&policy);
            }
        }
        by_hand.with(held_by_rules(&active_actions, &self.pools, clock::now()))
    }
}

/// The IPs of each pool that may be used, as the world sees them.
pub fn pools(policy: &Policy) -> BTreeMap<String, Vec<IpAddr>> {
    let mut pools: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for pool in policy.pools() {
        let members = pool.members.iter();
        let ips = members.filter_map(|member| policy.ip(&member.ip.value));
        let active = ips.filter(|ip| !ip.is_suspended);
        let ips: Vec<IpAddr> = active.map(|ip| ip.public.to_canonical()).collect();
        // A pool without an IP that may be used waits for another reason.
        if !ips.is_empty() {
            pools.insert(pool.name.to_string(), ips);
        }
    }
    if policy.pool(DEFAULT_POOL).is_none() {
        pools.insert(DEFAULT_POOL.to_owned(), vec![OWN_ADDRESS]);
    }
    pools
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::Source;

    use super::*;

    #[test]
    fn pools_have_the_addresses_that_the_world_sees() {
        let text = "kind: ip\nname: a\nbind: 10.0.0.1\npublic: 192.0.2.1\nehlo: a.example.test\n---\nkind: ip\nname: \
                    b\nbind: 192.0.2.2\nehlo: b.example.test\nstate: suspended\n---\nkind: pool\nname: \
                    news\nmembers: [{ip: a}, {ip: b}]\n---\nkind: pool\nname: off\nmembers: [{ip: b}]\n";
        let policy = Policy::parse(&[Source { name: "t", text }]).unwrap();
        let expected = BTreeMap::from([
            ("default".to_owned(), vec![OWN_ADDRESS]),
            ("news".to_owned(), vec!["192.0.2.1".parse().unwrap()]),
        ]);
        assert_eq!(pools(&policy), expected);
    }
}
