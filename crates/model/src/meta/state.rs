//! Commands and rows of the meta group.
//!
//! | key | value |
//! |---|---|
//! | `n` session | [`SessionRow`] |
//! | `a` slot | [`Assignment`] |
//! | `c` | [`ClusterRow`](super::ClusterRow) |
//! | `g` control node | [`NodeRow`](super::NodeRow) |
//! | `r` control node | nothing: it was removed |
//! | `i` address | nothing: a node may join from there |
//! | `d` sender's name | nothing: an operator drained it |
//! | `v` | how often assignments have changed |
//! | `w` tenant | its weight |
//! | `u` | how often weights have changed |
//! | `f` site | its [`Fan`] |
//! | `y` kind/name | the text of a resource |
//! | `k` | how often resources have changed |
//! | `z` | the group's time |
//!
//! Rows of [`ips`](super::ips) and of [`automation`] are beside these.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::assign::assign;
use super::fan::{self, Fan};
use super::import::{self, Import};
use super::ips::{self, Addresses};
use super::members::{self, ClusterRow, Join};
use super::policy;
use super::tenants;
use crate::automation;
use crate::codec;
use crate::id::{Epoch, NodeId, SessionId, Slot};
use crate::rows::{ReadRows, Rows};
use crate::time::UnixMs;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    /// A sender registers. A session that the same sender held before ends, since one process holds one.
    OpenSession {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        sender: String,
        /// Grows with each attempt of a sender to register: an earlier one that arrives late must not end the session
        /// that a later one opened.
        #[n(2)]
        order: u64,
    },
    #[n(1)]
    CloseSession(#[n(0)] SessionId),
    /// A session has stopped working on slots that were to move.
    #[n(2)]
    Release {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        slots: Vec<(Slot, Epoch)>,
    },
    /// Whether a session reaches what it needs to own slots.
    #[n(3)]
    SetFit {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        fit: bool,
    },
    /// The sender is about to stop: its slots move, and the session lasts until its last results are in.
    #[n(4)]
    Retire(#[n(0)] SessionId),
    /// An operator takes a sender out of service, or back. Holds for all later sessions of that name.
    #[n(5)]
    SetDrained {
        #[n(0)]
        sender: String,
        #[n(1)]
        drained: bool,
    },
    /// An operator moves a slot to another session.
    #[n(6)]
    MoveSlot {
        #[n(0)]
        slot: Slot,
        #[n(1)]
        to: SessionId,
    },
    /// The cluster is made. Counts once.
    #[n(7)]
    Found {
        #[n(0)]
        cluster: ClusterRow,
        #[n(1)]
        nodes: Vec<(NodeId, String)>,
    },
    /// A control node says where it is.
    #[n(8)]
    Join(#[n(0)] Join),
    /// An operator lets a node join that comes from this address.
    #[n(9)]
    Invite(#[n(0)] String),
    #[n(10)]
    RemoveNode(#[n(0)] NodeId),
    /// An operator gives a tenant its share.
    #[n(11)]
    SetWeight {
        #[n(0)]
        tenant: String,
        #[n(1)]
        weight: u32,
    },
    /// Spreads a site over so many slots; none takes an operator's word back.
    #[n(12)]
    SetFan {
        #[n(0)]
        site: String,
        #[n(1)]
        fan: Option<Fan>,
    },
    /// An operator does not expect a node from this address any more.
    #[n(13)]
    Withdraw(#[n(0)] String),
    /// An operator changes the policy: all of this or nothing.
    #[n(14)]
    SetPolicy {
        /// The version that the change was made for; none changes any.
        #[n(0)]
        base: Option<u64>,
        /// Resources by `kind/name`.
        #[n(1)]
        put: Vec<(String, String)>,
        #[n(2)]
        delete: Vec<String>,
    },
    /// An operator holds mail back or lets it go, or time went on.
    #[n(15)]
    Automation(#[n(0)] Box<automation::Command>),
    /// Takes over what a backup holds. May be repeated.
    #[n(16)]
    Import(#[n(0)] Import),
    /// A session says what its node has.
    #[n(17)]
    SetAddresses {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        addresses: Addresses,
    },
    /// Where source IPs are to go, as the leader decided ([`place`](super::place)).
    #[n(18)]
    MoveIps(#[n(0)] Vec<(String, SessionId)>),
    /// A session has cut every connection of source IPs that were to leave.
    #[n(19)]
    ReleaseIps {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        ips: Vec<(String, Epoch)>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    #[n(0)]
    Done,
    #[n(1)]
    Refused(#[n(0)] Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    #[n(0)]
    #[error("no sender of this name has a session")]
    NoSession,
    #[n(1)]
    #[error("the cluster is not made yet")]
    NotFounded,
    #[n(2)]
    #[error(
        "this node was removed from the cluster; it may join as a new one with an empty data directory"
    )]
    Removed,
    #[n(3)]
    #[error("nobody expects a node at this address: it is none that the cluster was made with")]
    NotInvited,
    #[n(4)]
    #[error("the cluster has another number of spool groups; set cluster.spool_groups to it")]
    OtherGroups,
    #[n(5)]
    #[error("no such node is a member")]
    NoNode,
    #[n(6)]
    #[error("the last node cannot be removed")]
    LastNode,
    #[n(7)]
    #[error(
        "a weight is from 1 to 100, and a tenant's name has up to 64 letters, digits, dots, - and _"
    )]
    BadWeight,
    #[n(8)]
    #[error("a fan is from 1 to 64, and a site's name has up to 255 bytes")]
    BadFan,
    #[n(9)]
    #[error("there are as many of these as there may be; set one back first")]
    TooMany,
    #[n(10)]
    #[error("a sender of this name has registered since")]
    NotLatest,
    #[n(11)]
    #[error("a control node at this address is a member already")]
    IsMember,
    #[n(12)]
    #[error(
        "a cluster has at most five control nodes, with those that were invited; remove one first"
    )]
    Full,
    #[n(13)]
    #[error("somebody else has changed the policy meanwhile; look at it again")]
    PolicyChanged,
    #[n(14)]
    #[error("a resource has at most 64 KiB of text, and all of them together have at most 2 MiB")]
    PolicyTooLarge,
    #[n(15)]
    #[error("{0}")]
    Automation(#[n(0)] automation::Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionRow {
    #[n(0)]
    pub sender: String,
    #[n(1)]
    pub opened_at: UnixMs,
    #[n(2)]
    pub fit: bool,
    #[n(3)]
    pub retiring: bool,
    /// Of the attempt that opened it.
    #[n(4)]
    pub order: u64,
}

/// Who owns a slot, and since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Assignment {
    /// [`SessionId::NONE`] when nobody may have it.
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub epoch: Epoch,
    /// The owner lives and is asked to release the slot, which then goes there.
    #[n(2)]
    pub moving_to: Option<SessionId>,
}

const TIME: &[u8] = b"z";
const VERSION: &[u8] = b"v";

fn session_key(id: SessionId) -> Vec<u8> {
    [b"n".as_slice(), &id.0.to_be_bytes()].concat()
}

pub(super) fn slot_key(slot: Slot) -> Vec<u8> {
    [b"a".as_slice(), &slot.0.to_be_bytes()].concat()
}

pub(super) fn drained_key(sender: &str) -> Vec<u8> {
    [b"d", sender.as_bytes()].concat()
}

fn number<const N: usize>(key: &[u8]) -> [u8; N] {
    key[1..]
        .try_into()
        .expect("keys are written by this module")
}

pub(super) fn read<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> T {
    match codec::decode(bytes) {
        Ok(row) => row,
        Err(error) => panic!(
            "the meta group's state cannot be trusted: {error}: {}",
            error.source
        ),
    }
}

pub(super) fn load<T: for<'b> Decode<'b, ()>>(
    rows: &(impl ReadRows + ?Sized),
    key: &[u8],
) -> Option<T> {
    rows.get(key).map(|bytes| read(&bytes))
}

pub(super) fn put_row<R: Rows>(rows: &mut R, key: Vec<u8>, row: &impl Encode<()>) {
    rows.put(key, codec::encode(row));
}

/// All rows of a kind whose key is a number.
pub(super) fn scan<K: Ord, T: for<'b> Decode<'b, ()>>(
    rows: &(impl ReadRows + ?Sized),
    tag: &[u8],
    id: impl Fn(u64) -> K,
) -> BTreeMap<K, T> {
    let mut found = BTreeMap::new();
    rows.scan(tag, &[], &mut |key, value| {
        found.insert(id(u64::from_be_bytes(number(key))), read(value));
        true
    });
    found
}

/// All rows of a kind whose key is a name.
pub(super) fn scan_names<T: for<'b> Decode<'b, ()>>(
    rows: &(impl ReadRows + ?Sized),
    tag: &[u8],
) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    rows.scan(tag, &[], &mut |key, value| {
        let name = String::from_utf8_lossy(&key[1..]).into_owned();
        found.insert(name, read(value));
        true
    });
    found
}

pub fn sessions(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<SessionId, SessionRow> {
    scan(rows, b"n", SessionId)
}

pub fn session(rows: &(impl ReadRows + ?Sized), id: SessionId) -> Option<SessionRow> {
    load(rows, &session_key(id))
}

pub fn assignments(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<Slot, Assignment> {
    let mut found = BTreeMap::new();
    rows.scan(b"a", &[], &mut |key, value| {
        found.insert(Slot(u16::from_be_bytes(number(key))), read(value));
        true
    });
    found
}

/// Grows with every change of an assignment.
pub fn assignments_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

/// Senders that an operator drained.
pub fn drained(rows: &(impl ReadRows + ?Sized)) -> BTreeSet<String> {
    names(rows, b"d")
}

/// The keys of all rows of a kind whose key is a text.
pub(super) fn names(rows: &(impl ReadRows + ?Sized), tag: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    rows.scan(tag, &[], &mut |key, _| {
        found.insert(String::from_utf8_lossy(&key[1..]).into_owned());
        true
    });
    found
}

/// The group's time: the latest of any entry.
pub fn time(rows: &(impl ReadRows + ?Sized)) -> UnixMs {
    load(rows, TIME).unwrap_or_default()
}

/// Applies one command and gives every slot an owner again.
pub fn apply<R: Rows>(rows: &mut R, at: UnixMs, command: &Command) -> Response {
    let now = load::<UnixMs>(rows, TIME).map_or(at, |time| time.max(at));
    rows.put(TIME.to_vec(), codec::encode(&now));
    let result = match command {
        Command::Automation(command) => {
            let outcome = automation::apply(rows, now, &automation::Rules::new(), command);
            match outcome.response {
                automation::Response::Done => Ok(()),
                automation::Response::Refused(refusal) => Err(Refusal::Automation(refusal)),
            }
        }
        Command::OpenSession {
            session,
            sender,
            order,
        } => open_session(rows, now, *session, sender, *order),
        Command::CloseSession(session) => {
            rows.delete(session_key(*session));
            Ok(())
        }
        Command::Release { session, slots } => {
            release(rows, *session, slots);
            Ok(())
        }
        Command::SetFit { session, fit } => change_session(rows, *session, |row| row.fit = *fit),
        Command::Retire(session) => change_session(rows, *session, |row| row.retiring = true),
        Command::SetDrained { sender, drained } => {
            match drained {
                true => rows.put(drained_key(sender), Vec::new()),
                false => rows.delete(drained_key(sender)),
            }
            Ok(())
        }
        Command::MoveSlot { slot, to } => move_slot(rows, *slot, *to),
        Command::Found { cluster, nodes } => {
            members::found(rows, *cluster, nodes);
            Ok(())
        }
        Command::Join(join) => members::join(rows, join),
        Command::Invite(address) => members::invite(rows, address),
        Command::Withdraw(address) => {
            members::withdraw(rows, address);
            Ok(())
        }
        Command::RemoveNode(node) => members::remove(rows, *node),
        Command::SetWeight { tenant, weight } => tenants::set_weight(rows, tenant, *weight),
        Command::SetFan { site, fan } => fan::set_fan(rows, site, *fan),
        Command::SetPolicy { base, put, delete } => policy::set_policy(rows, *base, put, delete),
        Command::Import(imported) => {
            import::import(rows, imported);
            Ok(())
        }
        Command::SetAddresses { session, addresses } => {
            ips::set_addresses(rows, *session, addresses)
        }
        Command::MoveIps(moves) => ips::move_ips(rows, moves),
        Command::ReleaseIps { session, ips } => {
            ips::release_ips(rows, *session, ips);
            Ok(())
        }
    };
    if let Command::OpenSession { .. } | Command::CloseSession(_) = command {
        ips::settle(rows);
    }
    reassign(rows);
    match result {
        Ok(()) => Response::Done,
        Err(refusal) => Response::Refused(refusal),
    }
}

fn open_session<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    session: SessionId,
    sender: &str,
    order: u64,
) -> Result<(), Refusal> {
    let mut before = sessions(rows);
    before.retain(|id, row| row.sender == sender && *id != session);
    if before.values().any(|row| row.order >= order) {
        return Err(Refusal::NotLatest);
    }
    for id in before.into_keys() {
        rows.delete(session_key(id));
    }
    if self::session(rows, session).is_none() {
        let row = SessionRow {
            sender: sender.to_owned(),
            opened_at: now,
            fit: true,
            retiring: false,
            order,
        };
        rows.put(session_key(session), codec::encode(&row));
    }
    Ok(())
}

fn change_session<R: Rows>(
    rows: &mut R,
    id: SessionId,
    change: impl FnOnce(&mut SessionRow),
) -> Result<(), Refusal> {
    let mut row = session(rows, id).ok_or(Refusal::NoSession)?;
    change(&mut row);
    rows.put(session_key(id), codec::encode(&row));
    Ok(())
}

fn release<R: Rows>(rows: &mut R, session: SessionId, slots: &[(Slot, Epoch)]) {
    for (slot, epoch) in slots {
        let held: Option<Assignment> = load(rows, &slot_key(*slot));
        let Some(held) = held.filter(|held| held.session == session && held.epoch == *epoch) else {
            continue;
        };
        if let Some(to) = held.moving_to {
            give(rows, *slot, held.epoch, to);
        }
    }
}

fn move_slot<R: Rows>(rows: &mut R, slot: Slot, to: SessionId) -> Result<(), Refusal> {
    session(rows, to).ok_or(Refusal::NoSession)?;
    if let Some(held) = load::<Assignment>(rows, &slot_key(slot)) {
        let moving_to = (held.session != to).then_some(to);
        put(rows, slot, Assignment { moving_to, ..held });
    }
    Ok(())
}

pub(super) fn give<R: Rows>(rows: &mut R, slot: Slot, epoch: Epoch, session: SessionId) {
    let next = Assignment {
        session,
        epoch: Epoch(epoch.0 + 1),
        moving_to: None,
    };
    put(rows, slot, next);
}

fn put<R: Rows>(rows: &mut R, slot: Slot, assignment: Assignment) {
    rows.put(slot_key(slot), codec::encode(&assignment));
    let version = assignments_version(rows) + 1;
    rows.put(VERSION.to_vec(), codec::encode(&version));
}

/// A slot whose owner lives is only marked: it changes hands when the owner has let go of it. A dead owner's changes
/// hands at once. An owner that is to keep a slot after all gets it anew, since it may have let go of it already, and word
/// of that may still be on its way.
fn reassign<R: Rows>(rows: &mut R) {
    let live = sessions(rows);
    let drained = drained(rows);
    let eligible: Vec<SessionId> = live
        .iter()
        .filter(|(_, row)| row.fit && !row.retiring && !drained.contains(&row.sender))
        .map(|(id, _)| *id)
        .collect();
    let before = assignments(rows);
    let places = before
        .iter()
        .map(|(slot, held)| (*slot, held.moving_to.unwrap_or(held.session)))
        .collect();
    let targets = assign(&places, &eligible);
    for slot in Slot::all() {
        let target = targets.get(&slot).copied();
        let Some(held) = before.get(&slot) else {
            if let Some(target) = target {
                give(rows, slot, Epoch(0), target);
            }
            continue;
        };
        let owner_lives = live.contains_key(&held.session);
        let moving_to = Some(target.unwrap_or(SessionId::NONE)).filter(|to| *to != held.session);
        match (owner_lives, target) {
            (false, Some(target)) => give(rows, slot, held.epoch, target),
            (true, _) if held.moving_to.is_some() && moving_to.is_none() => {
                give(rows, slot, held.epoch, held.session);
            }
            (true, _) if moving_to != held.moving_to => {
                put(rows, slot, Assignment { moving_to, ..*held });
            }
            _ => {}
        }
    }
}
