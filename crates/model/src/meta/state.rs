//! The rows of the meta group, and how commands change them.
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
//! | `f` site | its [`Spread`](super::Spread) |
//! | `y` kind/name | the text of a resource |
//! | `s` kind/name | where a resource is applied from |
//! | `k` | how often resources have changed |
//! | `h` version | [`PolicyVersion`](super::PolicyVersion) |
//! | `m` | how much those are |
//! | `z` | the group's time |
//!
//! Rows of `audit`, `domains`, `event_log`, `ips`, `ip_checks`, `known_clients`, `limits`, `sts`, `suppressions`, `tls_reports`, `token_keys`, `automation` and `warmup` are beside these.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::assign::assign;
use super::audit;
use super::command::{Command, Refusal, Response};
use super::domains;
use super::event_log;
use super::import;
use super::ip_checks;
use super::ips;
use super::known_clients;
use super::limits;
use super::members;
use super::policy_change;
use super::policy_history::Made;
use super::replies;
use super::site_spread;
use super::sts;
use super::suppressions;
use super::tenants;
use super::tls_reports;
use super::token_keys;
use super::warmups;
use crate::automation;
use crate::codec;
use crate::id::{Epoch, SessionId, Slot};
use crate::rows::{ReadRows, Rows, load, read};
use crate::time::UnixMs;

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
    /// A node that only lends its source IPs has it, and no sender; left out of the row of a sender, which versions before
    /// there were such nodes write without.
    #[n(5)]
    pub lends_only: Option<bool>,
}

impl SessionRow {
    /// Whether a sender has it, which may own slots and hold tasks.
    pub fn is_senders(&self) -> bool {
        self.lends_only != Some(true)
    }
}

/// The owner of a slot, and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Assignment {
    /// [`SessionId::NONE`] when no session may have it.
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
        // No slot moves for these, which are frequent.
        Command::ReportLimits { at, told } => {
            return Response::Limits(limits::report(rows, *at, told));
        }
        Command::TendLimits { at, limits } => {
            limits::tend(rows, *at, limits);
            return Response::Done;
        }
        Command::TakeEvents(before) => {
            event_log::take(rows, *before);
            return Response::Done;
        }
        Command::KnownClients(accounts) => {
            known_clients::apply(rows, now, accounts);
            return Response::Done;
        }
        Command::PutTokenKey(put) => {
            token_keys::apply(rows, now, put);
            return Response::Done;
        }
        Command::Domain(command) => {
            return Response::Domain(domains::apply(rows, now, command));
        }
        Command::Sts(command) => return answer(sts::apply(rows, now, command)),
        Command::TlsReport(command) => return answer(tls_reports::apply(rows, now, command)),
        Command::Suppression(command) => {
            return Response::Suppression(suppressions::apply(rows, now, command));
        }
        Command::Automation(command) => replies::automate(rows, now, command),
        Command::SetRules(rules) => {
            automation::set_rules(rows, rules);
            Ok(())
        }
        Command::TellReplies {
            session,
            batch,
            told,
        } => replies::tell(rows, now, *session, *batch, told),
        Command::Warmup(orders) => return warmups::order(rows, now, orders),
        Command::GrantWarmup {
            session,
            batch,
            asks,
        } => return warmups::grant(rows, now, *session, *batch, asks),
        Command::OpenSession {
            session,
            sender,
            order,
        } => open_session(rows, now, *session, sender, *order, None),
        Command::OpenEgress {
            session,
            node,
            order,
        } => open_session(rows, now, *session, node, *order, Some(true)),
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
            set_drained(rows, sender, *drained);
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
        Command::SetSpread { site, spread } => site_spread::set_spread(rows, site, *spread),
        Command::SetPolicy { base, put, delete } => {
            policy_change::set_policy(rows, now, *base, (put, delete), Made::Applied)
        }
        Command::ChangePolicy(change) => policy_change::change_policy(rows, now, change),
        Command::Audit(command) => {
            audit::apply(rows, now, command);
            Ok(())
        }
        Command::Import(imported) => {
            import::import(rows, now, imported);
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
        Command::SetIpChecks { session, checks } => {
            ip_checks::set_ip_checks(rows, *session, checks)
        }
    };
    forget_ended_sessions(rows, command);
    reassign(rows);
    answer(result)
}

fn set_drained<R: Rows>(rows: &mut R, sender: &str, drained: bool) {
    match drained {
        true => rows.put(drained_key(sender), Vec::new()),
        false => rows.delete(drained_key(sender)),
    }
}

/// What hangs on sessions that have ended, if a command ends one.
fn forget_ended_sessions<R: Rows>(rows: &mut R, command: &Command) {
    let (Command::OpenSession { .. } | Command::OpenEgress { .. } | Command::CloseSession(_)) =
        command
    else {
        return;
    };
    ips::release_ended_sessions(rows);
    replies::forget(rows);
    ip_checks::forget_ended_sessions(rows);
    warmups::forget(rows);
    tls_reports::forget_batches(rows);
}

fn answer(result: Result<(), Refusal>) -> Response {
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
    lends_only: Option<bool>,
) -> Result<(), Refusal> {
    let mut before = sessions(rows);
    before.retain(|id, row| row.sender == sender && *id != session);
    if before.values().any(|row| row.order >= order) {
        return Err(Refusal::NotLatest);
    }
    for id in before.into_keys() {
        rows.delete(session_key(id));
        ips::inherit(rows, id, session);
    }
    if self::session(rows, session).is_none() {
        let row = SessionRow {
            sender: sender.to_owned(),
            opened_at: now,
            fit: true,
            retiring: false,
            order,
            lends_only,
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
    let row = session(rows, to).ok_or(Refusal::NoSession)?;
    if !row.is_senders() {
        return Err(Refusal::NoSession);
    }
    if let Some(held) = load::<Assignment>(rows, &slot_key(slot)) {
        let moving_to = (held.session != to).then_some(to);
        put(rows, slot, Assignment { moving_to, ..held });
    }
    Ok(())
}

pub(super) fn give<R: Rows>(rows: &mut R, slot: Slot, epoch: Epoch, session: SessionId) {
    let next = Assignment {
        session,
        epoch: Epoch(epoch.0.saturating_add(1)),
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
        .filter(|(_, row)| row.is_senders() && row.fit && !row.retiring)
        .filter(|(_, row)| !drained.contains(&row.sender))
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
