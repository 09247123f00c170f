//! The model's kinds of things as the public API names them.

use skein_model::event::EventKind;
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

impl From<&EventKind> for v1::HistoryEventKind {
    fn from(kind: &EventKind) -> Self {
        match kind {
            EventKind::Accepted { .. } => Self::Accepted,
            EventKind::Delivered { .. } => Self::Delivered,
            EventKind::Deferred { .. } => Self::Deferred,
            EventKind::Bounced { .. } => Self::Bounced,
            EventKind::Expired { .. } => Self::Expired,
            EventKind::Deleted { .. } => Self::Deleted,
        }
    }
}
