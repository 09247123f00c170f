//! The words that two large services have for the same, for people who come from there.

use skein_model::bounce::Class;

/// `bounceType` and `bounceSubType` of Amazon SES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SesWords {
    pub bounce_type: &'static str,
    pub bounce_sub_type: &'static str,
}

/// `type` of a SendGrid bounce event (`bounce` or `blocked`), and its `bounce_classification`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendGridWords {
    pub event_type: &'static str,
    pub classification: &'static str,
}

/// None for what SES does not report as a bounce.
#[must_use]
pub const fn ses(class: Class) -> Option<SesWords> {
    let (bounce_type, bounce_sub_type) = match class {
        Class::InvalidRecipient => ("Permanent", "NoEmail"),
        Class::InvalidDomain | Class::InactiveMailbox | Class::Moved => ("Permanent", "General"),
        Class::MailboxFull => ("Transient", "MailboxFull"),
        Class::TooBig => ("Transient", "MessageTooLarge"),
        Class::SpamContent | Class::Virus => ("Transient", "ContentRejected"),
        Class::Attachment => ("Transient", "AttachmentRejected"),
        Class::Greylisted
        | Class::RateLimited
        | Class::Busy
        | Class::Network
        | Class::Dns
        | Class::BlockIp
        | Class::BlockDomain
        | Class::Auth
        | Class::Policy
        | Class::Relay
        | Class::Routing
        | Class::Loop
        | Class::Protocol
        | Class::Expired => ("Transient", "General"),
        Class::Other => ("Undetermined", "Undetermined"),
        // SES calls vacation notices and challenges bounces of this kind.
        Class::AutoReply | Class::Challenge => ("Transient", "General"),
        Class::UnsubscribeRequest | Class::Delayed | Class::Complaint => return None,
    };
    Some(SesWords {
        bounce_type,
        bounce_sub_type,
    })
}

/// None for what SendGrid does not report as a bounce.
#[must_use]
pub const fn send_grid(class: Class) -> Option<SendGridWords> {
    let (event_type, classification) = match class {
        Class::InvalidRecipient | Class::InvalidDomain | Class::Moved => {
            ("bounce", "Invalid Address")
        }
        Class::InactiveMailbox => ("bounce", "Mailbox Unavailable"),
        Class::MailboxFull => ("blocked", "Mailbox Unavailable"),
        Class::Greylisted | Class::RateLimited => ("blocked", "Frequency or Volume Too High"),
        Class::BlockIp | Class::BlockDomain => ("blocked", "Reputation"),
        Class::SpamContent | Class::Attachment | Class::Virus | Class::TooBig => {
            ("blocked", "Content")
        }
        Class::Busy
        | Class::Network
        | Class::Dns
        | Class::Auth
        | Class::Relay
        | Class::Routing
        | Class::Loop
        | Class::Protocol
        | Class::Expired => ("blocked", "Technical Failure"),
        Class::Policy | Class::Other => ("blocked", "Unclassified"),
        Class::AutoReply
        | Class::Challenge
        | Class::UnsubscribeRequest
        | Class::Delayed
        | Class::Complaint => return None,
    };
    Some(SendGridWords {
        event_type,
        classification,
    })
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
