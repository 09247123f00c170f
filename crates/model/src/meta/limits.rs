//! Limits that span sessions, and who has which part of them.
//!
//! Sessions report what they use and could use, and are answered what they may. A row comes with the first report and
//! goes when nothing of the limit counts any more.
//!
//! | key | value |
//! |---|---|
//! | `0` | [`Head`] |
//! | `1` scope, what it counts, number, key | [`LimitRow`] |
//! | `2` session | [`Heard`] |
//! | `3` site | [`WideSite`] |
//!
//! Windows are counted in a time of their own: each command brings what its leader has measured
//! ([`SteadyClock`](crate::throttle::SteadyClock)), which a wall clock that jumps does not move. So a session that has ended
//! is noticed by the next command that touches a limit: later than it ended, which counts what it had for longer.
//!
//! The limits of a site are kept by the owner of its slot alone, without any row, until another session has a task of the
//! site: one that was filed while the site was spread. Then the site becomes wide. Nobody else gets a part before
//! the owner has said that it knows, and what it uses, or its session has ended. A session learns of wide sites no later
//! than of its slots, so that a later owner of the slot knows too.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::limit_row::LimitRow;
use super::state::{Assignment, scan, scan_names, sessions, slot_key};
use crate::codec;
use crate::id::{SessionId, Slot};
use crate::rows::{ReadRows, Rows, load, read};
use crate::throttle::{Counted, LimitAnswer, LimitId, LimitReport, Scope};
use crate::time::{DurationMs, UnixMs};

/// As many as one sender keeps; about 1 kB each, 3 kB at most. Beyond, what a new limit is on waits.
pub const LIMITS_MAX: u64 = 65_536;
/// Every sender knows all of them. Four times as many as may be spread at once: their tasks stay where they are.
pub const WIDE_SITES_MAX: usize = 1024;
/// Of an IP's name, a space and a site.
const KEY_BYTES_MAX: usize = 600;
/// A site without limits in use stays wide for this time, so that it does not go to and fro.
const STAYS_WIDE: DurationMs = DurationMs::from_secs(60);
/// Limits that are looked after in one command.
const TEND_MAX: usize = 256;

const HEAD: &[u8] = b"0";
const LIMIT: &[u8] = b"1";
const HEARD: &[u8] = b"2";
const WIDE: &[u8] = b"3";

/// What one session tells at once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionReports {
    #[n(0)]
    pub session: SessionId,
    /// Grows with each request of a session: one that arrives after a later one is ignored.
    #[n(1)]
    pub number: u64,
    /// The version of wide sites that the session goes by.
    #[n(2)]
    pub wide: u64,
    #[n(3)]
    pub reports: Vec<LimitReport>,
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
struct Head {
    #[n(0)]
    time: UnixMs,
    /// No share of a limit that was forgotten had a later version.
    #[n(1)]
    version: u64,
    /// Grows with every change of which sites are wide.
    #[n(2)]
    wide: u64,
    /// Limits that have a row.
    #[n(3)]
    limits: u64,
}

/// The latest request of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct Heard {
    #[n(0)]
    number: u64,
    #[n(1)]
    wide: u64,
}

/// A site that several sessions send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct WideSite {
    /// Of the wide sites, when this one became wide.
    #[n(0)]
    version: u64,
    /// Who may keep its limits alone still.
    #[n(1)]
    alone: Option<SessionId>,
    /// Until when somebody kept its limits alone.
    #[n(2)]
    until: UnixMs,
    /// That somebody did not say what it used.
    #[n(3)]
    is_unknown: bool,
    /// Limits of the site that have a row.
    #[n(4)]
    limits: u64,
}

fn limit_key(id: &LimitId) -> Vec<u8> {
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

fn heard_key(id: SessionId) -> Vec<u8> {
    [HEARD, &id.0.to_be_bytes()].concat()
}

fn wide_key(site: &str) -> Vec<u8> {
    [WIDE, site.as_bytes()].concat()
}

fn head(rows: &(impl ReadRows + ?Sized)) -> Head {
    load(rows, HEAD).unwrap_or_default()
}

/// The time of limits: the latest of any command about them; none before the first.
pub fn time(rows: &(impl ReadRows + ?Sized)) -> Option<UnixMs> {
    load::<Head>(rows, HEAD).map(|head| head.time)
}

/// Grows with every change of [`wide_sites`].
pub fn wide_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    head(rows).wide
}

/// Sites whose limits several sessions share.
pub fn wide_sites(rows: &(impl ReadRows + ?Sized)) -> BTreeSet<String> {
    scan_names::<WideSite>(rows, WIDE).into_keys().collect()
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
        return Err("a limit over a long window is reported by a purse, any other by a share");
    }
    Ok(())
}

