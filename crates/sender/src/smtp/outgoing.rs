//! A message as a transaction with one host needs it: what it asks of the host, and whether its bytes go out as they are
//! stored. Pure.

use skein_client::{LeasedTask, SpoolError};
use skein_mail::content::{Content, LINE_BYTES_MAX};
use skein_mail::seven_bit::{self, NotConvertible, Signatures};
use skein_model::Envelope;
use skein_model::mail::{BodyType, Ret};
use skein_smtp::address::Address;
use skein_smtp::client::{
    CannotSend, Capabilities, OutgoingMessage, OutgoingRecipient, ReturnContent,
};
use skein_smtp::reply::Reply;
use skein_smtp::reply_class::{ReplyClass, Scope};

/// The largest message that is written anew. It is in memory with its new form, and no message of text is as large.
pub const REWRITTEN_BYTES_MAX: u64 = 64 << 20;

/// Why a message goes nowhere from here.
#[derive(Debug)]
pub enum KeptBack {
    /// Not to this host.
    CannotSend(CannotSend),
    /// Our copy of it cannot be read now.
    Unreadable(SpoolError),
}

impl From<CannotSend> for KeptBack {
    fn from(reason: CannotSend) -> Self {
        Self::CannotSend(reason)
    }
}

impl KeptBack {
    pub fn class(&self) -> ReplyClass {
        match self {
            Self::CannotSend(_) => ReplyClass::Failed(Scope::Message),
            Self::Unreadable(_) => ReplyClass::Deferred(Scope::Message),
        }
    }

    pub fn reply(&self) -> Reply {
        match self {
            Self::CannotSend(reason) => reason.to_reply(),
            Self::Unreadable(_) => {
                Reply::new(451, (4, 3, 0), "our copy of the message cannot be read")
            }
        }
    }
}

/// What must be done with the bytes of a message before a host can have them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The message has a bare CR or LF, as versions before the check at intake stored them.
    pub line_ends: bool,
    /// The message has octets that the host does not take.
    pub seven_bit: bool,
}

impl Rewrite {
    /// For a message whose client declared SMTPUTF8 or not. A header that needs it has no other form.
    pub fn of(
        content: &Content,
        is_utf8: bool,
        capabilities: &Capabilities,
    ) -> Result<Self, CannotSend> {
        if is_utf8 && content.has_8bit_header && !capabilities.smtputf8 {
            return Err(CannotSend::no_smtputf8("header"));
        }
        Ok(Self {
            line_ends: content.has_bare_line_end,
            seven_bit: content.has_8bit && !capabilities.eight_bit_mime,
        })
    }

    pub fn is_needed(self) -> bool {
        self.line_ends || self.seven_bit
    }

    /// Whether a message of this size may be written anew.
    pub fn admits(self, bytes: u64) -> Result<(), CannotSend> {
        match bytes > REWRITTEN_BYTES_MAX {
            true => Err(self.refused(&format!("with {bytes} octets it is too large for that"))),
            false => Ok(()),
        }
    }

    /// The new form, the same each time.
    ///
    /// A bare CR or LF goes to no host, not by BDAT either: that host would hand it on by DATA, and RFC 5321 2.3.8 forbids
    /// both. Made a CRLF, nothing is lost but what kind of line end it was, which is what `bare_newlines = "fix"` does to
    /// mail that comes in. A signature would not survive that, and a message that arrives with a broken one is lost
    /// without a word at many hosts: such a message fails, and its sender hears of it.
    pub fn apply(self, message: &[u8]) -> Result<Vec<u8>, CannotSend> {
        let mut made = None;
        if self.line_ends {
            if seven_bit::is_signed(message) {
                return Err(self.refused("it is signed or encrypted, which that would break"));
            }
            made = Some(seven_bit::with_line_ends(message));
        }
        if self.seven_bit {
            let whole = made.as_deref().unwrap_or(message);
            let converted = seven_bit::convert(whole, Signatures::Keep);
            let refused = |reason: NotConvertible| {
                let only_this = Self {
                    line_ends: false,
                    ..self
                };
                only_this.refused(&reason.to_string())
            };
            made = Some(converted.map_err(refused)?);
        }
        Ok(made.unwrap_or_else(|| message.to_vec()))
    }

    fn refused(self, reason: &str) -> CannotSend {
        match self.line_ends {
            true => CannotSend::new(
                (5, 6, 11),
                format!(
                    "message has a CR or LF that ends no line, and its line ends cannot be mended: {reason}"
                ),
            ),
            false => CannotSend::new(
                (5, 6, 3),
                format!(
                    "message has 8-bit content, the host does not offer 8BITMIME, and the message cannot be converted: \
                     {reason}"
                ),
            ),
        }
    }
}

/// The message for a host of these capabilities, whose bytes are those of `content`. Each extension has a question of its
/// own, whatever the client declared: 8BITMIME is about octets, SMTPUTF8 about header and addresses.
pub fn outgoing(
    task: &LeasedTask,
    content: &Content,
    capabilities: &Capabilities,
) -> OutgoingMessage {
    let envelope = &task.message.envelope;
    // A BODY that was declared and is not needed is still passed on to a host that takes it.
    let is_declared_8bit = envelope.body_type == BodyType::EightBit && capabilities.eight_bit_mime;
    let mut message = OutgoingMessage {
        reverse_path: envelope.return_path.clone(),
        recipients: task
            .task
            .recipients
            .iter()
            .map(|(_, recipient)| outgoing_recipient(recipient))
            .collect(),
        body_bytes: content.bytes,
        is_8bit: content.has_8bit || is_declared_8bit,
        needs_smtputf8: envelope.smtputf8 && (content.has_8bit_header || capabilities.smtputf8),
        require_tls: requires_tls(envelope) && !capabilities.lmtp,
        ret: envelope.ret.map(|ret| match ret {
            Ret::Full => ReturnContent::Full,
            Ret::Headers => ReturnContent::Headers,
        }),
        envid: envelope.envid.clone(),
        // DATA would add a line end, and hosts cut or fold lines that are too long for it.
        prefer_bdat: !content.ends_in_crlf || content.line_bytes_max > LINE_BYTES_MAX,
    };
    if !capabilities.smtputf8 {
        to_ascii(&mut message.reverse_path);
        for recipient in &mut message.recipients {
            to_ascii(&mut recipient.address);
        }
    }
    message
}

/// Whether the message goes over verified TLS or not at all. A report about such a message is not stopped by a host
/// that lacks it: no sender would be told (RFC 8689 5).
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
        kept_back: None,
    }
}

/// Addresses that are ASCII but for their domain have a form that every host takes. One without such a form stays, and the
/// transaction says so.
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
#[path = "outgoing_tests.rs"]
mod tests;
