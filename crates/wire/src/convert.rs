//! Between protobuf fields and the model's types.

mod lockout;
mod suppression_feed;
mod suppressions;

pub use lockout::{guesses, guesses_heard, guesses_reply, guesses_told, standing_told};
pub use suppression_feed::{
    FEED_PART_MAX, LOOK_UPS_MAX, LookUp, suppression_look_up, suppression_look_up_told,
    suppression_part, suppression_part_told, suppression_verdict, suppression_verdict_told,
};
pub use suppressions::{
    Asked, BadSuppression, added_suppressions, new_suppression, newest_suppressions,
    removed_suppressions, suppression, suppression_asked, suppression_counts, suppression_place,
    suppression_removal, suppression_scopes, suppression_told, suppression_undo,
};

use std::net::SocketAddr;

use bytes::Bytes;
use skein_model::broken_tls::Broken;
use skein_model::codec::{self, CorruptRow};
use skein_model::disk::Room;
use skein_model::event::{AttemptFacts, Event, EventKind};
use skein_model::preflight::{Check, Fault};
use skein_model::{Epoch, MessageId, Slot, TaskId, UnixMs};

use crate::internal::{self, DiskRoom, IpCheckKind, IpFault, OwnedSlot};
use crate::v1::{BounceClass, HistoryEntry, HistoryEventKind};

/// A peer sent something that no version of ours sends.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    #[error("a message id of {0} bytes instead of 16")]
    MessageId(usize),
    #[error("slot {0} is not below 1024")]
    Slot(u32),
    #[error("{0:?} is not an address and a port")]
    Address(String),
    #[error("there is no check {0:?}")]
    IpCheck(String),
    #[error("a failed login names a client or a user")]
    Guess,
    #[error("a part of the suppression feed is empty or too long")]
    SuppressionPart,
    #[error("{0:?} is not the address of a recipient")]
    Recipient(String),
    #[error(transparent)]
    Row(#[from] CorruptRow),
}

pub fn message_id(bytes: &[u8]) -> Result<MessageId, BadMessage> {
    bytes
        .try_into()
        .map(MessageId)
        .map_err(|_| BadMessage::MessageId(bytes.len()))
}

pub fn message_id_bytes(id: MessageId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

pub fn task_id(message: &[u8], number: u32) -> Result<TaskId, BadMessage> {
    Ok(TaskId {
        message: message_id(message)?,
        number,
    })
}

pub fn slots(owned: &[OwnedSlot]) -> Result<Vec<(Slot, Epoch)>, BadMessage> {
    let read = |owned: &OwnedSlot| match u16::try_from(owned.slot) {
        Ok(n) if n < Slot::COUNT => Ok((Slot(n), Epoch(owned.epoch))),
        _ => Err(BadMessage::Slot(owned.slot)),
    };
    owned.iter().map(read).collect()
}

pub fn owned_slots<'s>(slots: impl IntoIterator<Item = &'s (Slot, Epoch)>) -> Vec<OwnedSlot> {
    let slots = slots.into_iter();
    slots
        .map(|(slot, epoch)| OwnedSlot {
            slot: slot.0.into(),
            epoch: epoch.0,
        })
        .collect()
}

pub fn row<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, BadMessage> {
    Ok(codec::decode(bytes)?)
}

pub fn broken_tls(told: internal::BrokenTls) -> Result<(SocketAddr, Broken), BadMessage> {
    let address = told.address.parse::<SocketAddr>();
    let address = address.map_err(|_| BadMessage::Address(told.address))?;
    let broken = Broken {
        host: told.host,
        site: told.site,
        reason: told.reason,
        until: UnixMs(told.until_ms),
    };
    Ok((address, broken))
}

pub fn broken_tls_told(address: SocketAddr, broken: &Broken) -> internal::BrokenTls {
    internal::BrokenTls {
        address: address.to_string(),
        host: broken.host.clone(),
        site: broken.site.clone(),
        reason: broken.reason.clone(),
        until_ms: broken.until.0,
    }
}

pub fn disk_room(room: Room) -> DiskRoom {
    match room {
        Room::Enough => DiskRoom::Enough,
        Room::Soft => DiskRoom::Soft,
        Room::Hard => DiskRoom::Hard,
    }
}

/// None when the peer does not say.
pub fn room(room: DiskRoom) -> Option<Room> {
    match room {
        DiskRoom::Unspecified => None,
        DiskRoom::Enough => Some(Room::Enough),
        DiskRoom::Soft => Some(Room::Soft),
        DiskRoom::Hard => Some(Room::Hard),
    }
}

