//! What one sender has of a limit that spans senders, and what it says of it.

use minicbor::{Decode, Encode};

use super::limit::{LimitId, Limiter, SharedLimit};
use super::shares::{ShareAnswer, ShareHeld, ShareReport};
use super::token_lease::{TokenLeaseAnswer, TokenLeaseReport};
use crate::lease::Lease;
use crate::time::DurationMs;

/// A holder hears within this time that others wait for its share.
const EVERY: DurationMs = DurationMs::from_secs(1);
/// Tokens of long windows that are at hand in plenty are told of less often, because each report is committed. The leader
/// takes who is silent for longer than [`super::ledger`]'s patience as not waiting.
const SELDOM: DurationMs = DurationMs::from_secs(4);
/// A sender that waits asks again after this, while asking brings nothing.
const POLL: DurationMs = DurationMs(250);
/// And after this while it brings more.
const AT_ONCE: DurationMs = DurationMs(10);
/// A limit that no task has used for so long here is given up.
const IDLE: DurationMs = DurationMs::from_secs(10);
/// Below this, what is wanted is said exactly, so that small limits are not asked for in vain.
const EXACT: u64 = 8;

/// What a session says of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LimitReport {
    #[n(0)]
    pub id: LimitId,
    /// As the sender knows it.
    #[n(1)]
    pub limit: SharedLimit,
    /// The version of the policy that says so.
    #[n(2)]
    pub policy: u64,
    #[n(3)]
    pub said: Said,
    /// The session does without from now on: nothing of it counts here, and it forgets what it was told.
    #[n(4)]
    pub is_last: bool,
    /// The owner of the site's slot keeps this limit by itself unless the site is known to be several senders'.
    #[n(5)]
    pub is_by_owner: bool,
    /// What this sender has used of a long window while it kept the limit alone.
    #[n(6)]
    pub before: Before,
}

