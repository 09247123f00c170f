//! How many requests are in flight at once in one process: in all, to one endpoint, and to endpoints that fail.

use std::collections::BTreeMap;

use skein_model::{GroupId, UnixMs};

use crate::progress::LaneId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Each request has a body in memory ([`crate::endpoint::BATCH_BYTES_MAX`]): 256 of them are 64 MiB.
    pub total: usize,
    /// One for each group of a usual cluster: more would be a load that no receiver has asked for.
    pub per_endpoint: usize,
    /// To endpoints whose last attempt failed. They hold a connection until its timeout, and leave room for those that answer.
    pub failing: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 256,
            per_endpoint: 4,
            failing: 128,
        }
    }
}

/// Why a request is not made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// One of the same lane is in flight: events would overtake each other.
    Lane,
    Endpoint,
    Failing,
    Total,
    /// The endpoint is throttled.
    Until(UnixMs),
}

/// One for a process.
#[derive(Debug, Default)]
pub struct Concurrency {
    limits: Limits,
    /// By name.
    endpoints: BTreeMap<String, InFlight>,
    total: usize,
    failing: usize,
}

#[derive(Debug, Default)]
struct InFlight {
    /// With whether the endpoint fails.
    lanes: BTreeMap<(GroupId, LaneId), bool>,
    held_until: Option<UnixMs>,
}

impl Concurrency {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes a place for a request, until [`Self::end`].
    ///
    /// # Errors
    /// There is none.
    pub fn start(
        &mut self,
        endpoint: &str,
        lane: (GroupId, LaneId),
        is_failing: bool,
        now: UnixMs,
    ) -> Result<(), Busy> {
        if let Some(own) = self.endpoints.get(endpoint) {
            match own.held_until {
                Some(until) if until > now => return Err(Busy::Until(until)),
                _ if own.lanes.contains_key(&lane) => return Err(Busy::Lane),
                _ if own.lanes.len() >= self.limits.per_endpoint => return Err(Busy::Endpoint),
                _ => {}
            }
        }
        if self.total >= self.limits.total {
            return Err(Busy::Total);
        }
        if is_failing && self.failing >= self.limits.failing {
            return Err(Busy::Failing);
        }
        let own = self.endpoints.entry(endpoint.to_owned()).or_default();
        own.held_until = None;
        own.lanes.insert(lane, is_failing);
        self.total += 1;
        self.failing += usize::from(is_failing);
        Ok(())
    }

    /// The request has ended. Nothing changes if there was none.
    pub fn end(&mut self, endpoint: &str, lane: (GroupId, LaneId)) {
        let Some(own) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        if let Some(was_failing) = own.lanes.remove(&lane) {
            self.total -= 1;
            self.failing -= usize::from(was_failing);
        }
        if own.lanes.is_empty() && own.held_until.is_none() {
            self.endpoints.remove(endpoint);
        }
    }

    /// No request to the endpoint starts before this time.
    pub fn hold(&mut self, endpoint: &str, until: UnixMs) {
        let own = self.endpoints.entry(endpoint.to_owned()).or_default();
        own.held_until = own.held_until.max(Some(until));
    }

    /// Holds that are over are forgotten, so that endpoints which are gone leave nothing behind.
    pub fn sweep(&mut self, now: UnixMs) {
        for own in self.endpoints.values_mut() {
            own.held_until = own.held_until.filter(|until| *until > now);
        }
        self.endpoints
            .retain(|_, own| !own.lanes.is_empty() || own.held_until.is_some());
    }

    /// Requests in flight.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
#[path = "concurrency_tests.rs"]
mod tests;
