//! Tokens of a limit that spans senders, as one of them holds them.

use minicbor::{Decode, Encode};

use crate::lease::Lease;
use crate::time::DurationMs;

/// What a sender tells the leader of its tokens. All but `hand`, `seen` and `wants` only grow, so that a report which is
/// lost, late or repeated does no harm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct PurseReport {
    /// Which purse of the session this is.
    #[n(0)]
    pub purse: u64,
    /// Tokens whose event is over.
    #[n(1)]
    pub ended: u64,
    /// Tokens that will not be used.
    #[n(2)]
    pub returned: u64,
    /// Tokens that are not used yet.
    #[n(3)]
    pub hand: u64,
    /// Tokens that it knows it was given.
    #[n(4)]
    pub seen: u64,
    /// Tokens that it could use soon, with those in hand.
    #[n(5)]
    pub wants: u64,
}

/// What the leader has committed about a purse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PurseAnswer {
    #[n(0)]
    pub purse: u64,
    /// All tokens that it was ever given.
    #[n(1)]
    pub granted: u64,
    /// Those of them that it has reported as ended or returned.
    #[n(2)]
    pub settled: u64,
}

/// Tokens that a session's lease keeps valid: none is taken from [`crate::lease::STOP_EARLY`] before it ends, counted
/// from when the acknowledged heartbeat was sent, on the sender's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purse {
    number: u64,
    granted: u64,
    out: u64,
    ended: u64,
    returned: u64,
    settled: u64,
    /// Tokens that are out from a session before, which counted them as spent when it ended.
    orphans: u64,
}

impl Purse {
    /// `number` grows with each purse that a session makes for a limit: what was granted to one that was forgotten must
    /// not count as granted to this one.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            granted: 0,
            out: 0,
            ended: 0,
            returned: 0,
            settled: 0,
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
    pub fn hand(&self) -> u64 {
        self.granted - self.returned - self.ended - self.out
    }

    #[must_use]
    pub fn take(&mut self, now: DurationMs, lease: Lease) -> bool {
        let may = lease.holds(now) && self.hand() > 0;
        self.out += u64::from(may);
        may
    }

    /// # Panics
    /// No token is out.
    pub fn ended(&mut self) {
        let is_own = self.come_back();
        self.ended += u64::from(is_own);
    }

    /// The token is in hand again.
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
    pub fn report(&mut self, wants: u64) -> PurseReport {
        self.returned += self.hand().saturating_sub(wants);
        PurseReport {
            purse: self.number,
            ended: self.ended,
            returned: self.returned,
            hand: self.hand(),
            seen: self.granted,
            wants,
        }
    }

    /// Answers may come late, twice and in any order.
    pub fn answered(&mut self, answer: PurseAnswer) {
        if answer.purse == self.number {
            self.granted = self.granted.max(answer.granted);
            self.settled = self.settled.max(answer.settled);
        }
    }

    /// Whether all tokens have come back.
    pub fn is_at_rest(&self) -> bool {
        self.out == 0 && self.orphans == 0
    }

    /// Whether all tokens have come back, and the leader knows it.
    pub fn is_idle(&self) -> bool {
        self.settled == self.granted && self.orphans == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LEASE;

    fn answer(purse: u64, granted: u64) -> PurseAnswer {
        PurseAnswer {
            purse,
            granted,
            settled: 0,
        }
    }

    #[test]
    fn tokens_are_used_once_while_the_lease_lasts() {
        let lease = Lease::granted(DurationMs(0), LEASE);
        let now = DurationMs(100);
        let mut purse = Purse::new(1);
        assert!(!purse.take(now, lease));
        purse.answered(answer(1, 2));
        purse.answered(answer(1, 1));
        purse.answered(answer(0, 50));
        assert!(!purse.take(DurationMs(9_000), lease), "a second early");
        assert!(purse.take(now, lease) && purse.take(now, lease));
        assert!(!purse.take(now, lease));
        purse.ended();
        purse.cancel();
        assert_eq!((purse.hand(), purse.is_idle()), (1, false));
        let report = PurseReport {
            purse: 1,
            ended: 1,
            returned: 0,
            hand: 1,
            seen: 2,
            wants: 5,
        };
        assert_eq!(purse.report(5), report);
        let given_back = PurseReport {
            returned: 1,
            hand: 0,
            wants: 0,
            ..report
        };
        assert_eq!(purse.report(0), given_back);
        assert!(!purse.take(now, lease));
        assert!(!purse.is_idle(), "the leader does not know yet");
        purse.answered(PurseAnswer {
            settled: 2,
            ..answer(1, 2)
        });
        assert!(purse.is_idle());
    }
    #[test]
    fn tokens_of_an_earlier_session_are_not_used() {
        let lease = Lease::granted(DurationMs(0), LEASE);
        let now = DurationMs(100);
        let mut purse = Purse::new(1);
        purse.answered(answer(1, 5));
        assert!(purse.take(now, lease));
        purse.renew(2);
        assert!(!purse.take(now, lease));
        purse.answered(answer(1, 9));
        assert!(!purse.take(now, lease), "said to the earlier one");
        purse.answered(answer(2, 1));
        assert!(purse.take(now, lease));
        purse.ended();
        assert_eq!(purse.report(1).ended, 0, "one of the two");
        assert!(!purse.is_idle());
        purse.ended();
        assert_eq!(purse.report(1).ended, 1);
    }
}
