//! Limits that span sessions, and who has which part of them.
//!
//! Sessions report what they use and could use, and are answered what they may. A row comes with the first report and
//! goes when nothing of the limit counts any more.
//!
//! | key | value |
//! |---|---|
//! | `0` | `Head` |
//! | `1` scope, what it counts, number, key | [`LimitRow`] |
//! | `2` session | `Heard` |
//! | `3` site | `SharedSite` |
//!
//! Windows are counted in a time of their own: each command brings what its leader has measured
//! ([`LimitClock`](crate::throttle::LimitClock)), which a wall clock that jumps does not move. So a session that has ended
//! is noticed by the next command that touches a limit: later than it ended, which counts what it had for longer.
//!
//! The limits of a site are kept by the owner of its slot alone, without any row, until another session has a task of the
//! site: one that was filed while the site was spread. Then the site becomes shared. No other session gets a part before
//! the owner has said that it knows, and what it uses, or its session has ended. A session learns of shared sites no later
//! than of its slots, so that a later owner of the slot knows too.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::limit_book::{Book, Trial};
use super::limit_row::LimitRow;
use super::state::{scan_names, sessions};
use crate::codec;
use crate::id::{Epoch, SessionId};
use crate::rows::{ReadRows, Rows, load, read};
use crate::throttle::{
    Counted, LimitAnswer, LimitId, LimitReport, PER_MAX, Said, Scope, SharedLimit,
};
use crate::time::{DurationMs, LimitMs};

/// As many as one sender keeps; about 1 kB each, 3 kB at most. Beyond, what a new limit is on waits.
pub const LIMITS_MAX: u64 = 65_536;
/// Every sender knows all of them. Four times as many as may be spread at once: their tasks stay where they are.
pub const SHARED_SITES_MAX: usize = 1024;
/// Of an IP's name, a space and a site.
const KEY_BYTES_MAX: usize = 600;
/// A site without limits in use stays shared for this time, so that it does not go to and fro.
pub(super) const STAYS_SHARED: DurationMs = DurationMs::from_secs(60);
/// Limits that are looked after in one command.
const TEND_MAX: usize = 256;
/// Of what a limit counts, and of what a session says of it: sums over all sessions stay far from the end of the integers.
const REPORTED_MAX: u64 = 1 << 40;

pub(super) const HEAD: &[u8] = b"0";
const LIMIT: &[u8] = b"1";
pub(super) const HEARD: &[u8] = b"2";
pub(super) const SHARED: &[u8] = b"3";

/// What one session tells at once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionReports {
    #[n(0)]
    pub session: SessionId,
    /// Grows with each request of a session: one that arrives after a later one is ignored.
    #[n(1)]
    pub number: u64,
    /// The version of shared sites that the session goes by.
    #[n(2)]
    pub shared: u64,
    #[n(3)]
    pub reports: Vec<LimitReport>,
    /// Of sites that have become shared since the version that was told before, those whose slot is this session's.
    #[n(4)]
    pub alone: Vec<KeptAlone>,
}

impl SessionReports {
    /// Whether it tells of limits that not every build reads.
    pub fn has_intake(&self) -> bool {
        self.reports.iter().any(|report| report.id.is_of_intake())
    }
}

/// A site whose limits a session kept alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeptAlone {
    #[n(0)]
    pub site: String,
    /// Under which the session has its slot.
    #[n(2)]
    pub epoch: Epoch,
    /// For how long no other session has used them; none: no other ever did.
    #[n(1)]
    pub others_gone: Option<DurationMs>,
}

/// What a session is told.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionAnswers {
    /// False: it has ended.
    #[n(0)]
    pub is_alive: bool,
    /// One for each report, in order; none if a later request has arrived before.
    #[n(1)]
    pub answers: Vec<LimitAnswer>,
}

/// What all limits have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Head {
    #[n(0)]
    pub time: LimitMs,
    /// No share of a limit that was forgotten had a later version.
    #[n(1)]
    pub version: u64,
    /// Grows with every change of which sites are shared.
    #[n(2)]
    pub shared: u64,
    /// Limits that have a row.
    #[n(3)]
    pub limits: u64,
}

/// The latest request of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Heard {
    #[n(0)]
    pub number: u64,
    #[n(1)]
    pub shared: u64,
}

/// A site that several sessions send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct SharedSite {
    /// Of the shared sites, when this one became shared.
    #[n(0)]
    pub version: u64,
    /// The sessions that may keep its limits alone still.
    #[n(1)]
    pub alone: Option<SessionId>,
    /// Until when a session kept its limits alone.
    #[n(2)]
    pub until: LimitMs,
    /// An owner that has not told of it may have used all of a window until then.
    #[n(3)]
    pub untold: Option<LimitMs>,
    /// Limits of the site that have a row.
    #[n(4)]
    pub limits: u64,
}

pub(super) fn limit_key(id: &LimitId) -> Vec<u8> {
    let kind = [id.scope as u8, id.counts as u8, id.nth];
    [LIMIT, &kind, id.key.as_bytes()].concat()
}

