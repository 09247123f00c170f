//! How long a sender may act on what came with its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skein_model::{DurationMs, SessionId, lease};

use crate::clock::since_boot;

/// A [`lease::Lease`] that many tasks look at, on a clock that also runs while the machine is suspended.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<Holder>);

#[derive(Debug, Default)]
struct Holder {
    until: AtomicU64,
    session: AtomicU64,
}

impl Lease {
    /// Whether a message that came with this session may be completed now.
    pub fn holds(&self, session: SessionId) -> bool {
        self.of(session).holds(since_boot())
    }

    /// For how long that is so without another heartbeat; zero if it is not.
    pub fn left(&self, session: SessionId) -> DurationMs {
        self.of(session).left(since_boot())
    }

    /// Completes when no message that came with this session may be completed any more.
    pub async fn ended(&self, session: SessionId) {
        loop {
            match self.of(session).left(since_boot()) {
                DurationMs(0) => return,
                left => tokio::time::sleep(left.into()).await,
            }
        }
    }

    /// The lease if it is this session's; that of a later one keeps nothing valid that was said to this one.
    pub fn of(&self, session: SessionId) -> lease::Lease {
        // In this order: a session is written before its first lease, and after the end of the one before it.
        let until = DurationMs(self.0.until.load(Ordering::SeqCst));
        match self.0.session.load(Ordering::SeqCst) == session.0 {
            true => lease::Lease { until },
            false => lease::Lease::ENDED,
        }
    }

    /// A session begins. The one before it has no lease from here on.
    pub fn begin(&self, session: SessionId, lease: lease::Lease) {
        self.0.until.store(0, Ordering::SeqCst);
        self.0.session.store(session.0, Ordering::SeqCst);
        self.set(lease);
    }

    pub(super) fn set(&self, lease: lease::Lease) {
        self.0.until.store(lease.until.0, Ordering::SeqCst);
    }
}
