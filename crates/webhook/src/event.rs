//! Events as the log has them, and which of them somebody wants.

use std::collections::BTreeSet;
use std::fmt;

use skein_model::{GroupId, MessageId, UnixMs};

/// An event's id: 48 bits of milliseconds, 16 bits of group, 64 bits of its number there. It prints as a ULID, sorts by age, and
/// is the same whoever makes it, so nobody has to keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(MessageId);

impl EventId {
    #[must_use]
    pub fn new(at: UnixMs, group: GroupId, seq: u64) -> Self {
        Self(MessageId::new(at, group, seq))
    }

    #[must_use]
    pub fn octets(&self) -> [u8; 16] {
        self.0.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What has happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    Accepted,
    Delivered,
    Deferred,
    Bounced,
    Expired,
    Deleted,
    Suppressed,
    Complained,
    Opened,
    Clicked,
    Unsubscribed,
}

impl EventType {
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Delivered,
        Self::Deferred,
        Self::Bounced,
        Self::Expired,
        Self::Deleted,
        Self::Suppressed,
        Self::Complained,
        Self::Opened,
        Self::Clicked,
        Self::Unsubscribed,
    ];

    /// As payloads and settings have it: letters and full stops, in which JSON escapes nothing.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "message.accepted",
            Self::Delivered => "message.delivered",
            Self::Deferred => "message.deferred",
            Self::Bounced => "message.bounced",
            Self::Expired => "message.expired",
            Self::Deleted => "message.deleted",
            Self::Suppressed => "message.suppressed",
            Self::Complained => "message.complained",
            Self::Opened => "message.opened",
            Self::Clicked => "message.clicked",
            Self::Unsubscribed => "message.unsubscribed",
        }
    }

    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One row of a group's event log.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub id: EventId,
    /// Its number in the group's log: each is one more than the one before.
    pub seq: u64,
    pub group: GroupId,
    pub kind: EventType,
    pub at: UnixMs,
    pub tenant: &'a str,
    /// The kind of mail, where the tenant has streams.
    pub stream: Option<&'a str>,
    pub message: MessageId,
    /// One JSON value with all that is told of the event, its id among it; the same whenever the row is read.
    pub json: &'a str,
}

/// Which events are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// None: those of all tenants.
    pub tenant: Option<String>,
    /// Empty: all types.
    pub types: BTreeSet<EventType>,
    /// Empty: all, and events without a stream.
    pub streams: BTreeSet<String>,
}

impl Filter {
    #[must_use]
    pub fn takes(&self, event: &Event<'_>) -> bool {
        let is_tenants = self.tenant.as_ref().is_none_or(|own| own == event.tenant);
        let is_of_type = self.types.is_empty() || self.types.contains(&event.kind);
        let is_of_stream = self.streams.is_empty()
            || event
                .stream
                .is_some_and(|stream| self.streams.contains(stream));
        is_tenants && is_of_type && is_of_stream
    }
}
