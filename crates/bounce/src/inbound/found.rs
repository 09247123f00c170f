//! What a message that came in turns out to be.

use skein_mail::dsn::Action;
use skein_smtp::reply::Enhanced;

use crate::classify::Classified;
use skein_model::bounce::Class;

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Some recipient did not get the mail.
    Bounce,
    /// No recipient has failed yet, and one is waited for.
    Delayed,
    /// All that it reports on is well: delivered, relayed, expanded.
    Delivered,
    /// A report on a report: nothing follows from it.
    DoubleBounce,
    AutoReply,
    /// An answer is wanted before the mail is shown.
    Challenge,
    /// The writer wants no more mail.
    UnsubscribeRequest,
    /// A feedback report (RFC 5965), which `skein-feedback` reads.
    Complaint,
    /// Of a person, or nothing that is known.
    Other,
}

impl Kind {
    /// In lower case, for logs and APIs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::DoubleBounce => "double_bounce",
            Self::AutoReply => "auto_reply",
            Self::Challenge => "challenge",
            Self::UnsubscribeRequest => "unsubscribe_request",
            Self::Complaint => "complaint",
            Self::Other => "other",
        }
    }

    /// The class of what is not about single recipients. A bounce has one for each of them, and the rest none.
    #[must_use]
    pub const fn class(self) -> Option<Class> {
        match self {
            Self::Delayed => Some(Class::Delayed),
            Self::AutoReply => Some(Class::AutoReply),
            Self::Challenge => Some(Class::Challenge),
            Self::UnsubscribeRequest => Some(Class::UnsubscribeRequest),
            Self::Complaint => Some(Class::Complaint),
            Self::Bounce | Self::Delivered | Self::DoubleBounce | Self::Other => None,
        }
    }
}

/// What a report says of one recipient. Strangers may have written it: only a token that verifies says whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The final recipient, as far as the report knows. Empty: it names nobody.
    pub address: String,
    /// Whom the mail was sent to at first. It may be an alias or a list with other members.
    pub original: Option<String>,
    pub action: Action,
    pub status: Option<Enhanced>,
    /// The host that refused, if the report names it.
    pub remote_mta: Option<String>,
    /// What the host said, or the words of the report; 2 KiB at most.
    pub diagnostic: String,
    /// [`Class::Delayed`] where the action is that; of no meaning where it is a good one.
    pub classified: Classified,
}

/// The places of the answer in which tokens may stand, in the order in which they are to be trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returned {
    /// Whom the answer was sent to, by its header: Delivered-To, X-Original-To, To. The RCPT of its envelope counts for more.
    pub to: Vec<String>,
    /// Return-Path of the message that came back.
    pub return_path: Option<String>,
    /// Message-ID of the message that came back; that which the answer refers to if it has none.
    pub message_id: Option<String>,
    /// The header that came back, or what follows the report in its text; 64 KiB at most.
    pub header: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    pub kind: Kind,
    /// Which form of report it has: `rfc3464`, or the name of a mail system.
    pub format: &'static str,
    /// At most 100.
    pub recipients: Vec<Recipient>,
    pub returned: Returned,
}
