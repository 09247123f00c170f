//! A message as a transaction needs it. Pure.

use skein_client::Assigned;
use skein_model::Envelope;
use skein_model::mail::{BodyType, Ret};
use skein_smtp::address::Address;
use skein_smtp::client::{Capabilities, OutgoingMessage, OutgoingRecipient, ReturnContent};

pub fn outgoing(task: &Assigned, prefer_bdat: bool) -> OutgoingMessage {
    let envelope = &task.message.envelope;
    OutgoingMessage {
        reverse_path: envelope.return_path.clone(),
        recipients: task
            .task
            .recipients
            .iter()
            .map(|(_, recipient)| outgoing_recipient(recipient))
            .collect(),
        body_bytes: task.message.body.bytes,
        is_8bit: envelope.body_type == BodyType::EightBit,
        needs_smtputf8: envelope.smtputf8,
        require_tls: requires_tls(envelope),
        ret: envelope.ret.map(|ret| match ret {
            Ret::Full => ReturnContent::Full,
            Ret::Headers => ReturnContent::Headers,
        }),
        envid: envelope.envid.clone(),
        prefer_bdat,
    }
}

/// Whether the message goes over verified TLS or not at all. A report about such a message is not stopped by a host
/// that lacks it: nobody would be told (RFC 8689 5).
pub fn requires_tls(envelope: &Envelope) -> bool {
    envelope.require_tls && !envelope.return_path.is_empty()
}

fn outgoing_recipient(recipient: &skein_model::Recipient) -> OutgoingRecipient {
    let notify = recipient.notify;
    let words = [
        (notify.success, "SUCCESS"),
        (notify.failure, "FAILURE"),
        (notify.delay, "DELAY"),
    ];
    let mut text = words
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| *word)
        .collect::<Vec<_>>()
        .join(",");
    if text.is_empty() {
        text = "NEVER".to_owned();
    }
    OutgoingRecipient {
        address: recipient.address.clone(),
        notify: notify.given.then_some(text),
        orcpt: recipient.orcpt.clone(),
    }
}

/// Whether the host lacks an extension that the message was declared to need.
pub fn lacks_extension(message: &OutgoingMessage, capabilities: &Capabilities) -> bool {
    (message.is_8bit && !capabilities.eight_bit_mime)
        || (needs_smtputf8(message) && !capabilities.smtputf8)
}

fn needs_smtputf8(message: &OutgoingMessage) -> bool {
    let addresses = message.recipients.iter().map(|to| &to.address);
    message.needs_smtputf8
        || !message.reverse_path.is_ascii()
        || addresses.into_iter().any(|address| !address.is_ascii())
}

/// A message of ASCII bytes needs neither 8BITMIME nor SMTPUTF8, whatever its client declared, and addresses that are
/// ASCII but for their domain have a form that every host takes.
pub fn without_extensions(message: &mut OutgoingMessage, capabilities: &Capabilities) {
    if !capabilities.eight_bit_mime {
        message.is_8bit = false;
    }
    if !capabilities.smtputf8 {
        message.needs_smtputf8 = false;
        to_ascii(&mut message.reverse_path);
        for recipient in &mut message.recipients {
            to_ascii(&mut recipient.address);
        }
    }
}

/// An address without such a form stays, and the transaction says so.
fn to_ascii(address: &mut String) {
    if address.is_ascii() {
        return;
    }
    let parsed = Address::parse(address, true).ok();
    if let Some(ascii) = parsed.and_then(|parsed| parsed.to_ascii()) {
        *address = ascii.as_str().to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(from: &str, to: &[&str]) -> OutgoingMessage {
        OutgoingMessage {
            reverse_path: from.into(),
            recipients: to
                .iter()
                .map(|address| OutgoingRecipient {
                    address: (*address).into(),
                    ..OutgoingRecipient::default()
                })
                .collect(),
            is_8bit: true,
            needs_smtputf8: true,
            ..OutgoingMessage::default()
        }
    }

    #[test]
    fn an_ascii_message_needs_no_extension() {
        let plain = Capabilities::default();
        let mut outgoing = message("a@b\u{fc}cher.test", &["x@y.test", "\u{fc}@y.test"]);
        assert!(lacks_extension(&outgoing, &plain));
        without_extensions(&mut outgoing, &plain);
        assert_eq!(outgoing.reverse_path, "a@xn--bcher-kva.test");
        assert_eq!(outgoing.recipients[0].address, "x@y.test");
        assert_eq!(
            outgoing.recipients[1].address, "\u{fc}@y.test",
            "a local part has no other form"
        );
        assert!(!outgoing.is_8bit && !outgoing.needs_smtputf8);
    }

    #[test]
    fn what_the_host_has_stays_in_use() {
        let full = Capabilities {
            eight_bit_mime: true,
            smtputf8: true,
            ..Capabilities::default()
        };
        let mut outgoing = message("a@b\u{fc}cher.test", &["x@y.test"]);
        assert!(!lacks_extension(&outgoing, &full));
        let before = outgoing.clone();
        without_extensions(&mut outgoing, &full);
        assert_eq!(outgoing, before);
    }
}
