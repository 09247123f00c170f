//! How reports of sessions change the limits that span them.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::Encode;

use super::limit_row::LimitRow;
use super::limits::{
    HEAD, HEARD, Head, Heard, KeptAlone, LIMITS_MAX, SHARED, SHARED_SITES_MAX, STAYS_SHARED,
    SessionAnswers, SessionReports, SharedSite, check, head, heard_key, limit_key, shared_key,
    shared_sites,
};
use super::state::{Assignment, scan, scan_names, sessions, slot_key};
use crate::codec;
use crate::id::{SessionId, Slot};
use crate::rows::{ReadRows, Rows, load, read};
use crate::throttle::{LimitAnswer, LimitId, LimitReport};
use crate::time::LimitMs;

/// One command's work on the limits: the rows, what they have in common, and who lives.
pub(super) struct Book<'a, R> {
    rows: &'a mut R,
    head: Head,
    live: BTreeSet<SessionId>,
}

impl<'a, R: Rows> Book<'a, R> {
    pub fn open(rows: &'a mut R, at: LimitMs) -> Self {
        let mut head = head(rows);
        head.time = head.time.max(at);
        let live = sessions(rows).into_keys().collect();
        Self { rows, head, live }
    }

    pub fn close(self) {
        self.rows.put(HEAD.to_vec(), codec::encode(&self.head));
    }

    fn put(&mut self, key: Vec<u8>, row: &impl Encode<()>) {
        self.rows.put(key, codec::encode(row));
    }

    /// In a trial, a request that changes nothing but its number is not kept.
    pub fn hear(&mut self, told: &SessionReports, is_trial: bool) -> SessionAnswers {
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
            shared: before.shared.max(told.shared),
        };
        let opened = match now.shared > before.shared {
            true => self.shares_with_others(told.session, now.shared, &told.alone),
            false => BTreeSet::new(),
        };
        if !is_trial || now.shared > before.shared {
            self.put(key, &now);
        }
        let reports = told.reports.iter();
        let answers = reports.map(|report| self.one(told.session, report, &opened));
        SessionAnswers {
            answers: answers.collect(),
            is_alive: true,
        }
    }

    /// A session knows which sites are shared: those that it kept alone until now are open to others.
    fn shares_with_others(
        &mut self,
        session: SessionId,
        version: u64,
        alone: &[KeptAlone],
    ) -> BTreeSet<String> {
        let at = self.head.time;
        let mut opened = BTreeSet::new();
        for (name, mut site) in scan_names::<SharedSite>(self.rows, SHARED) {
            if site.alone == Some(session) && site.version <= version {
                // It tells what it has used itself, but not what owners before it have.
                let epoch = self.owner(&name).map(|held| held.epoch);
                let is_it = |kept: &&KeptAlone| kept.site == name && Some(kept.epoch) == epoch;
                let untold = match alone.iter().find(is_it) {
                    Some(kept) => kept.others_gone.map(|gone| at - gone),
                    None => Some(at),
                };
                (site.alone, site.until, site.untold) = (None, at, untold);
                self.put(shared_key(&name), &site);
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
        let shared = match site.map(|site| self.share_site(site)) {
            Some(None) => return LimitAnswer::Full,
            Some(Some(shared)) if shared.alone.is_some() => return LimitAnswer::Later,
            shared => shared.flatten(),
        };
        let mut row = match &before {
            Some(before) => read(before),
            None if self.head.limits >= LIMITS_MAX => return LimitAnswer::Full,
            None => {
                let untold = shared.and_then(|shared| shared.untold);
                let mut row = LimitRow::new(report, self.head.version, untold);
                if site.is_some_and(|site| opened.contains(site)) {
                    row.begin_with(at, session, report);
                }
                row
            }
        };
        row.end_sessions(at, &self.live);
        let answer = row.report(at, session, report, self.head.version);
        self.keep(&report.id, key, before, row);
        answer
    }

    /// Who has the site's slot, which may be nobody.
    fn owner(&self, site: &str) -> Option<Assignment> {
        let held: Option<Assignment> = load(self.rows, &slot_key(Slot::of(site, 0)));
        held.filter(|held| self.live.contains(&held.session))
    }

    /// What is known of a site of which a session reports that is not the only one; none: there are too many.
    fn share_site(&mut self, site: &str) -> Option<SharedSite> {
        let key = shared_key(site);
        if let Some(mut shared) = load::<SharedSite>(self.rows, &key) {
            let is_gone = shared
                .alone
                .is_some_and(|alone| !self.live.contains(&alone));
            if is_gone {
                (shared.alone, shared.until) = (None, self.head.time);
                shared.untold = Some(self.head.time);
                self.put(key, &shared);
            }
            return Some(shared);
        }
        if shared_sites(self.rows).len() >= SHARED_SITES_MAX {
            return None;
        }
        let owner = self.owner(site).map(|held| held.session);
        self.head.shared += 1;
        let shared = SharedSite {
            version: self.head.shared,
            alone: owner,
            until: self.head.time,
            untold: owner.is_none().then_some(self.head.time),
            limits: 0,
        };
        self.put(key, &shared);
        Some(shared)
    }

    /// Keeps a row as it is now, or forgets it. One of a site that is not shared is not counted there.
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
        let key = shared_key(site);
        if let Some(mut shared) = load::<SharedSite>(self.rows, &key) {
            shared.limits = shared.limits.saturating_add_signed(more);
            self.put(key, &shared);
        }
    }

    /// Brings a limit to the time.
    pub fn bring_to_time(&mut self, id: &LimitId) {
        let key = limit_key(id);
        if let Some(before) = self.rows.get(&key) {
            let mut row: LimitRow = read(&before);
            row.end_sessions(self.head.time, &self.live);
            self.keep(id, key, Some(before), row);
        }
    }

    /// Sites that nobody needs to share any more, and what sessions said that have ended.
    pub fn forget(&mut self) {
        for (name, mut shared) in scan_names::<SharedSite>(self.rows, SHARED) {
            let is_gone = shared
                .alone
                .is_some_and(|alone| !self.live.contains(&alone));
            if is_gone {
                (shared.alone, shared.until) = (None, self.head.time);
                shared.untold = Some(self.head.time);
                self.put(shared_key(&name), &shared);
            }
            let is_over = self.head.time.since(shared.until) >= STAYS_SHARED;
            if shared.alone.is_none() && shared.limits == 0 && is_over {
                self.rows.delete(shared_key(&name));
                self.head.shared += 1;
            }
        }
        let heard: BTreeMap<SessionId, Heard> = scan(self.rows, HEARD, SessionId);
        for id in heard.into_keys().filter(|id| !self.live.contains(id)) {
            self.rows.delete(heard_key(id));
        }
    }
}

/// Rows that notice whether they would be changed, and do not.
pub(super) struct Trial<'a, R: ?Sized> {
    rows: &'a R,
    is_changed: bool,
}

impl<'a, R: ?Sized> Trial<'a, R> {
    pub fn of(rows: &'a R) -> Self {
        Self {
            rows,
            is_changed: false,
        }
    }

    pub fn is_changed(&self) -> bool {
        self.is_changed
    }
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
