//! Which addresses are ours: source IPs that this node has, told to the leader, which places them; and all at which mail
//! would come back to us, told to the resolver.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skein_client::{KeptSession, PlacedIps};
use skein_dns::{OwnAddresses, Resolver};
use skein_policy::Policy;
use tokio::sync::watch;

use crate::source_ip::sources::is_present;

/// Addresses come and go with interfaces; a look binds a socket to each and costs some microseconds.
const LOOK: Duration = Duration::from_secs(2);

/// Looks as long as the session is kept. `egress` is where this node connects out for others.
pub async fn tell(
    mut policy: watch::Receiver<Arc<Policy>>,
    session: Arc<KeptSession>,
    egress: Option<String>,
) {
    loop {
        let wanted = bound(&policy.borrow_and_update());
        let present: BTreeSet<IpAddr> = wanted.into_iter().filter(|ip| is_present(*ip)).collect();
        session.set_addresses(&present, egress.as_deref());
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = policy.changed() => if changed.is_err() { return },
        }
    }
}

/// Addresses that policy has on nodes.
fn bound(policy: &Policy) -> BTreeSet<IpAddr> {
    let on_nodes = policy.ips().filter(|ip| ip.proxy.is_none());
    on_nodes.map(|ip| ip.bind).collect()
}

/// Keeps the resolver informed, as long as the session is kept.
pub async fn follow_own(
    resolver: Arc<Resolver>,
    given: OwnAddresses,
    mut policy: watch::Receiver<Arc<Policy>>,
    session: Arc<KeptSession>,
) {
    let mut placed = session.ips.clone();
    loop {
        let known = own(
            &given,
            interfaces(),
            &policy.borrow_and_update(),
            &placed.borrow_and_update(),
        );
        resolver.set_own_addresses(known);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = policy.changed() => if changed.is_err() { return },
            changed = placed.changed() => if changed.is_err() { return },
        }
    }
}

/// All that is ours: what the node was configured with, and what it knows of the cluster.
pub fn own(
    given: &OwnAddresses,
    interfaces: BTreeSet<IpAddr>,
    policy: &Policy,
    placed: &PlacedIps,
) -> OwnAddresses {
    let of_ips = policy.ips().flat_map(|ip| match ip.proxy {
        None => vec![ip.bind, ip.public],
        // Such an IP binds an address of the proxy's machine.
        Some(_) => vec![ip.public],
    });
    let of_nodes = placed.ips.values().filter_map(|ip| host(&ip.egress));
    let cluster = given.cluster.iter().copied();
    OwnAddresses {
        interfaces,
        cluster: cluster.chain(of_ips).chain(of_nodes).collect(),
        ..given.clone()
    }
}

/// The address in `host:port`; none if the host is a name.
fn host(at: &str) -> Option<IpAddr> {
    let (host, _) = at.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

/// The addresses of this machine; none if the kernel does not tell.
pub fn interfaces() -> BTreeSet<IpAddr> {
    let all = match nix::ifaddrs::getifaddrs() {
        Ok(all) => all,
        Err(error) => {
            tracing::warn!(%error, "the addresses of this machine are not known");
            return BTreeSet::new();
        }
    };
    let addresses = all.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())))
    });
    addresses.collect()
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
