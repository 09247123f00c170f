//! What follows from how a sending day went.

use std::fmt;

use super::row::Counts;
use super::schedule::Plan;

/// With fewer attempts a single answer would decide.
const ATTEMPTS_MIN: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayResult {
    /// The next stage comes.
    Advance,
    /// The stage comes again.
    Hold,
    /// The stage before comes again.
    StepBack,
    /// Nothing was sent, so nothing was learnt.
    Idle,
}

/// Percentages are rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Delivered { delivered: u64, needed: u64 },
    TooFew { delivered: u64, needed: u64 },
    Deferred { percent: u64, bound: u64 },
    Bounced { percent: u64, bound: u64 },
    NoMail,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { delivered, needed } => {
                write!(f, "{delivered} delivered, {needed} needed to advance")
            }
            Self::TooFew { delivered, needed } => {
                write!(f, "only {delivered} delivered, {needed} needed to advance")
            }
            Self::Deferred { percent, bound } => {
                write!(f, "{percent} % of attempts deferred, more than {bound} %")
            }
            Self::Bounced { percent, bound } => {
                write!(f, "{percent} % of attempts bounced, more than {bound} %")
            }
            Self::NoMail => f.write_str("no mail"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub result: DayResult,
    pub reason: Reason,
}

/// Judges a whole day at a stage. What is bad counts before what is enough.
pub(super) fn judge(plan: &Plan, stage: u16, counts: &Counts) -> Judgement {
    let said = |result, reason| Judgement { result, reason };
    if !counts.is_active() {
        return said(DayResult::Idle, Reason::NoMail);
    }
    let attempts = counts.attempts();
    // The smallest whole number that is not below the percentage.
    let volume = u128::from(plan.volume(stage));
    let needed = (volume * u128::from(plan.bounds.delivered_percent)).div_ceil(100) as u64;
    let delivered = counts.delivered;
    let passes = |count: u64, bound: u64| {
        attempts >= ATTEMPTS_MIN
            && u128::from(count) * 100 > u128::from(bound) * u128::from(attempts)
    };
    let bound = u64::from(plan.bounds.bounced_percent);
    if passes(counts.bounced, bound) {
        let percent = counts.percent(counts.bounced);
        return said(DayResult::StepBack, Reason::Bounced { percent, bound });
    }
    let bound = u64::from(plan.bounds.deferred_percent);
    let percent = counts.percent(counts.deferred);
    if passes(counts.deferred, 2 * bound) {
        let bound = 2 * bound;
        return said(DayResult::StepBack, Reason::Deferred { percent, bound });
    }
    if passes(counts.deferred, bound) {
        return said(DayResult::Hold, Reason::Deferred { percent, bound });
    }
    match delivered >= needed {
        true => said(DayResult::Advance, Reason::Delivered { delivered, needed }),
        false => said(DayResult::Hold, Reason::TooFew { delivered, needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_judged_by_what_became_of_its_mail() {
        use DayResult::*;
        // The stage has 200 a day.
        for (granted, delivered, deferred, bounced, expected) in [
            (0, 0, 0, 0, Idle),
            (200, 0, 0, 0, Hold),
            (200, 179, 0, 0, Hold),
            (200, 180, 0, 0, Advance),
            (200, 180, 20, 0, Advance),
            // 10 % is within the bound, and a little more is not.
            (200, 181, 21, 0, Hold),
            (100, 80, 20, 0, Hold),
            (100, 79, 21, 0, StepBack),
            (200, 190, 0, 10, Advance),
            (200, 189, 0, 11, StepBack),
            (9, 0, 0, 9, Hold),
            (10, 0, 0, 10, StepBack),
        ] {
            let counts = Counts {
                granted,
                delivered,
                deferred,
                bounced,
            };
            let judged = judge(&Plan::standard(100), 0, &counts);
            assert_eq!(judged.result, expected, "{counts:?} {}", judged.reason);
        }
    }

    #[test]
    fn what_is_needed_is_rounded_up() {
        let mut plan = Plan::standard(67);
        plan.bounds.delivered_percent = 90;
        let counts = Counts {
            granted: 134,
            delivered: 120,
            ..Counts::default()
        };
        let judged = judge(&plan, 0, &counts);
        assert_eq!(judged.result, DayResult::Hold, "120.6 are needed");
        assert_eq!(
            judged.reason.to_string(),
            "only 120 delivered, 121 needed to advance"
        );
    }
}
