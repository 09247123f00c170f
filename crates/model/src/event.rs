//! The event log: one row for each fact about a message, written in the batch that makes it true.

use minicbor::{Decode, Encode};

use crate::id::{MessageId, QueueId};
use crate::mail::{Domain, Reply};
use crate::time::{DurationMs, UnixMs};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    #[n(0)]
    pub seq: u64,
    #[n(1)]
    pub at: UnixMs,
    #[n(2)]
    pub message: MessageId,
    #[n(3)]
    pub sender: String,
    #[n(4)]
    pub tenant: String,
    #[n(5)]
    pub kind: EventKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum EventKind {
    #[n(0)]
    Accepted {
        #[n(0)]
        recipients: Vec<String>,
        #[n(1)]
        bytes: u64,
        #[n(2)]
        client: Option<String>,
        /// For a DSN: the message that it is about.
        #[n(3)]
        about: Option<MessageId>,
    },
    #[n(1)]
    Delivered {
        #[n(0)]
        recipient: String,
        #[n(1)]
        attempt: AttemptFacts,
        #[n(2)]
        reply: Reply,
    },
    #[n(2)]
    Deferred {
        #[n(0)]
        recipient: String,
        #[n(1)]
        attempt: AttemptFacts,
        #[n(2)]
        reply: Reply,
        #[n(3)]
        due: UnixMs,
    },
    #[n(3)]
    Bounced {
        #[n(0)]
        recipient: String,
        #[n(1)]
        attempt: AttemptFacts,
        #[n(2)]
        reply: Reply,
        #[n(3)]
        dsn: Option<MessageId>,
    },
    #[n(4)]
    Expired {
        #[n(0)]
        recipient: String,
        #[n(1)]
        attempt: AttemptFacts,
        #[n(2)]
        reply: Reply,
        #[n(3)]
        dsn: Option<MessageId>,
    },
    #[n(5)]
    Deleted {
        #[n(0)]
        recipient: String,
        #[n(1)]
        by: String,
    },
    /// A report that came by mail says that a host has not delivered after all.
    #[n(6)]
    OutOfBandBounce {
        #[n(0)]
        recipient: String,
        /// What the report says, in its words and as a class; the host is the one that made it.
        #[n(1)]
        reply: Reply,
        /// The report.
        #[n(2)]
        told_by: MessageId,
    },
    /// The recipient, or a program of its provider, has complained about the message (RFC 5965).
    #[n(7)]
    Complained {
        /// Empty where the report is about no single one.
        #[n(0)]
        recipient: String,
        /// `abuse`, `not-spam` and others.
        #[n(1)]
        feedback: String,
        /// Who made the report, in its own words.
        #[n(2)]
        reporter: String,
        #[n(3)]
        told_by: MessageId,
    },
}

impl EventKind {
    /// The word for this kind in logs, metrics and the CLI.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Delivered { .. } => "delivered",
            Self::Deferred { .. } => "deferred",
            Self::Bounced { .. } => "bounced",
            Self::Expired { .. } => "expired",
            Self::Deleted { .. } => "deleted",
            Self::OutOfBandBounce { .. } => "out_of_band_bounce",
            Self::Complained { .. } => "complained",
        }
    }

    /// Another message that the event names: the report about this one, or what this one reports about.
    pub fn other_message_mut(&mut self) -> Option<&mut MessageId> {
        match self {
            Self::Accepted { about: other, .. }
            | Self::Bounced { dsn: other, .. }
            | Self::Expired { dsn: other, .. } => other.as_mut(),
            Self::OutOfBandBounce { told_by, .. } | Self::Complained { told_by, .. } => {
                Some(told_by)
            }
            Self::Delivered { .. } | Self::Deferred { .. } | Self::Deleted { .. } => None,
        }
    }

    /// The report that it is known from, which came by mail; none: it is known from the delivery itself.
    pub fn told_by(&self) -> Option<MessageId> {
        match self {
            Self::OutOfBandBounce { told_by, .. } | Self::Complained { told_by, .. } => {
                Some(*told_by)
            }
            _ => None,
        }
    }

    /// The recipient that a report is about.
    pub(crate) fn told_about_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::OutOfBandBounce { recipient, .. } | Self::Complained { recipient, .. } => {
                Some(recipient)
            }
            _ => None,
        }
    }

    /// Whether the recipient is done with by this.
    pub fn is_terminal(&self) -> bool {
        let is_told = self.told_by().is_some();
        !is_told && !matches!(self, Self::Accepted { .. } | Self::Deferred { .. })
    }
}

/// How an attempt went, apart from its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AttemptFacts {
    /// 1 is the first.
    #[n(0)]
    pub number: u32,
    #[n(1)]
    pub queue: QueueId,
    #[n(2)]
    pub domain: Domain,
    #[n(3)]
    pub site: String,
    /// Local address of the connection.
    #[n(4)]
    pub source: Option<String>,
    /// Name and address of the host that was spoken to.
    #[n(5)]
    pub peer: Option<String>,
    /// Protocol version and cipher.
    #[n(6)]
    pub tls: Option<String>,
    #[n(7)]
    pub duration: DurationMs,
}
