//! Commands and rows of the meta group.
//!
//! | key | value |
//! |---|---|
//! | `n` session | [`SessionRow`] |
//! | `a` slot | [`Assignment`] |
//! | `z` | the group's time |

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::assign::assign;
use crate::codec;
use crate::id::{Epoch, SessionId, Slot};
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
    },
    #[n(1)]
    CloseSession(#[n(0)] SessionId),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    #[n(0)]
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionRow {
    #[n(0)]
    pub sender: String,
    #[n(1)]
    pub opened_at: UnixMs,
}

/// Who owns a slot, and since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Assignment {
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub epoch: Epoch,
}

const TIME: &[u8] = b"z";

fn session_key(id: SessionId) -> Vec<u8> {
    [b"n".as_slice(), &id.0.to_be_bytes()].concat()
}

fn slot_key(slot: Slot) -> Vec<u8> {
    [b"a".as_slice(), &slot.0.to_be_bytes()].concat()
}

fn number<const N: usize>(key: &[u8]) -> [u8; N] {
    key[1..]
        .try_into()
        .expect("keys are written by this module")
}

fn read<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> T {
    match codec::decode(bytes) {
        Ok(row) => row,
        Err(error) => panic!(
            "the meta group's state cannot be trusted: {error}: {}",
            error.source
        ),
    }
}

pub fn sessions(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<SessionId, SessionRow> {
    let mut found = BTreeMap::new();
    rows.scan(b"n", &[], &mut |key, value| {
        found.insert(SessionId(u64::from_be_bytes(number(key))), read(value));
        true
    });
    found
}

pub fn session_lives(rows: &(impl ReadRows + ?Sized), id: SessionId) -> bool {
    rows.get(&session_key(id)).is_some()
}

pub fn assignments(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<Slot, Assignment> {
    let mut found = BTreeMap::new();
    rows.scan(b"a", &[], &mut |key, value| {
        found.insert(Slot(u16::from_be_bytes(number(key))), read(value));
        true
    });
    found
}

/// Applies one command and gives every slot an owner again.
pub fn apply<R: Rows>(rows: &mut R, at: UnixMs, command: &Command) -> Response {
    let now = Rows::get(rows, TIME).map_or(at, |bytes| read::<UnixMs>(&bytes).max(at));
    rows.put(TIME.to_vec(), codec::encode(&now));
    match command {
        Command::OpenSession { session, sender } => {
            let before: Vec<SessionId> = sessions(rows)
                .into_iter()
                .filter(|(id, row)| row.sender == *sender && id != session)
                .map(|(id, _)| id)
                .collect();
            for id in before {
                rows.delete(session_key(id));
            }
            if Rows::get(rows, &session_key(*session)).is_none() {
                let row = SessionRow {
                    sender: sender.clone(),
                    opened_at: now,
                };
                rows.put(session_key(*session), codec::encode(&row));
            }
        }
        Command::CloseSession(session) => rows.delete(session_key(*session)),
    }
    reassign(rows);
    Response::Done
}

fn reassign<R: Rows>(rows: &mut R) {
    let live: Vec<SessionId> = sessions(rows).into_keys().collect();
    let before = assignments(rows);
    let owners = before
        .iter()
        .map(|(slot, held)| (*slot, held.session))
        .collect();
    for (slot, session) in assign(&owners, &live) {
        let held = before.get(&slot);
        if held.is_some_and(|held| held.session == session) {
            continue;
        }
        let epoch = Epoch(held.map_or(1, |held| held.epoch.0 + 1));
        rows.put(
            slot_key(slot),
            codec::encode(&Assignment { session, epoch }),
        );
    }
}