pub fn ip_fault(fault: &Fault) -> IpFault {
    let kind = match fault.check {
        Check::Address => IpCheckKind::Address,
        Check::Ptr => IpCheckKind::Ptr,
        Check::Forward => IpCheckKind::Forward,
        Check::Ehlo => IpCheckKind::Ehlo,
        Check::Dnsbl => IpCheckKind::Dnsbl,
    };
    IpFault {
        check: fault.check.word().to_owned(),
        text: fault.text.clone(),
        kind: kind.into(),
    }
}

/// A fault that a sender of this version told, or of one that only says the check's name.
pub fn ip_fault_told(told: IpFault) -> Result<Fault, BadMessage> {
    let by_name = |name: &str| Check::ALL.into_iter().find(|check| check.word() == name);
    let check = match told.kind() {
        IpCheckKind::Unspecified => by_name(&told.check),
        IpCheckKind::Address => Some(Check::Address),
        IpCheckKind::Ptr => Some(Check::Ptr),
        IpCheckKind::Forward => Some(Check::Forward),
        IpCheckKind::Ehlo => Some(Check::Ehlo),
        IpCheckKind::Dnsbl => Some(Check::Dnsbl),
    };
    let check = check.ok_or(BadMessage::IpCheck(told.check))?;
    let text = told.text;
    Ok(Fault { check, text })
}

pub fn problem(kind: internal::problem::Kind, text: impl Into<String>) -> internal::Problem {
    internal::Problem {
        kind: kind.into(),
        text: text.into(),
    }
}

/// One line of a message's history.
pub fn history_entry(event: &Event) -> HistoryEntry {
    let mut entry = HistoryEntry {
        at_ms: event.at.0,
        event: HistoryEventKind::from(&event.kind).into(),
        ..HistoryEntry::default()
    };
    match &event.kind {
        EventKind::Accepted {
            recipients,
            about,
            client,
            ..
        } => {
            entry.recipients = recipients.clone();
            entry.peer = client.clone().unwrap_or_default();
            entry.related_message = about.map(|id| id.to_string()).unwrap_or_default();
        }
        EventKind::Delivered {
            recipient,
            attempt,
            reply,
        } => attempted(&mut entry, recipient, attempt, reply),
        EventKind::Deferred {
            recipient,
            attempt,
            reply,
            due,
        } => {
            attempted(&mut entry, recipient, attempt, reply);
            entry.next_attempt_at_ms = due.0;
        }
        EventKind::Bounced {
            recipient,
            attempt,
            reply,
            dsn,
        }
        | EventKind::Expired {
            recipient,
            attempt,
            reply,
            dsn,
        } => {
            attempted(&mut entry, recipient, attempt, reply);
            entry.related_message = dsn.map(|id| id.to_string()).unwrap_or_default();
        }
        EventKind::Deleted { recipient, by } => {
            entry.recipients = vec![recipient.clone()];
            entry.reply = format!("by {by}");
        }
        EventKind::OutOfBandBounce {
            recipient,
            reply,
            told_by,
        } => {
            entry.recipients = vec![recipient.clone()];
            entry.reply = reply.to_string();
            entry.host = reply.host.clone().unwrap_or_default();
            entry.set_class(BounceClass::of_reply(Some(reply)));
            entry.related_message = told_by.to_string();
        }
        EventKind::Complained {
            recipient,
            feedback,
            reporter,
            told_by,
        } => {
            entry.recipients = vec![recipient.clone()];
            entry.reply = feedback.clone();
            entry.host = reporter.clone();
            entry.related_message = told_by.to_string();
        }
    }
    entry
}

fn attempted(
    entry: &mut HistoryEntry,
    recipient: &str,
    attempt: &AttemptFacts,
    reply: &skein_model::Reply,
) {
    entry.recipients = vec![recipient.to_owned()];
    entry.attempt = attempt.number;
    entry.reply = reply.to_string();
    entry.set_class(BounceClass::of_reply(Some(reply)));
    entry.host = reply.host.clone().unwrap_or_default();
    entry.source = attempt.source.clone().unwrap_or_default();
    entry.peer = attempt.peer.clone().unwrap_or_default();
    entry.tls = attempt.tls.clone().unwrap_or_default();
    entry.duration_ms = attempt.duration.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_from_a_sender_of_either_version() {
        for check in Check::ALL {
            let text = "no name".to_owned();
            let fault = Fault { check, text };
            let told = ip_fault(&fault);
            let of_older = IpFault {
                kind: IpCheckKind::Unspecified.into(),
                ..told.clone()
            };
            assert_eq!(ip_fault_told(told).ok(), Some(fault.clone()));
            assert_eq!(ip_fault_told(of_older).ok(), Some(fault));
        }
        let unknown = IpFault {
            check: "moon".to_owned(),
            ..IpFault::default()
        };
        assert!(ip_fault_told(unknown).is_err());
    }
}
