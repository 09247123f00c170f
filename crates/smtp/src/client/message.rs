//! The message a transaction is to transfer, and why it may be impossible.

use crate::reply::{Enhanced, Reply};

/// RET: how much of the message a failure report is to contain (RFC 3461 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReturnContent {
    /// The whole message.
    Full,
    /// Its headers only.
    Headers,
}

/// One recipient of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutgoingRecipient {
    /// `local@domain`, without angle brackets.
    pub address: String,
    /// NOTIFY as it goes on the wire: `NEVER` or a list such as `SUCCESS,FAILURE`.
    pub notify: Option<String>,
    /// The original recipient with its type, decoded: `rfc822;user@example.com`.
    pub orcpt: Option<String>,
    /// Why it is not to go to this peer, if so; the others go.
    pub kept_back: Option<CannotSend>,
}

/// The envelope and the facts about the body which the dialogue depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// `local@domain`, or empty for the null reverse path.
    pub reverse_path: String,
    /// At least one.
    pub recipients: Vec<OutgoingRecipient>,
    /// Octets of the body before dot stuffing.
    pub body_bytes: u64,
    /// The body has octets above 127.
    pub is_8bit: bool,
    /// The headers have UTF-8. Addresses are looked at here, so they need not be counted in.
    pub needs_smtputf8: bool,
    /// The sender asked for REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// RET.
    pub ret: Option<ReturnContent>,
    /// ENVID, decoded.
    pub envid: Option<String>,
    /// Use BDAT where the peer takes it. For bodies that DATA does not carry unchanged: lines above 998 octets, no line end
    /// at the end.
    pub prefer_bdat: bool,
}

/// The message cannot go to this peer, found out before anything was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message cannot be sent to this host: {enhanced} {text}")]
pub struct CannotSend {
    /// The status for the delivery report.
    pub enhanced: Enhanced,
    /// The explanation for the delivery report.
    pub text: String,
}

impl CannotSend {
    /// With the status and the words of the report.
    pub fn new(enhanced: (u8, u16, u16), text: impl Into<String>) -> Self {
        Self {
            enhanced: enhanced.into(),
            text: text.into(),
        }
    }

    /// For something that needs SMTPUTF8 at a host without it.
    pub fn no_smtputf8(what: &str) -> Self {
        let text = format!("{what} has UTF-8 characters and the host does not offer SMTPUTF8");
        Self::new((5, 6, 7), text)
    }

    /// The refusal in the form of a reply, as if the peer had sent it.
    pub fn to_reply(&self) -> Reply {
        let code = match (self.enhanced.subject, self.enhanced.detail) {
            (3, 4) => 552,
            (1, _) => 553,
            (5, 3) => 452,
            _ => 550,
        };
        Reply::new(code, self.enhanced, self.text.as_str())
    }
}