fn limit_of(key: &[u8]) -> Option<LimitId> {
    let [_, scope, counts, nth, name @ ..] = key else {
        return None;
    };
    Some(LimitId {
        scope: codec::decode::<Scope>(&[*scope]).ok()?,
        counts: codec::decode::<Counted>(&[*counts]).ok()?,
        nth: *nth,
        key: String::from_utf8_lossy(name).into(),
    })
}

pub(super) fn heard_key(id: SessionId) -> Vec<u8> {
    [HEARD, &id.0.to_be_bytes()].concat()
}

pub(super) fn shared_key(site: &str) -> Vec<u8> {
    [SHARED, site.as_bytes()].concat()
}

pub(super) fn head(rows: &(impl ReadRows + ?Sized)) -> Head {
    load(rows, HEAD).unwrap_or_default()
}

/// The time of limits: the latest of any command about them; none before the first.
pub fn time(rows: &(impl ReadRows + ?Sized)) -> Option<LimitMs> {
    load::<Head>(rows, HEAD).map(|head| head.time)
}

/// Grows with every change of [`shared_sites`].
pub fn shared_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    head(rows).shared
}

/// Sites whose limits several sessions share.
pub fn shared_sites(rows: &(impl ReadRows + ?Sized)) -> BTreeSet<String> {
    scan_names::<SharedSite>(rows, SHARED).into_keys().collect()
}

/// All limits that have a row, after this key. At most `most`.
pub fn limits(
    rows: &(impl ReadRows + ?Sized),
    after: Option<&LimitId>,
    most: usize,
) -> Vec<(LimitId, LimitRow)> {
    let mut found = Vec::new();
    let after = after.map(limit_key);
    let from = after.as_deref().unwrap_or_default();
    rows.scan(LIMIT, from, &mut |key, value| {
        if Some(key) != after.as_deref()
            && let Some(id) = limit_of(key)
        {
            found.push((id, read(value)));
        }
        found.len() < most
    });
    found
}

/// One limit, if anything of it is used or wanted.
pub fn limit(rows: &(impl ReadRows + ?Sized), id: &LimitId) -> Option<LimitRow> {
    load(rows, &limit_key(id))
}

/// Whether a report can be understood.
///
/// # Errors
/// What is wrong with it.
pub fn check(report: &LimitReport) -> Result<(), &'static str> {
    if !(1..=KEY_BYTES_MAX).contains(&report.id.key.len()) {
        return Err("the key of a limit has up to 600 bytes");
    }
    if !LimitRow::is_answer_to(report) {
        return Err(
            "a limit over a long window is reported by a token lease, any other by a share",
        );
    }
    if let SharedLimit::Rate(rate) = report.limit
        && !(DurationMs(1)..=PER_MAX).contains(&rate.per)
    {
        return Err("the window of a rate is up to one day");
    }
    let said = match report.said {
        Said::Share(share) => [share.counted, 0, 0, 0, 0],
        Said::TokenLease(token_lease) => [
            token_lease.ended,
            token_lease.returned,
            token_lease.unused,
            token_lease.seen,
            token_lease.wants,
        ],
    };
    let kept = [report.limit.count(), report.before.ended, report.before.out];
    match said.iter().chain(&kept).all(|n| *n <= REPORTED_MAX) {
        true => Ok(()),
        false => Err("a number of a limit is out of all bounds"),
    }
}

/// What a session would be answered if nothing that is kept changes by it; none: its report is to be committed.
pub fn answer(
    rows: &(impl ReadRows + ?Sized),
    at: LimitMs,
    told: &SessionReports,
) -> Option<SessionAnswers> {
    if told.reports.iter().any(|report| report.is_last) {
        return None;
    }
    let mut trial = Trial::of(rows);
    let answers = Book::open(&mut trial, at).hear(told, true);
    (!trial.is_changed()).then_some(answers)
}

/// Limits that have to be looked after though no session may report: sessions that have ended had a part of them, or nothing
/// of them counts.
pub fn due(rows: &(impl ReadRows + ?Sized), at: LimitMs) -> Vec<LimitId> {
    let live = sessions(rows).into_keys().collect();
    let mut due = Vec::new();
    rows.scan(LIMIT, &[], &mut |key, value| {
        let row: LimitRow = read(value);
        if row.is_due(at, &live) {
            due.extend(limit_of(key));
        }
        due.len() < TEND_MAX
    });
    due
}

/// Whether anything is kept, so that time has to go on for it.
pub fn is_used(rows: &(impl ReadRows + ?Sized)) -> bool {
    let head = head(rows);
    head.limits > 0 || !scan_names::<SharedSite>(rows, SHARED).is_empty()
}

pub(super) fn report<R: Rows>(
    rows: &mut R,
    at: LimitMs,
    told: &[SessionReports],
) -> Vec<SessionAnswers> {
    let mut book = Book::open(rows, at);
    let answers = told.iter().map(|told| book.hear(told, false)).collect();
    book.close();
    answers
}

/// Brings these limits to the time, and forgets what was of sessions that have ended.
pub(super) fn tend<R: Rows>(rows: &mut R, at: LimitMs, limits: &[LimitId]) {
    let mut book = Book::open(rows, at);
    for id in limits {
        book.bring_to_time(id);
    }
    book.forget();
    book.close();
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
