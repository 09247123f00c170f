//! The limits that this sender keeps, alone or as its part of what all senders have, and who waits for them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::{Lease, since_boot};
use skein_model::throttle::{
    Counted, LIMITERS_MAX, LimitId, LimitReport, LimiterSet, Permit, Scope,
};
use skein_model::{DurationMs, SessionId};
use tokio::sync::{Notify, watch};

use crate::claim::Slots;
use crate::limits::path_policy::LimitRequests;

/// Who waits for something that has no known time looks again after this: policy may have raised the limit.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Destinations in one queue. Those beyond look again by their timers.
const QUEUE_MAX: usize = 1024;

/// Without a lease no connection is opened, and who would is asked again after this.
const NO_LEASE: Duration = Duration::from_secs(1);
/// Between two looks whether the lease has ended, which a sender counts a second short.
const LEASE_LOOK: Duration = Duration::from_millis(100);

/// Somebody who waits until a token comes back.
pub struct Waiter {
    /// One waits once for each limit.
    pub number: u64,
    /// Whether there is still somebody, which is asked under the lock of the limits.
    pub lives: Box<dyn Fn() -> bool + Send>,
    /// Tells whether the token was of use.
    pub wake: Box<dyn Fn() -> bool + Send>,
}

/// What is to be done, as far as limits go.
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
    /// When to look again, if nothing wakes before.
    pub until: Instant,
}

/// All limits of one sender. Their clock is the machine's, which also runs while it is suspended.
pub struct LocalLimiters {
    pub(crate) state: Mutex<State>,
    lease: OnceLock<Lease>,
    /// Since when limits of sites have been kept here alone.
    pub(crate) slots: OnceLock<Arc<Slots>>,
    /// Something is to be reported sooner than was planned.
    pub(crate) hurry: Notify,
    /// Grows whenever there are more connections than this sender may have.
    over: watch::Sender<u64>,
}

pub(crate) struct State {
    pub limiters: LimiterSet,
    /// First in, first out for each limit.
    waiting: HashMap<LimitId, VecDeque<Line>>,
    /// Those that have a time of their own, and go sooner if this sender's part grows.
    timed: HashMap<LimitId, VecDeque<Line>>,
    /// What was granted was granted to this session.
    pub session: SessionId,
    pub shared: SharedSites,
    /// When the next report is planned.
    pub planned: Option<DurationMs>,
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
    /// What it has heard.
    pub told: u64,
}

struct Line {
    waiter: Waiter,
    demand: u64,
}

/// One token of each of some limits. Dropped, it counts as used.
#[must_use = "a token that is dropped counts as used"]
pub struct Token {
    limiters: Arc<LocalLimiters>,
    permit: Option<Permit>,
    ids: Vec<LimitId>,
    pub is_elsewhere: bool,
    /// Limits because of which the connection of this token is to end.
    leaving: Mutex<Vec<LimitId>>,
    /// Limits in which its connection counts as having nothing to do.
    idle: Mutex<Vec<LimitId>>,
}

