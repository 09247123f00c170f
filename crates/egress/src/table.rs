//! Which source IPs this node holds, and who may connect through them. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::open::Open;
use crate::refused::Refused;
use crate::request::Request;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementState {
    Active,
    /// Nothing new goes out; what is open may end.
    Suspended,
    /// The IP is about to be elsewhere: nothing new goes out, and what is open ends soon.
    Leaving,
}

/// A source IP that is on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The address of one of this node's interfaces. The address that destinations see may differ, behind NAT.
    pub bind: IpAddr,
    /// Grows each time the IP changes hands.
    pub epoch: u64,
    /// None is as many as the node has tunnels.
    pub connections_max: Option<u32>,
    pub state: PlacementState,
}

/// By the name of the IP resource. A node has as many entries as source addresses: hundreds.
pub type Placements = BTreeMap<String, Placement>;

/// What may be connected to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub ip: String,
    pub epoch: u64,
    pub bind: IpAddr,
    pub target: SocketAddr,
    pub timeout: Duration,
}

/// Decides about a request, given what is open. The reason that a sender must know first comes first: that it is wrong about where
/// the IP is, then that it must not use it, then that it has to wait.
///
/// # Errors
/// The first reason against it.
pub fn admit(
    table: &Placements,
    request: &Request,
    open: &Open,
    tunnels_max: u32,
) -> Result<Admitted, Refused> {
    let ip = || request.ip.clone();
    let Some(placement) = table.get(&request.ip) else {
        return Err(Refused::NotHeld { ip: ip() });
    };
    let (asked, held) = (request.epoch, placement.epoch);
    if asked < held {
        return Err(Refused::Stale {
            ip: ip(),
            asked,
            held,
        });
    }
    if asked > held {
        return Err(Refused::Ahead {
            ip: ip(),
            asked,
            held,
        });
    }
    match placement.state {
        PlacementState::Active => {}
        PlacementState::Suspended => return Err(Refused::Suspended { ip: ip() }),
        PlacementState::Leaving => return Err(Refused::Leaving { ip: ip() }),
    }
    let (bind, target) = (placement.bind, request.target.ip());
    if bind.is_ipv4() != target.is_ipv4() {
        return Err(Refused::Family { bind, target });
    }
    if let Some(cap) = placement.connections_max
        && open.of(&request.ip) >= cap
    {
        return Err(Refused::Cap { ip: ip(), cap });
    }
    if open.total() >= tunnels_max {
        return Err(Refused::Full(format!("{tunnels_max} tunnels are open")));
    }
    Ok(Admitted {
        ip: ip(),
        epoch: held,
        bind,
        target: request.target,
        timeout: request.timeout,
    })
}

/// The IPs whose tunnels end: they are here no longer, or not as they were.
pub fn let_go<'a>(before: &'a Placements, after: &Placements) -> Vec<&'a str> {
    let is_kept = |ip: &str, was: &Placement| {
        after
            .get(ip)
            .is_some_and(|is| (is.epoch, is.bind) == (was.epoch, was.bind))
    };
    let gone = before.iter().filter(|(ip, was)| !is_kept(ip, was));
    gone.map(|(ip, _)| ip.as_str()).collect()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
