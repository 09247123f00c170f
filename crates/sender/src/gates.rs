//! The limits that this sender keeps, and who waits for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::DurationMs;
use skein_model::throttle::{Gates, LIMITERS_MAX, LimitId, Permit, Scope, Want};

/// Who waits for something that has no known time looks again after this: policy may have raised the limit.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Destinations in one queue. Those beyond look again by their timers.
const QUEUE_MAX: usize = 1024;

/// Somebody who waits until a token comes back.
pub struct Waiter {
    /// One waits once for each limit.
    pub number: u64,
    /// Tells whether the token was of use.
    pub wake: Box<dyn Fn() -> bool + Send>,
}

/// A limit that lets nothing pass now.
#[derive(Debug)]
pub struct Closed {
    pub scope: Scope,
    /// When to look again, if nothing wakes before.
    pub until: Instant,
}

/// All limits of one sender. Their clock begins with the process.
pub struct LocalGates {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    gates: Gates,
    /// First in, first out for each limit.
    waiting: HashMap<LimitId, VecDeque<Waiter>>,
}

/// One token of each of some limits. Dropped, it counts as used.
#[must_use = "a token that is dropped counts as used"]
pub struct Token {
    gates: Arc<LocalGates>,
    permit: Option<Permit>,
    ids: Vec<LimitId>,
}

impl LocalGates {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            state: Mutex::new(State {
                gates: Gates::new(LIMITERS_MAX),
                waiting: HashMap::new(),
            }),
        })
    }

    /// A time on the clock of the limits; never 0, which stands for never.
    pub fn at(&self, time: Instant) -> DurationMs {
        let since = time.saturating_duration_since(self.began);
        DurationMs::from(since).max(DurationMs(1))
    }

    /// Since the process began.
    pub fn now(&self) -> DurationMs {
        self.began.elapsed().into()
    }

    /// Takes a token of each limit, or none. Who waits for a limit that has no time of its own is woken when a token of it comes back.
    pub fn take(
        self: &Arc<Self>,
        wants: &[Want],
        waiter: impl FnOnce() -> Option<Waiter>,
    ) -> Result<Token, Closed> {
        let mut state = self.state.lock();
        let now = self.now();
        let held = match state.gates.try_take(now, wants) {
            Ok(permit) => {
                return Ok(Token {
                    gates: self.clone(),
                    permit: Some(permit),
                    ids: wants.iter().map(|want| want.id.clone()).collect(),
                });
            }
            Err(held) => held,
        };
        let scope = held.limit.scope;
        let until = match held.until {
            // Windows count whole milliseconds.
            Some(until) => self.began + Duration::from_millis(until.0.max(now.0 + 1)),
            None => Instant::now() + LOOK_AGAIN,
        };
        if held.until.is_none()
            && let Some(waiter) = waiter()
        {
            state.wait(held.limit, waiter);
        }
        Err(Closed { scope, until })
    }

    /// Wakes whoever has waited longest for each limit and has a use for it.
    fn returned(&self, ids: &[LimitId]) {
        for id in ids {
            let turns = self.state.lock().waiting.get(id).map_or(0, VecDeque::len);
            for _ in 0..turns {
                // Not woken under the lock: it takes tokens.
                let next = self.state.lock().next(id);
                let Some(next) = next else { break };
                if (next.wake)() {
                    break;
                }
            }
        }
    }
}

impl State {
    fn wait(&mut self, id: LimitId, waiter: Waiter) {
        let queue = self.waiting.entry(id).or_default();
        let is_new = || queue.iter().all(|other| other.number != waiter.number);
        if queue.len() < QUEUE_MAX && is_new() {
            queue.push_back(waiter);
        }
    }

    fn next(&mut self, id: &LimitId) -> Option<Waiter> {
        let queue = self.waiting.get_mut(id)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(id);
        }
        next
    }
}

impl Token {
    /// What was to be done is over.
    pub fn ended(self) {
        drop(self);
    }

    /// Whether somebody waits for what this token holds.
    pub fn is_wanted(&self) -> bool {
        let state = self.gates.state.lock();
        !state.waiting.is_empty() && self.ids.iter().any(|id| state.waiting.contains_key(id))
    }

    /// It was not begun.
    pub fn cancel(mut self) {
        if let Some(permit) = self.permit.take() {
            self.gates.state.lock().gates.cancel(permit);
            self.gates.returned(&self.ids);
        }
    }

    /// A connection stands: what counts attempts has ended.
    pub fn opened(&mut self) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let now = self.gates.now();
        self.gates.state.lock().gates.opened(now, permit);
        self.gates.returned(&self.ids);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let now = self.gates.now();
            self.gates.state.lock().gates.ended(now, permit);
            self.gates.returned(&self.ids);
        }
    }
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
