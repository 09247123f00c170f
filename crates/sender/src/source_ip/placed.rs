//! Where source IPs are, and what that means for this node. Pure.

use std::time::Duration;

use skein_client::{PlacedIp, PlacedIps};
use skein_egress::{Placement, PlacementState, Placements};
use skein_model::SessionId;
use skein_model::lease::{GRACE, LEASE};
use skein_policy::{Ip, Policy};

/// A transaction that has not come to its final dot by then goes from another IP. Most take less than a second.
const GIVE_UP: Duration = Duration::from_secs(10);
/// A host that has the final dot and does not answer is waited for as long as a drain waits: a cut would send the message
/// twice.
const CUT: Duration = Duration::from_secs(120);
/// A process of the same name before this one may be stopped and not dead: its lease has ended by then.
pub const INHERITED: Duration = Duration::from_millis(LEASE.0 + GRACE.0);

/// How an IP is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach<'a> {
    /// The IP is this node's.
    Here { epoch: u64 },
    /// Through a node that takes connections for others at this `host:port`.
    There { epoch: u64, egress: &'a str },
    /// Through a proxy, which every node may use.
    Proxy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    NoSession,
    Unplaced,
    Leaving,
    /// The node that has it takes no connections for others.
    Closed {
        node: String,
    },
}

impl Reach<'_> {
    /// 0 for one that has none.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Here { epoch } | Self::There { epoch, .. } => *epoch,
            Self::Proxy => 0,
        }
    }
}

/// How an IP stands, for the choice among a pool's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// 0 for one behind a proxy.
    pub epoch: u64,
    /// This process binds it.
    pub is_here: bool,
}

/// An IP that cannot be used, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub why: Unreached,
    pub again: Duration,
}

/// How a session may use an IP.
pub fn reach<'a>(
    own: Option<SessionId>,
    placed: &'a PlacedIps,
    ip: &Ip,
) -> Result<Reach<'a>, Unreached> {
    if ip.proxy.is_some() {
        return Ok(Reach::Proxy);
    }
    let Some(own) = own else {
        return Err(Unreached::NoSession);
    };
    let Some(at) = placed.ips.get(&*ip.name) else {
        return Err(Unreached::Unplaced);
    };
    if at.is_leaving {
        return Err(Unreached::Leaving);
    }
    let epoch = at.epoch;
    match at.egress.as_str() {
        _ if at.session == own.0 => Ok(Reach::Here { epoch }),
        "" => Err(Unreached::Closed {
            node: at.node.clone(),
        }),
        egress => Ok(Reach::There { epoch, egress }),
    }
}

/// The IPs that a node holds for its own sender and for others, without those that have been leaving for too long.
pub fn held(
    own: Option<SessionId>,
    placed: &PlacedIps,
    policy: &Policy,
    stage: &dyn Fn(&PlacedIp, &Ip) -> Stage,
) -> Placements {
    let own = placed
        .ips
        .values()
        .filter(|at| own.is_some_and(|own| own.0 == at.session));
    let held = own.filter_map(|at| {
        let ip = policy.ip(&at.name).filter(|ip| ip.proxy.is_none())?;
        let state = match stage(at, ip) {
            Stage::Cut => return None,
            Stage::Leaving | Stage::GivenUp => PlacementState::Leaving,
            Stage::IpConnections if ip.is_suspended => PlacementState::Suspended,
            Stage::IpConnections => PlacementState::Active,
        };
        let placement = Placement {
            bind: ip.bind,
            epoch: at.epoch,
            connections_max: ip.limits.connections.as_ref().map(|at| at.value),
            state,
        };
        Some((at.name.clone(), placement))
    });
    held.collect()
}

/// What may still be done with connections from an IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    IpConnections,
    /// No further transaction is begun.
    Leaving,
    /// Only what has passed its final dot goes on.
    GivenUp,
    Cut,
}

/// Of an IP that has been leaving for so long; none: it does not leave. Where the node does not have the address any more,
/// no answer comes to what is open.
pub fn stage(leaving_for: Option<Duration>, is_present: bool) -> Stage {
    let cut = if is_present { CUT } else { GIVE_UP };
    match leaving_for {
        None => Stage::IpConnections,
        Some(time) if time >= cut => Stage::Cut,
        Some(time) if time >= GIVE_UP => Stage::GivenUp,
        Some(_) => Stage::Leaving,
    }
}

#[cfg(test)]
#[path = "placed_tests.rs"]
mod tests;
