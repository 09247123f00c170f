//! Which header fields a signature covers.
//!
//! A field that is named in h= once more than it is there is oversigned: nobody can add another without breaking the
//! signature (RFC 6376 8.15). Trace fields change on the way and are never signed.

/// How a field is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every instance, and that there is no other.
    Oversigned,
    /// Every instance.
    WhenPresent,
}

/// In the order in which h= names them. RFC 6376 5.4.1 recommends them; RFC 8058 4 demands the two of List-Unsubscribe;
/// feedback loops go by the last two.
pub const SIGNED_FIELDS: &[(&str, Coverage)] = &[
    ("From", Coverage::Oversigned),
    ("To", Coverage::Oversigned),
    ("Cc", Coverage::Oversigned),
    ("Subject", Coverage::Oversigned),
    ("Date", Coverage::Oversigned),
    ("Reply-To", Coverage::Oversigned),
    ("Message-ID", Coverage::Oversigned),
    ("MIME-Version", Coverage::Oversigned),
    ("Content-Type", Coverage::Oversigned),
    ("Content-Transfer-Encoding", Coverage::Oversigned),
    ("Sender", Coverage::WhenPresent),
    ("In-Reply-To", Coverage::WhenPresent),
    ("References", Coverage::WhenPresent),
    ("List-Id", Coverage::WhenPresent),
    ("List-Unsubscribe", Coverage::WhenPresent),
    ("List-Unsubscribe-Post", Coverage::WhenPresent),
    ("Feedback-ID", Coverage::WhenPresent),
    ("CFBL-Address", Coverage::WhenPresent),
];

/// A field that a message must have before it is signed: a host that adds a missing one on the way breaks a signature
/// that says there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// RFC 6376 5.4 lets nobody sign without it.
    From,
    Date,
    MessageId,
}

impl Required {
    pub const ALL: [Self; 3] = [Self::From, Self::Date, Self::MessageId];

    /// The field's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::From => "From",
            Self::Date => "Date",
            Self::MessageId => "Message-ID",
        }
    }
}
