//! Which node has which source IP.
//!
//! Nodes say which addresses they have. The leader decides where each IP is used ([`place`]); the group keeps it, with an
//! epoch that grows each time an IP changes hands. A live holder is asked to let go first, so that an IP is used by one
//! node at a time.
//!
//! | key | value |
//! |---|---|
//! | `l` session | [`Addresses`] |
//! | `o` IP's name | [`Placement`] |
//! | `j` | how often placements have changed |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use super::command::Refusal;
use super::state::{session, sessions};
use crate::id::{Epoch, SessionId, Slot, mix};
use crate::rows::{ReadRows, Rows, load, put_row};

/// More than the kernel's own tables make sense for on one host; the row is read as a whole.
const ADDRESSES_MAX: usize = 4096;
/// As many IPs as policy may have.
const IPS_MAX: usize = 4096;
/// Of an IP's name, and of the place where a node takes connections for others.
const NAME_BYTES_MAX: usize = 255;

const VERSION: &[u8] = b"j";

/// What a session's node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Addresses {
    /// Of its interfaces.
    #[n(0)]
    pub local: BTreeSet<IpAddr>,
    /// `host:port` at which it connects out for other nodes, if it does.
    #[n(1)]
    pub egress: Option<String>,
}

/// Where an IP is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Placement {
    /// [`SessionId::NONE`] while no session may use it.
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub epoch: Epoch,
    /// The holder lives and is asked to let go of the IP, which then goes there, or to none.
    #[n(2)]
    pub moving_to: Option<SessionId>,
}

impl Placement {
    /// Of an IP that was never placed.
    const NOWHERE: Self = Self {
        session: SessionId::NONE,
        epoch: Epoch(0),
        moving_to: None,
    };

    /// Where it is, or is about to be.
    fn target(&self) -> SessionId {
        self.moving_to.unwrap_or(self.session)
    }
}

/// An IP as policy has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub bind: IpAddr,
    /// The node that is to have it; none: any that has the address.
    pub home: Option<String>,
}

fn addresses_key(id: SessionId) -> Vec<u8> {
    [b"l".as_slice(), &id.0.to_be_bytes()].concat()
}

fn placement_key(name: &str) -> Vec<u8> {
    [b"o", name.as_bytes()].concat()
}

