//! The limits that this sender keeps, alone or as its part of what all senders have.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::{Lease, since_boot};
use skein_model::throttle::{Counted, LIMITERS_MAX, LimitId, LimitReport, LimiterSet, Scope};
use skein_model::{DurationMs, SessionId};
use skein_policy::Policy;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::claim::Slots;
use crate::limits::path_policy::LimitRequests;
use crate::limits::token::Token;
use crate::limits::waiters::{Waiter, Waiters};

/// A destination that waits for something without a known time looks again after this: policy may have raised the limit.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Without a lease no connection is opened. A destination that would looks again after this.
const NO_LEASE: Duration = Duration::from_secs(1);
/// Between two looks whether the lease has ended, which a sender counts a second short.
const LEASE_LOOK: Duration = Duration::from_millis(100);

/// An event that limits are asked about.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub wants: &'a LimitRequests,
    pub site: &'a str,
    /// The task is not in the slot of its site, so this sender may not be the only one that sends there.
    pub is_elsewhere: bool,
    /// Another sender may have had the slot until then; none: none ever had.
    pub gone_since: Option<Instant>,
    /// How many tokens could be used now, with this one.
    pub demand: u64,
}

/// A limit that lets nothing pass now.
#[derive(Debug)]
pub struct Closed {
    pub scope: Scope,
    pub counts: Counted,
    /// When to look again, if nothing wakes before.
    pub until: Instant,
}

/// All limits of one sender. Their clock is the machine's, which also runs while it is suspended.
pub struct LocalLimiters {
    pub(crate) state: Mutex<LimiterState>,
    lease: OnceLock<Lease>,
    /// Since when limits of sites have been kept here alone.
    pub(crate) slots: OnceLock<Arc<Slots>>,
    /// Something is to be reported sooner than was planned.
    pub(crate) hurry: Notify,
    /// Grows whenever there are more connections than this sender may have.
    over: watch::Sender<u64>,
    /// Numbers of messages that wait to come in.
    pub(crate) intake_waiters: AtomicU64,
}

pub(crate) struct LimiterState {
    pub limiters: LimiterSet,
    pub waiters: Waiters,
    /// The session that all parts were granted to.
    pub session: SessionId,
    pub shared: SharedSites,
    /// When the next report is planned.
    pub planned: Option<DurationMs>,
    /// What limits of mail that comes in are of. Kept beside the limiters, which must have heard of its version first.
    pub policy: Arc<Policy>,
}

/// Sites that several senders share, as this one knows them.
#[derive(Default)]
pub(crate) struct SharedSites {
    pub version: u64,
    pub sites: BTreeSet<String>,
    /// Those that have become so since the leader was told of a version.
    pub fresh: BTreeSet<String>,
    /// The leader is to hear in this session which version is known.
    pub is_told: bool,
    /// The version that the leader has heard of.
    pub told: u64,
}