/// What a session would be answered if nothing that is kept changes by it; none: its report is to be committed.
pub fn answer(
    rows: &(impl ReadRows + ?Sized),
    at: UnixMs,
    told: &SessionReports,
) -> Option<SessionAnswers> {
    if told.reports.iter().any(|report| report.is_last) {
        return None;
    }
    let mut trial = Trial {
        rows,
        is_changed: false,
    };
    let mut book = Book::open(&mut trial, at);
    let answers = book.hear(told, true);
    (!trial.is_changed).then_some(answers)
}

/// Limits that have to be looked after though nobody may report: sessions that have ended had a part of them, or nothing
/// of them counts.
pub fn due(rows: &(impl ReadRows + ?Sized), at: UnixMs) -> Vec<LimitId> {
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
    head.limits > 0 || !scan_names::<WideSite>(rows, WIDE).is_empty()
}

pub(super) fn report<R: Rows>(
    rows: &mut R,
    at: UnixMs,
    told: &[SessionReports],
) -> Vec<SessionAnswers> {
    let mut book = Book::open(rows, at);
    let answers = told.iter().map(|told| book.hear(told, false)).collect();
    book.close();
    answers
}

/// Brings these limits to the time, and forgets what was of sessions that have ended.
pub(super) fn tend<R: Rows>(rows: &mut R, at: UnixMs, limits: &[LimitId]) {
    let mut book = Book::open(rows, at);
    for id in limits {
        let key = limit_key(id);
        if let Some(before) = book.rows.get(&key) {
            let mut row: LimitRow = read(&before);
            row.settle(book.head.time, &book.live);
            book.keep(id, key, Some(before), row);
        }
    }
    book.forget();
    book.close();
}

struct Book<'a, R> {
    rows: &'a mut R,
    head: Head,
    live: BTreeSet<SessionId>,
}

impl<'a, R: Rows> Book<'a, R> {
    fn open(rows: &'a mut R, at: UnixMs) -> Self {
        let mut head = head(rows);
        head.time = head.time.max(at);
        let live = sessions(rows).into_keys().collect();
        Self { rows, head, live }
    }

    fn close(self) {
        self.rows.put(HEAD.to_vec(), codec::encode(&self.head));
    }

    fn put(&mut self, key: Vec<u8>, row: &impl Encode<()>) {
        self.rows.put(key, codec::encode(row));
    }

    /// In a trial, a request that changes nothing but its number is not kept.
    fn hear(&mut self, told: &SessionReports, is_trial: bool) -> SessionAnswers {
        let nothing = |is_alive| SessionAnswers {
            is_alive,
            answers: Vec::new(),
        };
        if !self.live.contains(&told.session) {
            return nothing(false);
        }
        let key = heard_key(told.session);
        let before: Heard = load(self.rows, &key).unwrap_or_default();
        if told.number <= before.number {
            return nothing(true);
        }
        let now = Heard {
            number: told.number,
            wide: before.wide.max(told.wide),
        };
        let opened = match now.wide > before.wide {
            true => self.shares_with_others(told.session, now.wide),
            false => BTreeSet::new(),
        };
        if !is_trial || now.wide > before.wide {
            self.put(key, &now);
        }
        let reports = told.reports.iter();
        let answers = reports.map(|report| self.one(told.session, report, &opened));
        SessionAnswers {
            answers: answers.collect(),
            is_alive: true,
        }
    }

    /// A session knows which sites are wide: those that it kept alone until now are open to others.
    fn shares_with_others(&mut self, session: SessionId, version: u64) -> BTreeSet<String> {
        let mut opened = BTreeSet::new();
        for (name, mut site) in scan_names::<WideSite>(self.rows, WIDE) {
            if site.alone == Some(session) && site.version <= version {
                (site.alone, site.until) = (None, self.head.time);
                self.put(wide_key(&name), &site);
                opened.insert(name);
            }
        }
        opened
    }

