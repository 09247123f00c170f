//! Matches on their way to a threshold.

use minicbor::{Decode, Encode};

use super::rule::{Rule, RuleAt, WINDOW_MAX};
use super::store::key;
use crate::rows::{ReadRows, Rows, load, put_row};
use crate::time::UnixMs;

/// A hundred IPs at a hundred sites. With the longest names and thresholds they take 25 MB.
pub(super) const COUNTS_MAX: u64 = 10_000;

const COUNT: u8 = b'Y';
const ORDER: u8 = b'V';
const NUMBER: &[u8] = b"U";

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CountRow {
    /// Of the latest matches, oldest first; fewer than the threshold.
    #[n(0)]
    pub times: Vec<UnixMs>,
    /// The rule that they matched.
    #[n(1)]
    pub rule: u64,
}

impl CountRow {
    fn last(&self) -> UnixMs {
        self.times.last().copied().unwrap_or_default()
    }
}

fn order_key(last: UnixMs, at: &RuleAt) -> Vec<u8> {
    let id = key(ORDER, at);
    [&id[..1], &last.0.to_be_bytes(), &id[1..]].concat()
}

pub(super) fn number(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, NUMBER).unwrap_or(0)
}

/// Counts one match. Returns whether it reaches the threshold, after which nothing is counted any more.
pub(super) fn add<R: Rows>(rows: &mut R, now: UnixMs, at: &RuleAt, rule: &Rule) -> bool {
    let before: Option<CountRow> = load(rows, &key(COUNT, at));
    let fingerprint = rule.fingerprint();
    let mut times = match &before {
        Some(row) if row.rule == fingerprint => row.times.clone(),
        _ => Vec::new(),
    };
    times.retain(|time| now.since(*time) < rule.window);
    times.push(now.max(times.last().copied().unwrap_or_default()));
    if let Some(row) = before {
        remove(rows, at, &row);
    }
    if times.len() >= rule.threshold as usize {
        return true;
    }
    while number(rows) >= COUNTS_MAX && drop_oldest(rows, |_| true) {}
    let row = CountRow {
        times,
        rule: fingerprint,
    };
    rows.put(order_key(row.last(), at), Vec::new());
    put_row(rows, key(COUNT, at), &row);
    put_row(rows, NUMBER.to_vec(), &(number(rows) + 1));
    false
}

fn remove<R: Rows>(rows: &mut R, at: &RuleAt, row: &CountRow) {
    rows.delete(order_key(row.last(), at));
    rows.delete(key(COUNT, at));
    put_row(rows, NUMBER.to_vec(), &number(rows).saturating_sub(1));
}

/// Forgets the count that was added to the longest ago. Returns whether there was one that may go.
fn drop_oldest<R: Rows>(rows: &mut R, may_go: impl Fn(UnixMs) -> bool) -> bool {
    let mut oldest = None;
    Rows::scan(rows, &[ORDER], &[], &mut |key, _| {
        oldest = Some(key.to_vec());
        false
    });
    let Some(order) = oldest else { return false };
    let last = order[1..9].try_into().map(u64::from_be_bytes);
    let last = UnixMs(last.expect("keys are written by this module"));
    if !may_go(last) {
        return false;
    }
    rows.delete([&[COUNT], &order[9..]].concat());
    rows.delete(order);
    put_row(rows, NUMBER.to_vec(), &number(rows).saturating_sub(1));
    true
}

/// Forgets what no window reaches any more.
pub(super) fn forget_old<R: Rows>(rows: &mut R, now: UnixMs) {
    while drop_oldest(rows, |last| now.since(last) >= WINDOW_MAX) {}
}
