//! How a day's budget opens, so that it does not leave in one burst.
//!
//! What is left opens evenly until one hour before the day ends. At first, and after a time in which nothing was asked
//! for, at most what one hour is worth is there at once: what is left, divided by the hours that are left.

use minicbor::{Decode, Encode};

use super::row::Row;
use crate::time::{DurationMs, UnixMs};

const HOUR: DurationMs = DurationMs::from_secs(3600);

/// As of the latest grant of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Spread {
    #[n(0)]
    pub at: UnixMs,
    /// Was open and not granted.
    #[n(1)]
    pub ahead: u64,
}

fn part(of: u64, span: DurationMs, whole: DurationMs) -> u128 {
    u128::from(of) * u128::from(span.0) / u128::from(whole.0.max(1))
}

/// How many attempts of a day that is the row's own may be granted at this time, beside those that were.
pub(super) fn ready(row: &Row, budget: u64, now: UnixMs) -> u64 {
    let left = budget.saturating_sub(row.counts.granted);
    let ends = row.plan.calendar.ends(row.day);
    // An offset that was changed may have brought the day forward.
    if now < row.plan.calendar.starts(row.day) {
        return 0;
    }
    let all_from = ends - HOUR;
    if now >= all_from {
        return left;
    }
    // Rounded up: one is open from the first moment on.
    let whole = u128::from(ends.since(now).0);
    let hours_worth = (u128::from(left) * u128::from(HOUR.0)).div_ceil(whole);
    let ready = match row.spread {
        None => hours_worth,
        Some(spread) => {
            let rest = left.saturating_sub(spread.ahead);
            let since = part(rest, now.since(spread.at), all_from.since(spread.at));
            hours_worth.min(u128::from(spread.ahead) + since)
        }
    };
    u64::try_from(ready).unwrap_or(u64::MAX).min(left)
}

/// When the next attempt opens on the row's day, given that some of its budget is left.
pub(super) fn opens_at(row: &Row, budget: u64, now: UnixMs) -> UnixMs {
    let (mut closed, mut open) = (now.0, row.plan.calendar.ends(row.day).0);
    if ready(row, budget, now) > 0 {
        return now;
    }
    // What is ready never becomes less with time, so this finds the first moment.
    while closed + 1 < open {
        let middle = closed + (open - closed) / 2;
        match ready(row, budget, UnixMs(middle)) > 0 {
            true => open = middle,
            false => closed = middle,
        }
    }
    UnixMs(open)
}