    fn one(
        &mut self,
        session: SessionId,
        report: &LimitReport,
        opened: &BTreeSet<String>,
    ) -> LimitAnswer {
        if check(report).is_err() {
            return LimitAnswer::Later;
        }
        let at = self.head.time;
        let key = limit_key(&report.id);
        let before = self.rows.get(&key);
        if before.is_none() && report.is_last {
            return LimitAnswer::Closed;
        }
        let site = report.id.site().filter(|_| report.is_by_owner);
        let wide = match site.map(|site| self.widen(site)) {
            Some(None) => return LimitAnswer::Full,
            Some(Some(wide)) if wide.alone.is_some() => return LimitAnswer::Later,
            wide => wide.flatten(),
        };
        let mut row = match &before {
            Some(before) => read(before),
            None if self.head.limits >= LIMITS_MAX => return LimitAnswer::Full,
            None => {
                let until = wide.map(|wide| (wide.until, wide.is_unknown));
                let mut row = LimitRow::new(report, self.head.version, until);
                if site.is_some_and(|site| opened.contains(site)) {
                    row.begin_with(at, session, report);
                }
                row
            }
        };
        row.settle(at, &self.live);
        let answer = row.report(at, session, report, self.head.version);
        self.keep(&report.id, key, before, row);
        answer
    }

    /// What is known of a site of which a session reports that is not the only one; none: there are too many.
    fn widen(&mut self, site: &str) -> Option<WideSite> {
        let key = wide_key(site);
        if let Some(mut wide) = load::<WideSite>(self.rows, &key) {
            let is_gone = wide.alone.is_some_and(|alone| !self.live.contains(&alone));
            if is_gone {
                (wide.alone, wide.until, wide.is_unknown) = (None, self.head.time, true);
                self.put(key, &wide);
            }
            return Some(wide);
        }
        if wide_sites(self.rows).len() >= WIDE_SITES_MAX {
            return None;
        }
        let owner: Option<Assignment> = load(self.rows, &slot_key(Slot::of(site, 0)));
        let owner = owner.map(|held| held.session);
        let owner = owner.filter(|owner| self.live.contains(owner));
        self.head.wide += 1;
        let wide = WideSite {
            version: self.head.wide,
            alone: owner,
            until: self.head.time,
            is_unknown: owner.is_none(),
            limits: 0,
        };
        self.put(key, &wide);
        Some(wide)
    }

    /// Keeps a row as it is now, or forgets it. One of a site that is not wide is not counted there.
    fn keep(&mut self, id: &LimitId, key: Vec<u8>, before: Option<Vec<u8>>, row: LimitRow) {
        let is_idle = row.is_idle(self.head.time);
        match (&before, is_idle) {
            (None, true) => self.head.version = self.head.version.max(row.version()),
            (Some(_), true) => {
                self.head.version = self.head.version.max(row.version());
                self.head.limits -= 1;
                self.rows.delete(key);
                self.count(id, row.is_by_owner(), -1);
            }
            (None, false) => {
                self.head.limits += 1;
                self.put(key, &row);
                self.count(id, row.is_by_owner(), 1);
            }
            (Some(before), false) => {
                let now = codec::encode(&row);
                if now != *before {
                    self.rows.put(key, now);
                }
            }
        }
    }

    fn count(&mut self, id: &LimitId, is_by_owner: bool, more: i64) {
        let Some(site) = id.site().filter(|_| is_by_owner) else {
            return;
        };
        let key = wide_key(site);
        if let Some(mut wide) = load::<WideSite>(self.rows, &key) {
            wide.limits = wide.limits.saturating_add_signed(more);
            self.put(key, &wide);
        }
    }

    /// Sites that nobody needs to share any more, and what sessions said that have ended.
    fn forget(&mut self) {
        for (name, mut wide) in scan_names::<WideSite>(self.rows, WIDE) {
            let is_gone = wide.alone.is_some_and(|alone| !self.live.contains(&alone));
            if is_gone {
                (wide.alone, wide.until, wide.is_unknown) = (None, self.head.time, true);
                self.put(wide_key(&name), &wide);
            }
            let is_over = self.head.time.since(wide.until) >= STAYS_WIDE;
            if wide.alone.is_none() && wide.limits == 0 && is_over {
                self.rows.delete(wide_key(&name));
                self.head.wide += 1;
            }
        }
        let heard: BTreeMap<SessionId, Heard> = scan(self.rows, HEARD, SessionId);
        for id in heard.into_keys().filter(|id| !self.live.contains(id)) {
            self.rows.delete(heard_key(id));
        }
    }
}

/// Rows that notice whether they would be changed, and do not.
struct Trial<'a, R: ?Sized> {
    rows: &'a R,
    is_changed: bool,
}

impl<R: ReadRows + ?Sized> Rows for Trial<'_, R> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(key)
    }

    fn put(&mut self, _key: Vec<u8>, _value: Vec<u8>) {
        self.is_changed = true;
    }

    fn delete(&mut self, _key: Vec<u8>) {
        self.is_changed = true;
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.rows.scan(prefix, from, visit);
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