impl LocalLimiters {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                limiters: LimiterSet::new(LIMITERS_MAX),
                waiting: HashMap::new(),
                timed: HashMap::new(),
                session: SessionId::NONE,
                shared: SharedSites::default(),
                planned: None,
            }),
            lease: OnceLock::new(),
            slots: OnceLock::new(),
            hurry: Notify::new(),
            over: watch::Sender::new(0),
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

    /// A time on the clock of the limits; never 0, which stands for never.
    pub fn at(&self, time: Instant) -> DurationMs {
        let now = self.now();
        DurationMs(now.0.saturating_sub(DurationMs::from(time.elapsed()).0)).max(DurationMs(1))
    }

    pub fn now(&self) -> DurationMs {
        since_boot()
    }

    /// Brings the lease to what it is now.
    pub(crate) fn renew(&self, state: &mut State) {
        if let Some(lease) = self.lease.get() {
            state.limiters.renew(lease.of(state.session));
        }
    }

    fn holds(&self, state: &State) -> bool {
        let lease = self.lease.get();
        lease.is_some_and(|lease| lease.holds(state.session))
    }

    /// Completes with each look at a receiver after there were more connections than this sender may have.
    pub fn over(&self) -> watch::Receiver<u64> {
        self.over.subscribe()
    }

    /// Takes a token of each limit, or none. Who waits for a limit that has no time of its own is woken when a token of it
    /// comes back; who waits for one that senders share, also when this one's part grows.
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
                until: Instant::now() + NO_LEASE,
            });
        }
        let held = match state.limiters.try_take(now, &wants) {
            Ok(permit) => {
                return Ok(Token {
                    limiters: self.clone(),
                    permit: Some(permit),
                    ids: wants.iter().map(|want| want.id.clone()).collect(),
                    is_elsewhere: ask.is_elsewhere,
                    leaving: Mutex::default(),
                    idle: Mutex::default(),
                });
            }
            Err(held) => held,
        };
        let due = state.limiters.refused(now, &wants, &held, ask.demand);
        if let Some(due) = due
            && state.planned.is_none_or(|planned| due < planned)
        {
            state.planned = Some(due);
            self.hurry.notify_one();
        }
        let scope = held.limit.scope;
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
            state.wait(is_timed, held.limit, Line { waiter, demand });
        }
        Err(Closed { scope, until })
    }

    /// Wakes whoever has waited longest for each limit and has a use for it.
    fn returned(&self, ids: &[LimitId]) {
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
        let turns = self
            .state
            .lock()
            .queues(is_timed)
            .get(id)
            .map_or(0, VecDeque::len);
        let mut left = most;
        for _ in 0..turns {
            if left == 0 {
                return;
            }
            // Not woken under the lock: it takes tokens.
            let next = self.state.lock().next(is_timed, id);
            let Some(next) = next else { return };
            left -= u64::from((next.waiter.wake)());
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

impl Line {
    fn lives(&self) -> bool {
        (self.waiter.lives)()
    }
}

impl State {
    /// Whether the limits of a site are shared: others say so, or this sender has begun to.
    fn is_shared(&self, ask: &Ask<'_>) -> bool {
        ask.is_elsewhere
            || self.shared.sites.contains(ask.site)
            || ask
                .wants
                .by_owner()
                .any(|id| self.limiters.has_allocation(id))
    }

    fn queues(&mut self, is_timed: bool) -> &mut HashMap<LimitId, VecDeque<Line>> {
        match is_timed {
            true => &mut self.timed,
            false => &mut self.waiting,
        }
    }

    fn wait(&mut self, is_timed: bool, id: LimitId, line: Line) {
        let queue = self.queues(is_timed).entry(id).or_default();
        let number = line.waiter.number;
        if queue.len() >= QUEUE_MAX {
            queue.retain(Line::lives);
        }
        let known = queue.iter().position(|other| other.waiter.number == number);
        match known {
            Some(known) => queue[known].demand = line.demand,
            None if queue.len() < QUEUE_MAX => queue.push_back(line),
            None => {}
        }
    }

    fn next(&mut self, is_timed: bool, id: &LimitId) -> Option<Line> {
        let queues = self.queues(is_timed);
        let queue = queues.get_mut(id)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            queues.remove(id);
        }
        next
    }

    /// What is to be reported, with what waits in queues.
    pub fn reports(&mut self, now: DurationMs) -> Vec<LimitReport> {
        let Self {
            limiters, waiting, ..
        } = self;
        limiters.reports(now, |id| {
            let lines = waiting.get(id).into_iter().flatten();
            // Who is gone would ask for a part for ever.
            let lines = lines.filter(|line| line.lives());
            lines.map(|line| line.demand).sum()
        })
    }
}

impl Token {
    /// What was to be done is over.
    pub fn ended(self) {
        drop(self);
    }

    fn connections(&self) -> impl Iterator<Item = &LimitId> {
        let ids = self.ids.iter();
        ids.filter(|id| id.counts == Counted::Connections)
    }

    /// Whether somebody else than the waiter of this number waits for the connection that this token holds: who has it
    /// would give it up for another one of its own.
    pub fn is_wanted(&self, own: u64) -> bool {
        let state = self.limiters.state.lock();
        let mut lines = self.connections().filter_map(|id| state.waiting.get(id));
        let is_other = |line: &Line| line.waiter.number != own && line.lives();
        lines.any(|lines| lines.iter().any(is_other))
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

    /// It was not begun.
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
                if let Some(due) = due
                    && state.planned.is_none_or(|planned| due < planned)
                {
                    state.planned = Some(due);
                    self.limiters.hurry.notify_one();
                }
            }
            self.limiters.returned(&self.ids);
        }
    }
}

#[cfg(test)]
#[path = "limiters_tests.rs"]
mod tests;