impl LocalLimiters {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LimiterState {
                limiters: LimiterSet::new(LIMITERS_MAX),
                waiters: Waiters::default(),
                session: SessionId::NONE,
                shared: SharedSites::default(),
                planned: None,
                policy: Policy::built_in(),
            }),
            lease: OnceLock::new(),
            slots: OnceLock::new(),
            hurry: Notify::new(),
            over: watch::Sender::new(0),
            intake_waiters: AtomicU64::new(0),
        })
    }

    /// Without it, nothing is used of what senders share.
    pub fn set_lease(&self, lease: Lease) {
        // There is one for the life of the process.
        let _ = self.lease.set(lease);
    }

    /// Without it, what earlier owners of slots have used is taken for unknown.
    pub fn set_slots(&self, slots: Arc<Slots>) {
        let _ = self.slots.set(slots);
    }

    /// Limits are wanted as this policy has them.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        let mut state = self.state.lock();
        state.limiters.set_policy(policy.version());
        state.policy = policy;
    }

    /// A time on the clock of the limits; never 0, which stands for never.
    pub fn at(&self, time: Instant) -> DurationMs {
        let now = self.now();
        DurationMs(now.0.saturating_sub(DurationMs::from(time.elapsed()).0)).max(DurationMs(1))
    }

    pub fn now(&self) -> DurationMs {
        since_boot()
    }

    /// Brings the lease to what it is now.
    pub(crate) fn renew(&self, state: &mut LimiterState) {
        if let Some(lease) = self.lease.get() {
            state.limiters.renew(lease.of(state.session));
        }
    }

    fn holds(&self, state: &LimiterState) -> bool {
        let lease = self.lease.get();
        lease.is_some_and(|lease| lease.holds(state.session))
    }

    /// Completes with each look at a receiver after there were more connections than this sender may have.
    pub fn over(&self) -> watch::Receiver<u64> {
        self.over.subscribe()
    }

    /// Takes a token of each limit, or none. The waiter for a limit that has no time of its own is woken when a token of it
    /// comes back; the one for a limit that senders share, also when this one's part grows.
    pub fn take(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        waiter: impl FnOnce() -> Option<Waiter>,
    ) -> Result<Token, Closed> {
        let mut state = self.state.lock();
        let now = self.now();
        self.renew(&mut state);
        let gone_since = ask.gone_since.map(|time| self.at(time));
        let wants = ask.wants.of(state.is_shared(ask), gone_since);
        let connection = wants.iter().map(|want| &want.id);
        let mut connection = connection.filter(|id| id.counts == Counted::Connections);
        if let Some(id) = connection.next()
            && !self.holds(&state)
        {
            return Err(Closed {
                scope: id.scope,
                counts: id.counts,
                until: Instant::now() + NO_LEASE,
            });
        }
        let held = match state.limiters.try_take(now, &wants) {
            Ok(permit) => {
                let ids = wants.iter().map(|want| want.id.clone()).collect();
                return Ok(Token::new(self.clone(), permit, ids, ask.is_elsewhere));
            }
            Err(held) => held,
        };
        let due = state.limiters.refused(now, &wants, &held, ask.demand);
        if due.is_some_and(|due| state.plan(due)) {
            self.hurry.notify_one();
        }
        let (scope, counts) = (held.limit.scope, held.limit.counts);
        let until = match held.until {
            // Windows count whole milliseconds.
            Some(until) => {
                Instant::now() + Duration::from_millis(until.0.saturating_sub(now.0).max(1))
            }
            None => Instant::now() + LOOK_AGAIN,
        };
        let is_timed = held.until.is_some();
        if (!is_timed || due.is_some())
            && let Some(waiter) = waiter()
        {
            let demand = ask.demand;
            state.waiters.wait(is_timed, held.limit, waiter, demand);
        }
        Err(Closed {
            scope,
            counts,
            until,
        })
    }

    /// Limits on connections of which some are in use: how many those are, and how many there may be here.
    pub fn connections(&self) -> Vec<(LimitId, u64, u64)> {
        let state = self.state.lock();
        let limits = state.limiters.connections_in_use();
        limits
            .map(|(id, used, allowed)| (id.clone(), used, allowed))
            .collect()
    }

    /// Takes tokens that are free soon; none after `stop`.
    pub async fn take_within(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        within: Duration,
        stop: &CancellationToken,
    ) -> Option<Token> {
        let deadline = Instant::now() + within;
        loop {
            let closed = match self.take(ask, || None) {
                Ok(token) => return Some(token),
                Err(closed) => closed,
            };
            if closed.until > deadline {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep_until(closed.until.into()) => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    /// Wakes the destination that has waited longest for each limit and has a use for it.
    pub(crate) fn returned(&self, ids: &[LimitId]) {
        for id in ids {
            self.wake(false, id, 1);
        }
    }

    /// So many more may be used of a limit than before.
    pub(crate) fn grew(&self, id: &LimitId, more: u64) {
        self.wake(false, id, more);
        self.wake(true, id, more);
    }

    fn wake(&self, is_timed: bool, id: &LimitId, most: u64) {
        let turns = self.state.lock().waiters.len(is_timed, id);
        let mut left = most;
        for _ in 0..turns {
            if left == 0 {
                return;
            }
            // Not woken under the lock: it takes tokens.
            let next = self.state.lock().waiters.next(is_timed, id);
            let Some(next) = next else { return };
            left -= u64::from((next.wake)());
        }
    }

    /// Lets connections look when the lease has ended. The leader may be out of reach then, so nothing else says so in time.
    pub async fn follow_lease(self: Arc<Self>) {
        let mut held = false;
        loop {
            tokio::time::sleep(LEASE_LOOK).await;
            let holds = self.holds(&self.state.lock());
            if held && !holds {
                self.over.send_modify(|times| *times += 1);
            }
            held = holds;
        }
    }

    /// Lets connections look whether they are to end.
    pub(crate) fn say_if_over(&self) {
        let is_over = {
            let mut state = self.state.lock();
            self.renew(&mut state);
            state.limiters.is_over(self.now())
        };
        if is_over {
            self.over.send_modify(|times| *times += 1);
        }
    }
}

impl LimiterState {
    /// Whether the limits of a site are shared: others say so, or this sender has begun to.
    fn is_shared(&self, ask: &Ask<'_>) -> bool {
        ask.is_elsewhere
            || self.shared.sites.contains(ask.site)
            || ask
                .wants
                .by_owner()
                .any(|id| self.limiters.has_allocation(id))
    }

    /// A report is to be sent by then. Tells whether that is sooner than was planned.
    pub fn plan(&mut self, due: DurationMs) -> bool {
        let is_sooner = self.planned.is_none_or(|planned| due < planned);
        if is_sooner {
            self.planned = Some(due);
        }
        is_sooner
    }

    /// The reports that are due, with the demand of queues.
    pub fn reports(&mut self, now: DurationMs) -> Vec<LimitReport> {
        let Self {
            limiters, waiters, ..
        } = self;
        limiters.reports(now, |id| waiters.demand(id))
    }
}

#[cfg(test)]
#[path = "limiters_tests.rs"]
mod tests;
