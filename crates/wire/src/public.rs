//! The model's kinds of things as the public API names them.

use skein_model::bounce::Class;
use skein_model::event::EventKind;
use skein_model::meta::suppressions;
use skein_model::suppression;
use skein_model::{automation, doctor, preflight, warmup};

use crate::v1;

impl From<warmup::Phase> for v1::WarmupPhase {
    fn from(phase: warmup::Phase) -> Self {
        match phase {
            warmup::Phase::Running => Self::Running,
            warmup::Phase::Paused { .. } => Self::Paused,
            warmup::Phase::Stopped => Self::Stopped,
            warmup::Phase::Finished => Self::Finished,
        }
    }
}

impl From<warmup::What> for v1::WarmupEvent {
    fn from(what: warmup::What) -> Self {
        match what {
            warmup::What::Started => Self::Started,
            warmup::What::Replanned => Self::Replanned,
            warmup::What::Paused => Self::Paused,
            warmup::What::Resumed => Self::Resumed,
            warmup::What::Skipped => Self::Skipped,
            warmup::What::Stopped => Self::Stopped,
            warmup::What::Advanced => Self::Advanced,
            warmup::What::SteppedBack => Self::SteppedBack,
            warmup::What::Rewarmed => Self::Rewarmed,
            warmup::What::Finished => Self::Finished,
        }
    }
}

impl From<automation::What> for v1::AutomationEventKind {
    fn from(what: automation::What) -> Self {
        match what {
            automation::What::Began => Self::Began,
            automation::What::Moved => Self::Moved,
            automation::What::Climbs(_) => Self::Climbs,
            automation::What::Ended => Self::Ended,
            automation::What::Lifted => Self::Lifted,
            automation::What::GaveWay => Self::GaveWay,
        }
    }
}

impl From<preflight::Check> for v1::IpCheck {
    fn from(check: preflight::Check) -> Self {
        match check {
            preflight::Check::Address => Self::Address,
            preflight::Check::Ptr => Self::Ptr,
            preflight::Check::Forward => Self::Forward,
            preflight::Check::Ehlo => Self::Ehlo,
            preflight::Check::Dnsbl => Self::Dnsbl,
        }
    }
}

impl From<doctor::Level> for v1::FindingLevel {
    fn from(level: doctor::Level) -> Self {
        match level {
            doctor::Level::Note => Self::Note,
            doctor::Level::Problem => Self::Problem,
        }
    }
}

impl From<skein_model::Priority> for v1::Priority {
    fn from(priority: skein_model::Priority) -> Self {
        match priority {
            skein_model::Priority::Transactional => Self::Transactional,
            skein_model::Priority::Bulk => Self::Bulk,
        }
    }
}

impl From<Class> for v1::BounceClass {
    fn from(class: Class) -> Self {
        match class {
            Class::InvalidRecipient => Self::InvalidRecipient,
            Class::InvalidDomain => Self::InvalidDomain,
            Class::InactiveMailbox => Self::InactiveMailbox,
            Class::Moved => Self::Moved,
            Class::MailboxFull => Self::MailboxFull,
            Class::Greylisted => Self::Greylisted,
            Class::RateLimited => Self::RateLimited,
            Class::Busy => Self::Busy,
            Class::Network => Self::Network,
            Class::Dns => Self::Dns,
            Class::BlockIp => Self::BlockIp,
            Class::BlockDomain => Self::BlockDomain,
            Class::SpamContent => Self::SpamContent,
            Class::Attachment => Self::Attachment,
            Class::Virus => Self::Virus,
            Class::Auth => Self::Auth,
            Class::Policy => Self::Policy,
            Class::Relay => Self::Relay,
            Class::Routing => Self::Routing,
            Class::Loop => Self::Loop,
            Class::TooBig => Self::TooBig,
            Class::Protocol => Self::Protocol,
            Class::Expired => Self::Expired,
            Class::Other => Self::Other,
            Class::AutoReply => Self::AutoReply,
            Class::Challenge => Self::Challenge,
            Class::UnsubscribeRequest => Self::UnsubscribeRequest,
            Class::Delayed => Self::Delayed,
            Class::Complaint => Self::Complaint,
        }
    }
}

impl From<suppression::Reason> for v1::SuppressionReason {
    fn from(reason: suppression::Reason) -> Self {
        match reason {
            suppression::Reason::HardBounce => Self::HardBounce,
            suppression::Reason::SoftBounce => Self::SoftBounce,
            suppression::Reason::Complaint => Self::Complaint,
            suppression::Reason::Unsubscribe => Self::Unsubscribe,
            suppression::Reason::Manual => Self::Manual,
        }
    }
}

impl v1::BounceClass {
    /// Unspecified where there is none.
    pub fn of_reply(reply: Option<&skein_model::Reply>) -> Self {
        let class = reply.and_then(|reply| reply.class);
        class.map_or(Self::Unspecified, Into::into)
    }
}

impl From<suppressions::Added> for v1::SuppressionAdded {
    fn from(added: suppressions::Added) -> Self {
        match added {
            suppressions::Added::Added => Self::Added,
            suppressions::Added::Changed => Self::Changed,
            suppressions::Added::WasThere => Self::WasThere,
            suppressions::Added::Full => Self::Full,
        }
    }
}

impl From<suppressions::Removed> for v1::SuppressionRemoved {
    fn from(removed: suppressions::Removed) -> Self {
        match removed {
            suppressions::Removed::Removed => Self::Removed,
            suppressions::Removed::WasNotThere => Self::WasNotThere,
            suppressions::Removed::Complaint => Self::Complaint,
        }
    }
}

impl From<&EventKind> for v1::HistoryEventKind {
    fn from(kind: &EventKind) -> Self {
        match kind {
            EventKind::Accepted { .. } => Self::Accepted,
            EventKind::Delivered { .. } => Self::Delivered,
            EventKind::Deferred { .. } => Self::Deferred,
            EventKind::Bounced { .. } => Self::Bounced,
            EventKind::Expired { .. } => Self::Expired,
            EventKind::Deleted { .. } => Self::Deleted,
            EventKind::OutOfBandBounce { .. } => Self::OutOfBandBounce,
            EventKind::Complained { .. } => Self::Complained,
        }
    }
}
