//! One token of each of some limits, from when it is taken until what it is for has ended.

use std::sync::Arc;

use parking_lot::Mutex;
use skein_model::throttle::{Counted, LimitId, Permit};

use crate::limits::limiters::LocalLimiters;
use crate::limits::policy_use::UnderPolicy;

/// One token of each of some limits. Dropped, it counts as used.
#[must_use = "a token that is dropped counts as used"]
pub struct Token {
    limiters: Arc<LocalLimiters>,
    permit: Option<Permit>,
    ids: Vec<LimitId>,
    pub is_elsewhere: bool,
    /// The policy by which a transaction took it.
    pub under: Option<UnderPolicy>,
    /// Limits because of which the connection of this token is to end.
    leaving: Mutex<Vec<LimitId>>,
    /// Limits in which its connection counts as having nothing to do.
    idle: Mutex<Vec<LimitId>>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl Token {
    pub(crate) fn new(
        limiters: Arc<LocalLimiters>,
        permit: Permit,
        ids: Vec<LimitId>,
        is_elsewhere: bool,
    ) -> Self {
        Self {
            limiters,
            permit: Some(permit),
            ids,
            is_elsewhere,
            under: None,
            leaving: Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// The event that the token was taken for is over.
    pub fn ended(self) {
        drop(self);
    }

    fn connections(&self) -> impl Iterator<Item = &LimitId> {
        let ids = self.ids.iter();
        ids.filter(|id| id.counts == Counted::Connections)
    }

    /// Whether a waiter of another number than this waits for the connection that this token holds: a destination would
    /// give it up for another one of its own.
    pub fn is_wanted(&self, own: u64) -> bool {
        let state = self.limiters.state.lock();
        self.connections()
            .any(|id| state.waiters.has_another(id, own))
    }

    /// Whether the connection of this token is to end, because there are more than this sender may have.
    pub fn must_leave(&self) -> bool {
        let mut leaving = self.leaving.lock();
        if !leaving.is_empty() {
            return true;
        }
        let mut state = self.limiters.state.lock();
        self.limiters.renew(&mut state);
        let now = self.limiters.now();
        for id in self.connections() {
            if state.limiters.must_leave(now, id) {
                leaving.push(id.clone());
            }
        }
        !leaving.is_empty()
    }

    /// Completes when the connection of this token is to end.
    pub async fn to_end(&self) {
        let mut over = self.limiters.over();
        while !self.must_leave() {
            // The sender of the changes lives as long as this token.
            let _ = over.changed().await;
        }
    }

    /// The connection of this token has nothing to do, or has again.
    pub fn set_idle(&self, is_idle: bool) {
        let mut idle = self.idle.lock();
        if is_idle != idle.is_empty() {
            return;
        }
        let mut state = self.limiters.state.lock();
        match is_idle {
            true => {
                let counted = self.connections();
                let counted = counted.filter(|id| state.limiters.idles(id, true));
                *idle = counted.cloned().collect();
            }
            false => {
                for id in idle.drain(..) {
                    state.limiters.idles(&id, false);
                }
            }
        }
    }

    /// The event was not begun.
    pub fn cancel(mut self) {
        if let Some(permit) = self.permit.take() {
            self.limiters.state.lock().limiters.cancel(permit);
            self.limiters.returned(&self.ids);
        }
    }

    /// A connection stands: what counts attempts has ended.
    pub fn opened(&mut self) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let now = self.limiters.now();
        self.limiters.state.lock().limiters.opened(now, permit);
        self.limiters.returned(&self.ids);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let now = self.limiters.now();
            {
                let mut state = self.limiters.state.lock();
                state.limiters.ended(now, permit);
                for id in self.leaving.lock().drain(..) {
                    state.limiters.left(&id);
                }
                for id in self.idle.lock().drain(..) {
                    state.limiters.idles(&id, false);
                }
                let due = state.limiters.ended_at(now, &self.ids);
                if due.is_some_and(|due| state.plan(due)) {
                    self.limiters.hurry.notify_one();
                }
            }
            self.limiters.returned(&self.ids);
        }
    }
}
