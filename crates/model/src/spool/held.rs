//! What a group holds of each tenant: recipients that are open, and octets of messages that have any.
//!
//! Replicas of an older version do not count, so nothing is counted before [`Command::CountHeld`](super::Command::CountHeld), which
//! is proposed when every member knows it. A message that was taken in before is not counted until it is gone.

use minicbor::{Decode, Encode};

use super::rows::{MessageRow, key};
use super::state::State;
use crate::rows::{ReadRows, Rows};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct HeldRow {
    #[n(0)]
    pub recipients: u64,
    #[n(1)]
    pub bytes: u64,
}

impl HeldRow {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            recipients: self.recipients.saturating_add(other.recipients),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            recipients: self.recipients.saturating_sub(other.recipients),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// All tenants of which the group holds counted mail, with it.
pub fn each_held(rows: &(impl ReadRows + ?Sized), mut visit: impl FnMut(String, HeldRow)) {
    rows.scan(key::HELD, &[], &mut |row_key, value| {
        let tenant = String::from_utf8_lossy(&row_key[key::HELD.len()..]).into_owned();
        visit(tenant, crate::rows::read(value));
        true
    });
}

/// A message came with so many open recipients, all of them counted.
pub(super) fn gain<R: Rows>(state: &mut State<'_, R>, message: &MessageRow, recipients: usize) {
    let bytes = message.body.bytes;
    change(state, message, |held| {
        held.plus(HeldRow {
            recipients: recipients as u64,
            bytes,
        })
    });
}

/// So many recipients of a message are done with.
pub(super) fn lose_recipients<R: Rows>(
    state: &mut State<'_, R>,
    message: &MessageRow,
    recipients: usize,
) {
    if recipients > 0 {
        change(state, message, |held| {
            held.minus(HeldRow {
                recipients: recipients as u64,
                bytes: 0,
            })
        });
    }
}

/// All recipients of a message are done with, and its octets go.
pub(super) fn lose_bytes<R: Rows>(state: &mut State<'_, R>, message: &MessageRow) {
    let bytes = message.body.bytes;
    change(state, message, |held| {
        held.minus(HeldRow {
            recipients: 0,
            bytes,
        })
    });
}

fn change<R: Rows>(
    state: &mut State<'_, R>,
    message: &MessageRow,
    change: impl FnOnce(HeldRow) -> HeldRow,
) {
    if message.is_counted == Some(true) {
        let tenant = &message.envelope.tenant;
        let held = change(state.held(tenant).unwrap_or_default());
        state.put_held(tenant, held);
    }
}