/// Tokens of one sender's own window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Before {
    /// That have ended within the window.
    #[n(0)]
    pub ended: u64,
    /// Of tasks whose event may still come.
    #[n(1)]
    pub out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    #[n(0)]
    Share(#[n(0)] ShareReport),
    #[n(1)]
    TokenLease(#[n(0)] TokenLeaseReport),
}

/// What the leader has committed about one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum LimitAnswer {
    #[n(0)]
    Share(#[n(0)] ShareAnswer),
    #[n(1)]
    TokenLease(#[n(0)] TokenLeaseAnswer),
    /// The last report has arrived.
    #[n(2)]
    Closed,
    /// Nothing yet: a single owner may keep the limit still, or the policy has changed.
    #[n(3)]
    Later,
    /// There are as many limits as there may be.
    #[n(4)]
    Full,
}

/// About 150 bytes beside the limiter.
#[derive(Debug)]
pub(super) struct Allocation {
    limit: SharedLimit,
    policy: u64,
    is_by_owner: bool,
    before: Before,
    share: ShareHeld,
    /// The most that counted at once, or what was taken of a token lease, in the second before `peak_at` and since.
    peak: [u64; 2],
    peak_at: DurationMs,
    /// Events that have not found a token, and until when that is so.
    unmet: (u64, DurationMs),
    used_at: DurationMs,
    told_at: Option<DurationMs>,
    told_counted: u64,
    /// A task found no token since the last report.
    is_refused: bool,
    /// The last answer brought more, so the next may.
    is_growing: bool,
    /// The leader has not heard that this is known.
    is_lowered: bool,
    is_closing: bool,
    /// Another sender is to have the site: what ends is not used again here, until something is.
    is_leaving: bool,
    /// What was used alone has not been told yet.
    is_secret: bool,
    /// Answers to reports of the limit as it is that are to come before anything is used: what was given before is a part of
    /// a higher limit, and others have theirs.
    unsettled: u8,
    /// Connections that are about to end because there are too many.
    leaving: u64,
    /// Connections that have nothing to do: others may have their places.
    idle: u64,
}

impl Allocation {
    pub fn new(now: DurationMs, limit: SharedLimit) -> Self {
        Self {
            limit,
            policy: 0,
            is_by_owner: false,
            before: Before::default(),
            share: ShareHeld::default(),
            peak: [0; 2],
            peak_at: now,
            unmet: (0, DurationMs(0)),
            used_at: now,
            told_at: None,
            told_counted: 0,
            is_refused: false,
            is_growing: true,
            is_lowered: false,
            is_closing: false,
            is_leaving: false,
            is_secret: false,
            unsettled: 0,
            leaving: 0,
            idle: 0,
        }
    }

    /// The limit as it is now. Says whether it is another one than before, with another window: then what was said of
    /// the share holds no more.
    ///
    /// Nothing is used of a limit that a later policy has made lower before the leader has answered for it. Tokens that are
    /// granted take two answers: the first may bring what was granted before, which is given back.
    #[must_use]
    pub fn set(&mut self, limit: SharedLimit, policy: u64, is_by_owner: bool) -> bool {
        let is_other = self.limit.per() != limit.per();
        let is_lower = !is_other && limit.count() < self.limit.count();
        if is_other {
            self.begin_session();
        }
        if policy != self.policy && (is_lower || (is_other && !limit.is_granted())) {
            self.unsettled = match limit.is_granted() {
                true => 2,
                false => 1,
            };
            self.told_at = None;
        }
        (self.limit, self.policy, self.is_by_owner) = (limit, policy, is_by_owner);
        is_other
    }

    /// The limit was kept alone until now, or partly so. That is told with each request until one has arrived.
    pub fn used_before(&mut self, before: Before) {
        self.before = before;
        self.is_secret = true;
    }

    pub fn is_told(&mut self) {
        self.is_secret = false;
    }

    /// The site is to be another sender's, which waits for what is used here.
    pub fn leaves(&mut self) {
        self.is_leaving = true;
        self.told_at = None;
    }

    /// Whether the leader counts what is used here.
    pub fn is_heard(&self) -> bool {
        self.share.version() > 0 && !self.is_secret
    }

    /// What was said before, to another session, holds no more.
    pub fn begin_session(&mut self) {
        self.share = ShareHeld::default();
        self.told_at = None;
        self.is_closing = false;
        self.is_growing = true;
        self.unsettled = 0;
    }

    /// Whether nothing may be used before the leader has answered.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled > 0
    }

    /// Of a share; what is granted is in a token lease.
    pub fn may(&self, now: DurationMs, lease: Lease) -> u64 {
        match self.is_closing || self.is_unsettled() {
            true => 0,
            false => self.share.may(now, lease),
        }
    }

    pub fn took(&mut self, now: DurationMs, limiter: &Limiter) {
        self.used_at = now;
        self.is_leaving = false;
        self.peak[1] = match limiter {
            Limiter::TokenLease(_) => self.peak[1].saturating_add(1),
            _ => self.peak[1].max(limiter.counted(now).saturating_sub(self.idle)),
        };
    }

    /// So many events would go now if they could; none of them before `until`, if anything says when.
    pub fn refused(&mut self, now: DurationMs, demand: u64, until: Option<DurationMs>) {
        self.used_at = now;
        self.is_refused = true;
        // Without a time, a task that asks waits in a queue and is counted there.
        if let Some(until) = until {
            self.unmet = match now < self.unmet.1 {
                true => (self.unmet.0.max(demand), self.unmet.1.max(until)),
                false => (demand, until),
            };
        }
    }

    /// When it is time to report.
    pub fn due_at(&self, now: DurationMs, limiter: &Limiter) -> DurationMs {
        let Some(told_at) = self.told_at.filter(|_| !self.is_secret) else {
            return now;
        };
        let counted = limiter.counted(now);
        let has_all = self.share.told() >= self.limit.count() && !self.is_lowered;
        let after = match limiter {
            _ if self.is_unsettled() => AT_ONCE,
            _ if self.is_leaving && counted < self.told_counted => AT_ONCE,
            Limiter::Window(_) | Limiter::Concurrency(_) if has_all => EVERY,
            _ if self.is_refused && self.is_growing => AT_ONCE,
            _ if self.is_refused => POLL,
            Limiter::TokenLease(token_lease)
                if token_lease.unused() * 2 > self.peak[1] && token_lease.unused() > 0 =>
            {
                DurationMs((self.limit.per().0 / 64).clamp(EVERY.0, SELDOM.0))
            }
            Limiter::TokenLease(_) => EVERY,
            _ if self.is_lowered => AT_ONCE,
            Limiter::Concurrency(_)
                if self.share.is_over(self.told_counted) && counted < self.told_counted =>
            {
                AT_ONCE
            }
            Limiter::Window(_) if self.share.is_over(self.told_counted) => POLL,
            _ => EVERY,
        };
        DurationMs(told_at.0 + after.0)
    }

    /// What to tell, when so many events wait in queues.
    pub fn report(
        &mut self,
        now: DurationMs,
        id: &LimitId,
        limiter: &mut Limiter,
        waiting: u64,
    ) -> LimitReport {
        let counted = limiter.counted(now);
        let unmet = match now < self.unmet.1 {
            true => self.unmet.0,
            false => 0,
        };
        let busy = counted.saturating_sub(self.idle);
        let peak = match limiter {
            // A window remembers by itself.
            Limiter::Window(_) => busy,
            _ => self.peak[0].max(self.peak[1]).max(busy),
        };
        let more = waiting.saturating_add(unmet);
        let wants = match self.is_leaving {
            true => more,
            false => ample(peak).saturating_add(more),
        };
        let wants = rounded(wants).min(self.limit.count());
        let is_unused = now.0.saturating_sub(self.used_at.0) >= IDLE.0 && more == 0;
        let is_at_rest = match limiter {
            Limiter::TokenLease(token_lease) => token_lease.is_at_rest(),
            _ => counted == 0,
        };
        self.is_closing |= is_unused && is_at_rest && !self.is_secret;
        let wants = match self.is_closing {
            true => 0,
            false => wants,
        };
        if now.0.saturating_sub(self.peak_at.0) >= EVERY.0 {
            self.peak = [self.peak[1], 0];
            self.peak_at = now;
        }
        self.told_at = Some(now);
        self.told_counted = counted;
        self.is_lowered = false;
        self.is_refused = more > 0;
        LimitReport {
            id: id.clone(),
            limit: self.limit,
            policy: self.policy,
            said: match limiter {
                Limiter::TokenLease(token_lease) => Said::TokenLease(token_lease.report(wants)),
                _ => Said::Share(self.share.report(counted, wants)),
            },
            is_last: self.is_closing,
            is_by_owner: self.is_by_owner,
            before: self.before,
        }
    }

    /// Takes the answer to a report of this limit; says how many more events may go than before.
    pub fn answered(
        &mut self,
        reported: SharedLimit,
        answer: LimitAnswer,
        limiter: &mut Limiter,
    ) -> u64 {
        let was_unsettled = self.is_unsettled();
        if matches!(answer, LimitAnswer::TokenLease(_)) && !self.is_secret {
            self.before = Before::default();
        }
        let more = match (answer, &mut *limiter) {
            (LimitAnswer::Share(answer), Limiter::Window(_) | Limiter::Concurrency(_)) => {
                let before = self.share.told();
                self.share.answered(answer);
                self.is_lowered |= self.share.told() < before;
                self.share.told().saturating_sub(before)
            }
            (LimitAnswer::TokenLease(answer), Limiter::TokenLease(token_lease)) => {
                let before = token_lease.unused();
                token_lease.answered(answer);
                token_lease.unused().saturating_sub(before)
            }
            _ => {
                self.is_growing = false;
                return 0;
            }
        };
        if was_unsettled && reported == self.limit {
            self.unsettled -= 1;
        }
        let more = match (was_unsettled, limiter) {
            (false, _) => more,
            (true, Limiter::TokenLease(token_lease)) if self.is_unsettled() => {
                token_lease.give_back();
                0
            }
            (true, _) if self.is_unsettled() => 0,
            (true, Limiter::TokenLease(token_lease)) => token_lease.unused(),
            (true, _) => self.share.told(),
        };
        self.is_growing = more > 0;
        more
    }

    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether one more connection is to end, because the share has become smaller or cannot be used any more. One that
    /// nobody has answered for yet may be.
    pub fn must_leave(&mut self, now: DurationMs, lease: Lease, limiter: &Limiter) -> bool {
        let is_told = self.share.version() > 0 || !lease.holds(now);
        let staying = limiter.counted(now).saturating_sub(self.leaving);
        let must = is_told && staying > self.may(now, lease);
        self.leaving += u64::from(must);
        must
    }

    /// A connection has nothing to do, or has again.
    pub fn idles(&mut self, is_idle: bool) {
        self.idle = match is_idle {
            true => self.idle + 1,
            false => self.idle.saturating_sub(1),
        };
    }

    /// One of those has ended.
    pub fn left(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }

    /// Whether the share is smaller than what counts.
    pub fn is_over(&self, now: DurationMs, lease: Lease, limiter: &Limiter) -> bool {
        limiter.counted(now) > self.may(now, lease)
    }
}

/// So much that the way to the leader is not in the way of what goes on.
fn ample(peak: u64) -> u64 {
    peak.saturating_mul(2).saturating_sub(1)
}

/// Large figures are powers of two: a report that says nothing new need not be committed.
fn rounded(wants: u64) -> u64 {
    match wants <= EXACT {
        true => wants,
        false => wants.checked_next_power_of_two().unwrap_or(u64::MAX),
    }
}
