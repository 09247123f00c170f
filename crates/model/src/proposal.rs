//! What is asked of a Raft group, looked at before it is proposed.
//!
//! A command that is committed must be applied by every replica: one that cannot be read, or that means nothing, would
//! stop the group for good. So the proposer reads it first as the group will, and refuses it then. That
//! `apply` has no command at which it panics is another matter, and holds for all that can be read.

use minicbor::{Decode, Decoder};

use crate::id::{Epoch, GroupId, MessageId, Slot};
use crate::time::{DurationMs, LimitMs, UnixMs};

/// Of one command: policy has 2 MiB, a backup's meta group some more. An append of one entry, which has up to 1 MiB of
/// commands before its last one, stays well below the 16 MiB of a call between nodes.
pub const COMMAND_BYTES_MAX: usize = 8 << 20;
/// Epochs and numbers of events grow one by one: at a million a second, this is reached after 36,000 years.
pub const NUMBER_MAX: u64 = 1 << 60;
/// Those that a backup brings are what a group goes on from, and must leave it room. At a million a second, this is reached
/// after eight years.
pub const IMPORTED_NUMBER_MAX: u64 = 1 << 48;
/// The end of the year 9999.
const TIME_MAX: UnixMs = UnixMs(253_402_300_799_999);
/// No retry waits longer than this: no message is kept for so long.
const WAIT_MAX: DurationMs = DurationMs::from_secs(366 * 24 * 3600);
/// Of names of senders, tenants, pools, domains, versions; RFC 1035 2.3.4, with the brackets of an address.
const NAME_BYTES_MAX: usize = 257;

/// Why a command may not be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("a command has up to {COMMAND_BYTES_MAX} bytes, and this one {0}")]
    TooLarge(usize),
    #[error("this is no command of the group: {0}")]
    Unreadable(String),
    #[error("{0} bytes follow the command")]
    Trailing(usize),
    #[error("{field}: {reason}")]
    Field { field: &'static str, reason: String },
}

impl Invalid {
    pub(crate) fn field(field: &'static str, reason: impl ToString) -> Self {
        Self::Field {
            field,
            reason: reason.to_string(),
        }
    }
}

/// Reads a command, the whole of it.
pub(crate) fn read<T: for<'b> Decode<'b, ()>>(command: &[u8]) -> Result<T, Invalid> {
    if command.len() > COMMAND_BYTES_MAX {
        return Err(Invalid::TooLarge(command.len()));
    }
    let mut decoder = Decoder::new(command);
    let read = decoder
        .decode()
        .map_err(|error| Invalid::Unreadable(error.to_string()))?;
    match command.len() - decoder.position() {
        0 => Ok(read),
        more => Err(Invalid::Trailing(more)),
    }
}

/// A text without control characters, of so many bytes.
pub(crate) fn text(
    field: &'static str,
    text: &str,
    bytes: impl std::ops::RangeBounds<usize>,
) -> Result<(), Invalid> {
    if !bytes.contains(&text.len()) {
        return Err(Invalid::field(field, format!("has {} bytes", text.len())));
    }
    match text.chars().any(char::is_control) {
        true => Err(Invalid::field(field, "has a control character")),
        false => Ok(()),
    }
}

pub(crate) fn name(field: &'static str, name: &str) -> Result<(), Invalid> {
    text(field, name, 1..=NAME_BYTES_MAX)
}

pub(crate) fn slot(slot: Slot) -> Result<(), Invalid> {
    match slot.0 < Slot::COUNT {
        true => Ok(()),
        false => Err(Invalid::field("slot", format!("there is no slot {slot}"))),
    }
}

pub(crate) fn slots(slots: &[(Slot, Epoch)]) -> Result<(), Invalid> {
    slots_up_to(slots, NUMBER_MAX)
}

pub(crate) fn imported_slots(slots: &[(Slot, Epoch)]) -> Result<(), Invalid> {
    slots_up_to(slots, IMPORTED_NUMBER_MAX)
}

fn slots_up_to(slots: &[(Slot, Epoch)], epoch_max: u64) -> Result<(), Invalid> {
    if slots.len() > usize::from(Slot::COUNT) {
        return Err(Invalid::field("slots", "there are more than slots"));
    }
    slots.iter().try_for_each(|(one, epoch)| {
        slot(*one)?;
        number_up_to("epoch", epoch.0, epoch_max)
    })
}

pub(crate) fn number(field: &'static str, number: u64) -> Result<(), Invalid> {
    number_up_to(field, number, NUMBER_MAX)
}

pub(crate) fn imported_number(field: &'static str, number: u64) -> Result<(), Invalid> {
    number_up_to(field, number, IMPORTED_NUMBER_MAX)
}

fn number_up_to(field: &'static str, number: u64, max: u64) -> Result<(), Invalid> {
    match number <= max {
        true => Ok(()),
        false => Err(Invalid::field(
            field,
            format!("{number} is out of all bounds"),
        )),
    }
}

pub(crate) fn time(field: &'static str, at: UnixMs) -> Result<(), Invalid> {
    match at <= TIME_MAX {
        true => Ok(()),
        false => Err(Invalid::field(field, "is later than the year 9999")),
    }
}

pub(crate) fn limit_time(field: &'static str, at: LimitMs) -> Result<(), Invalid> {
    // It is never far from the wall clock's.
    time(field, UnixMs(at.0))
}

pub(crate) fn wait(field: &'static str, span: DurationMs) -> Result<(), Invalid> {
    match span <= WAIT_MAX {
        true => Ok(()),
        false => Err(Invalid::field(field, "is longer than a year")),
    }
}

/// A group keeps its own messages alone: the group is part of their ids.
pub(crate) fn message(group: GroupId, id: MessageId) -> Result<(), Invalid> {
    match id.group() == group {
        true => Ok(()),
        false => Err(Invalid::field(
            "message",
            format!("{id} is of group {}, and this is group {group}", id.group()),
        )),
    }
}
