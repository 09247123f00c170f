//! Tokens of a limit that spans senders, as one of them holds them.

use minicbor::{Decode, Encode};

use crate::lease::Lease;
use crate::time::DurationMs;

/// What a sender tells the leader of its tokens. All but `unused`, `seen` and `wants` only grow, so that a report which is
/// lost, late or repeated does no harm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct TokenLeaseReport {
    /// Which token lease of the session this is.
    #[n(0)]
    pub token_lease: u64,
    /// Tokens whose event is over.
    #[n(1)]
    pub ended: u64,
    /// Tokens that will not be used.
    #[n(2)]
    pub returned: u64,
    /// Tokens that are not used yet.
    #[n(3)]
    pub unused: u64,
    /// Tokens that it knows it was given.
    #[n(4)]
    pub seen: u64,
    /// Tokens that it could use soon, with those unused.
    #[n(5)]
    pub wants: u64,
}

/// What the leader has committed about a token lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TokenLeaseAnswer {
    #[n(0)]
    pub token_lease: u64,
    /// All tokens that it was ever given.
    #[n(1)]
    pub granted: u64,
    /// Those of them that it has reported as ended or returned.
    #[n(2)]
    pub accounted: u64,
}

/// Tokens that a session's lease keeps valid: none is taken from [`crate::lease::STOP_EARLY`] before it ends, counted
/// from when the acknowledged heartbeat was sent, on the sender's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLease {
    number: u64,
    granted: u64,
    out: u64,
    ended: u64,
    returned: u64,
    accounted: u64,
    /// Tokens that are out from a session before, which counted them as spent when it ended.
    orphans: u64,
}

impl TokenLease {
    /// `number` grows with each token lease that a session makes for a limit: what was granted to one that was forgotten must
    /// not count as granted to this one.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            granted: 0,
            out: 0,
            ended: 0,
            returned: 0,
            accounted: 0,
            orphans: 0,
        }
    }

    /// Another session has begun: what an earlier one was granted is spent. `number` is another one, too.
    pub fn renew(&mut self, number: u64) {
        *self = Self {
            orphans: self.orphans + self.out,
            ..Self::new(number)
        };
    }

    /// Tokens that are not used.
    pub fn unused(&self) -> u64 {
        self.granted - self.returned - self.ended - self.out
    }

    #[must_use]
    pub fn take(&mut self, now: DurationMs, lease: Lease) -> bool {
        let may = lease.holds(now) && self.unused() > 0;
        self.out += u64::from(may);
        may
    }

    /// # Panics
    /// No token is out.
    pub fn ended(&mut self) {
        let is_own = self.come_back();
        self.ended += u64::from(is_own);
    }

    /// The token is unused again.
    ///
    /// # Panics
    /// No token is out.
    pub fn cancel(&mut self) {
        self.come_back();
    }

    /// Whether it is one of this session. Which one comes back does not matter: one that is told of too late is counted
    /// for longer.
    fn come_back(&mut self) -> bool {
        if self.orphans > 0 {
            self.orphans -= 1;
            return false;
        }
        let left = self.out.checked_sub(1);
        self.out = left.expect("a token comes back once, and only if it was taken");
        true
    }

    /// What to tell the leader, when this many tokens could be used until the next report. What is not wanted is given
    /// back.
    pub fn report(&mut self, wants: u64) -> TokenLeaseReport {
        self.returned += self.unused().saturating_sub(wants);
        TokenLeaseReport {
            token_lease: self.number,
            ended: self.ended,
            returned: self.returned,
            unused: self.unused(),
            seen: self.granted,
            wants,
        }
    }

    /// What is not used will not be, whoever wants it. The leader hears of it with the next report.
    pub fn give_back(&mut self) {
        self.returned += self.unused();
    }

    /// Answers may come late, twice and in any order.
    pub fn answered(&mut self, answer: TokenLeaseAnswer) {
        if answer.token_lease == self.number {
            self.granted = self.granted.max(answer.granted);
            self.accounted = self.accounted.max(answer.accounted);
        }
    }

    /// Whether all tokens have come back.
    pub fn is_at_rest(&self) -> bool {
        self.out == 0 && self.orphans == 0
    }

    /// Whether all tokens have come back, and the leader knows it.
    pub fn is_idle(&self) -> bool {
        self.accounted == self.granted && self.orphans == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LEASE;

    fn answer(token_lease: u64, granted: u64) -> TokenLeaseAnswer {
        TokenLeaseAnswer {
            token_lease,
            granted,
            accounted: 0,
        }
    }

    #[test]
    fn tokens_are_used_once_while_the_lease_lasts() {
        let lease = Lease::granted(DurationMs(0), LEASE);
        let now = DurationMs(100);
        let mut token_lease = TokenLease::new(1);
        assert!(!token_lease.take(now, lease));
        token_lease.answered(answer(1, 2));
        token_lease.answered(answer(1, 1));
        token_lease.answered(answer(0, 50));
        assert!(
            !token_lease.take(DurationMs(9_000), lease),
            "a second early"
        );
        assert!(token_lease.take(now, lease) && token_lease.take(now, lease));
        assert!(!token_lease.take(now, lease));
        token_lease.ended();
        token_lease.cancel();
        assert_eq!((token_lease.unused(), token_lease.is_idle()), (1, false));
        let report = TokenLeaseReport {
            token_lease: 1,
            ended: 1,
            returned: 0,
            unused: 1,
            seen: 2,
            wants: 5,
        };
        assert_eq!(token_lease.report(5), report);
        let given_back = TokenLeaseReport {
            returned: 1,
            unused: 0,
            wants: 0,
            ..report
        };
        assert_eq!(token_lease.report(0), given_back);
        assert!(!token_lease.take(now, lease));
        assert!(!token_lease.is_idle(), "the leader does not know yet");
        token_lease.answered(TokenLeaseAnswer {
            accounted: 2,
            ..answer(1, 2)
        });
        assert!(token_lease.is_idle());
    }
    #[test]
    fn tokens_of_an_earlier_session_are_not_used() {
        let lease = Lease::granted(DurationMs(0), LEASE);
        let now = DurationMs(100);
        let mut token_lease = TokenLease::new(1);
        token_lease.answered(answer(1, 5));
        assert!(token_lease.take(now, lease));
        token_lease.renew(2);
        assert!(!token_lease.take(now, lease));
        token_lease.answered(answer(1, 9));
        assert!(!token_lease.take(now, lease), "said to the earlier one");
        token_lease.answered(answer(2, 1));
        assert!(token_lease.take(now, lease));
        token_lease.ended();
        assert_eq!(token_lease.report(1).ended, 0, "one of the two");
        assert!(!token_lease.is_idle());
        token_lease.ended();
        assert_eq!(token_lease.report(1).ended, 1);
    }
}