/// What the nodes of sessions have that said so.
pub fn addresses(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<SessionId, Addresses> {
    super::state::scan(rows, b"l", SessionId)
}

/// Where each IP is, by its name.
pub fn placements(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, Placement> {
    super::state::scan_names(rows, b"o")
}

/// Grows with every change of a placement.
pub fn placements_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

/// Where IPs are to go that are not where they should be, or to none. An IP stays where it is while that is allowed;
/// else it goes to the node that has the fewest. One that policy does not have any more goes to none.
pub fn place(wanted: &[Wanted], rows: &(impl ReadRows + ?Sized)) -> Vec<(String, SessionId)> {
    let before = placements(rows);
    let live = sessions(rows);
    let has = addresses(rows);
    let mut held: BTreeMap<SessionId, usize> = BTreeMap::new();
    for placement in before.values() {
        *held.entry(placement.target()).or_default() += 1;
    }
    let mut moves = Vec::new();
    for ip in wanted {
        let may_have = |id: &SessionId| {
            let node = live.get(id).filter(|row| !row.retiring);
            let is_home = node.is_some_and(|row| {
                ip.home.is_none() || ip.home.as_deref() == Some(row.sender.as_str())
            });
            is_home && has.get(id).is_some_and(|has| has.local.contains(&ip.bind))
        };
        let now = before
            .get(&ip.name)
            .map_or(SessionId::NONE, Placement::target);
        // One that has just opened says what it has with its first heartbeat.
        let has_not_said = live.contains_key(&now) && !has.contains_key(&now);
        if may_have(&now) || has_not_said {
            continue;
        }
        let able = live.keys().filter(|id| may_have(id));
        // Of those that have equally many, always the same.
        let spread = |id: &SessionId| mix(id.0 ^ (u64::from(Slot::of(&ip.name, 0).0) << 48));
        let to = able.min_by_key(|id| (held.get(id).copied().unwrap_or(0), spread(id)));
        let to = to.copied().unwrap_or(SessionId::NONE);
        if to != now {
            *held.entry(to).or_default() += 1;
            moves.push((ip.name.clone(), to));
        }
    }
    let names: BTreeSet<&str> = wanted.iter().map(|ip| ip.name.as_str()).collect();
    let dropped = before
        .iter()
        .filter(|(name, at)| !names.contains(name.as_str()) && at.target() != SessionId::NONE);
    moves.extend(dropped.map(|(name, _)| (name.clone(), SessionId::NONE)));
    moves
}

pub(super) fn set_addresses<R: Rows>(
    rows: &mut R,
    id: SessionId,
    addresses: &Addresses,
) -> Result<(), Refusal> {
    session(rows, id).ok_or(Refusal::NoSession)?;
    let egress = addresses.egress.as_ref().map_or(0, String::len);
    if addresses.local.len() > ADDRESSES_MAX || egress > NAME_BYTES_MAX {
        return Err(Refusal::TooMany);
    }
    put_row(rows, addresses_key(id), addresses);
    Ok(())
}

/// Takes the leader's decisions. A dead holder's IP changes hands at once, a live holder is asked to let go.
pub(super) fn move_ips<R: Rows>(
    rows: &mut R,
    moves: &[(String, SessionId)],
) -> Result<(), Refusal> {
    let known = placements(rows).len();
    if known + moves.len() > 2 * IPS_MAX || moves.iter().any(|(name, _)| !is_name(name)) {
        return Err(Refusal::TooMany);
    }
    for (name, to) in moves {
        let held = load(rows, &placement_key(name)).unwrap_or(Placement::NOWHERE);
        let next = match session(rows, held.session) {
            // Anew: it may have let go of it already.
            Some(_) if held.session == *to && held.moving_to.is_some() => given(held, *to),
            Some(_) if held.session == *to => continue,
            Some(_) => Placement {
                moving_to: Some(*to),
                ..held
            },
            None => given(held, *to),
        };
        put(rows, name, next);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}

/// A holder has cut every connection of these IPs.
pub(super) fn release_ips<R: Rows>(rows: &mut R, from: SessionId, ips: &[(String, Epoch)]) {
    for (name, epoch) in ips {
        let held: Option<Placement> = load(rows, &placement_key(name));
        let held = held.filter(|held| held.session == from && held.epoch == *epoch);
        if let Some((held, to)) = held.and_then(|held| Some((held, held.moving_to?))) {
            put(rows, name, given(held, to));
        }
    }
}

/// A sender has registered anew: its node has what it had, and lets go of what it was to let go of. No other gets it
/// without that, because the process before may be stopped and not dead.
pub(super) fn inherit<R: Rows>(rows: &mut R, before: SessionId, session: SessionId) {
    for (name, held) in placements(rows) {
        if held.session == before {
            let moving_to = held.moving_to.filter(|to| *to != session);
            let next = Placement {
                moving_to,
                ..given(held, session)
            };
            put(rows, &name, next);
        }
    }
}

/// After sessions have come or gone: what an ended one held is free, or goes where it was to go.
pub(super) fn release_ended_sessions<R: Rows>(rows: &mut R) {
    let live = sessions(rows);
    for id in addresses(rows).into_keys() {
        if !live.contains_key(&id) {
            rows.delete(addresses_key(id));
        }
    }
    for (name, held) in placements(rows) {
        if held.session == SessionId::NONE || live.contains_key(&held.session) {
            continue;
        }
        let to = held.moving_to.filter(|to| live.contains_key(to));
        put(rows, &name, given(held, to.unwrap_or(SessionId::NONE)));
    }
}

/// Of a cluster that is no more: a node that had the IP there has it no more under any epoch of this one.
pub(super) fn raise_epoch<R: Rows>(rows: &mut R, name: &str, epoch: Epoch) {
    let held: Option<Placement> = load(rows, &placement_key(name));
    if held.is_none() && (!is_name(name) || placements(rows).len() >= IPS_MAX) {
        return;
    }
    let held = held.unwrap_or(Placement::NOWHERE);
    if held.epoch <= epoch {
        put(rows, name, given(Placement { epoch, ..held }, held.session));
    }
}

fn given(held: Placement, to: SessionId) -> Placement {
    Placement {
        session: to,
        epoch: Epoch(held.epoch.0.saturating_add(1)),
        moving_to: None,
    }
}

fn put<R: Rows>(rows: &mut R, name: &str, placement: Placement) {
    put_row(rows, placement_key(name), &placement);
    let version = placements_version(rows) + 1;
    put_row(rows, VERSION.to_vec(), &version);
}
