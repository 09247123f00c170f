//! What automation has in force, as a sender knows it.

use std::time::{SystemTime, UNIX_EPOCH};

use skein_model::UnixMs;
use skein_model::automation::{ActiveActions, Suspensions};

use crate::clock::GroupTime;

/// What is in force, and the time by which it ends.
#[derive(Debug, Clone, Default)]
pub struct KnownActions {
    /// Grows with every change; 0 before anything was.
    pub version: u64,
    pub active_actions: ActiveActions,
    /// Of operators.
    pub suspensions: Suspensions,
    /// None: it was not read yet.
    pub(crate) time: Option<GroupTime>,
}

impl KnownActions {
    /// By this machine's clock.
    pub fn of(version: u64, active_actions: ActiveActions) -> Self {
        Self {
            version,
            active_actions,
            suspensions: Suspensions::default(),
            time: None,
        }
    }

    /// The group's time: the clock of this machine may be wrong, and may be set.
    pub fn now(&self) -> UnixMs {
        match self.time {
            Some(time) => time.now(),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let ms = since.unwrap_or_default().as_millis();
                UnixMs(u64::try_from(ms).unwrap_or(u64::MAX))
            }
        }
    }
}
