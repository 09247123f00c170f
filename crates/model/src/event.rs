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
        }
    }

    /// Another message that the event names: the report about this one, or what this one reports about.
    pub fn other_message_mut(&mut self) -> Option<&mut MessageId> {
        match self {
            Self::Accepted { about: other, .. }
            | Self::Bounced { dsn: other, .. }
            | Self::Expired { dsn: other, .. } => other.as_mut(),
            Self::Delivered { .. } | Self::Deferred { .. } | Self::Deleted { .. } => None,
        }
    }

    /// Whether the recipient is done with.
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Accepted { .. } | Self::Deferred { .. })
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
