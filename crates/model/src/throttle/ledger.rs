//! Tokens of a limit that spans senders, as the leader of the meta group grants them.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::gcra::Gcra;
use super::rate::Rate;
use super::token_lease::{TokenLeaseAnswer, TokenLeaseReport};
use super::window_counter::WindowCounter;
use crate::id::SessionId;
use crate::time::{DurationMs, LimitMs};

/// More senders than a cluster has. There is one account for each, whatever was granted to it: about 60 bytes.
pub const HOLDERS_MAX: usize = 256;
/// All holders together have at most this part of the limit unused, or what it lets pass in [`SOON`] if that is more. What
/// is unused is not used elsewhere, so it is the part of the limit that idle holders may waste.
const UNUSED_PART: u64 = 16;
/// A holder that has work reports every second, or with each heartbeat at least, and sooner when it has none unused.
const SOON: DurationMs = DurationMs::from_secs(2);
/// Two heartbeats and a little: a holder that waits keeps its place in line while it reports.
const PATIENCE: DurationMs = DurationMs(5500);

/// As the row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
enum Allowance {
    /// Over any window. Its pace is kept by what is granted, to within what it lets pass in two seconds.
    #[n(0)]
    Rolling(#[n(0)] Rate),
}

/// What one of so many holders may have unused.
fn unused_max(rate: Rate, holders: u64) -> u64 {
    let soon = rate.count.saturating_mul(SOON.0) / rate.per.0.max(1);
    ((rate.count / UNUSED_PART).max(soon) / holders.max(1)).max(1)
}

/// One limit. At most as many tokens as it has are counted at any time: those that were granted and of which the holder
/// has not said that they ended, and those that ended within the window.
///
/// A token counts from its grant. When its holder says that its event is over, it counts for `per` from then; when the
/// holder's session has ended, likewise, because nothing of the session reaches a destination after that. So the leader
/// needs no time of the holder's, and a token that is out for long is counted for as long. `at` never goes back, and runs
/// no faster than time does ([`super::LimitClock`]).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ledger {
    #[n(0)]
    allowance: Allowance,
    #[n(1)]
    spent: WindowCounter,
    #[n(2)]
    accounts: BTreeMap<SessionId, Account>,
    /// How often tokens were granted.
    #[n(3)]
    grants: u64,
    #[n(4)]
    pace: Gcra,
}

/// All but `is_waiting` and `heard_at` only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Account {
    #[n(0)]
    token_lease: u64,
    #[n(1)]
    granted: u64,
    #[n(2)]
    ended: u64,
    #[n(3)]
    returned: u64,
    /// Which of all grants was its last.
    #[n(4)]
    last_grant: u64,
    #[n(5)]
    is_waiting: bool,
    #[n(6)]
    heard_at: LimitMs,
}

impl Account {
    fn new(token_lease: u64, at: LimitMs) -> Self {
        Self {
            token_lease,
            granted: 0,
            ended: 0,
            returned: 0,
            last_grant: 0,
            is_waiting: false,
            heard_at: at,
        }
    }

    fn open(&self) -> u64 {
        self.granted - self.ended - self.returned
    }

    /// Tokens that have ended since the last report, and that were returned. No report can end more than was granted.
    fn record(&mut self, report: &TokenLeaseReport) -> (u64, u64) {
        let before = (self.ended, self.returned);
        self.ended = self
            .ended
            .max(report.ended.min(self.granted - self.returned));
        self.returned = self
            .returned
            .max(report.returned.min(self.granted - self.ended));
        (self.ended - before.0, self.returned - before.1)
    }
}

impl Ledger {
    /// No session has used the limit lately.
    pub fn new(rate: Rate) -> Self {
        Self {
            allowance: Allowance::Rolling(rate),
            spent: WindowCounter::default(),
            accounts: BTreeMap::new(),
            grants: 0,
            pace: Gcra::default(),
        }
    }

    /// Single owners may have used all of it until `at`, as long as the limit did not span several.
    pub fn after_owners(rate: Rate, at: LimitMs) -> Self {
        let mut ledger = Self::new(rate);
        ledger.spent.add(at.0, rate.count, rate.per);
        ledger
    }

    pub fn rate(&self) -> Rate {
        let Allowance::Rolling(rate) = self.allowance;
        rate
    }

    /// Holds for what is granted from now on.
    ///
    /// Of what ended, as much counts as is remembered: a window that becomes longer does not know what came before the
    /// shorter one.
    pub fn set(&mut self, at: LimitMs, rate: Rate) {
        self.spent.forget(at.0, self.rate().per);
        self.allowance = Allowance::Rolling(rate);
        self.spent.lengthen(rate.per);
        self.pace.clamp(DurationMs(at.0), rate);
    }

    /// Tokens that are counted.
    pub fn used(&self, at: LimitMs) -> u64 {
        let open: u64 = self.accounts.values().map(Account::open).sum();
        open.saturating_add(self.spent.total(at.0, self.rate().per))
    }

    /// Takes what a live session tells, and grants it what it can have. The caller checks that the session has not ended.
    pub fn report(
        &mut self,
        at: LimitMs,
        session: SessionId,
        report: &TokenLeaseReport,
    ) -> TokenLeaseAnswer {
        let unknown = TokenLeaseAnswer {
            token_lease: report.token_lease,
            granted: 0,
            accounted: 0,
        };
        let is_full = self.accounts.len() >= HOLDERS_MAX;
        match self.accounts.get(&session) {
            Some(account) if account.token_lease > report.token_lease => return unknown,
            Some(account) if account.token_lease < report.token_lease => {
                self.session_gone(at, session)
            }
            None if is_full => return unknown,
            _ => {}
        }
        // A session that has enough unused waits for nothing, and must not keep others waiting.
        let unused_max = unused_max(self.rate(), self.accounts.len() as u64);
        let account = self.accounts.entry(session);
        let account = account.or_insert_with(|| Account::new(report.token_lease, at));
        let (ended, returned) = account.record(report);
        let unseen = account.granted.saturating_sub(report.seen);
        let unused = report.unused.saturating_add(unseen);
        account.heard_at = at;
        account.is_waiting = unused < report.wants.min(unused_max);
        self.spent.add(at.0, ended, self.rate().per);
        self.pace.gave_back(returned, self.rate());
        let amount = self.amount(at, session, report.wants, unused);
        self.grant(at, session, amount)
    }

    /// How many tokens a session gets now that has so many unused.
    fn amount(&self, at: LimitMs, session: SessionId, wants: u64, unused: u64) -> u64 {
        let left = self.rate().count.saturating_sub(self.used(at));
        let left = left.min(self.paced(at));
        let waits =
            |account: &Account| account.is_waiting && at.since(account.heard_at) <= PATIENCE;
        let waiting = self.accounts.iter().filter(|(_, account)| waits(account));
        let place = |id: &SessionId, account: &Account| (account.last_grant, *id);
        let mine = place(&session, &self.accounts[&session]);
        let (mut holders, mut ahead) = (0, 0);
        for (id, account) in waiting {
            holders += 1;
            ahead += u64::from(place(id, account) < mine);
        }
        let wants = wants
            .min(unused_max(self.rate(), holders))
            .saturating_sub(unused);
        // Too few for all go to those who have waited longest.
        match left < holders {
            true => wants.min(u64::from(ahead < left)),
            false => wants.min(left / holders.max(1)),
        }
    }

    fn paced(&self, at: LimitMs) -> u64 {
        self.pace.available(DurationMs(at.0), self.rate(), SOON)
    }

    fn grant(&mut self, at: LimitMs, session: SessionId, amount: u64) -> TokenLeaseAnswer {
        let rate = self.rate();
        let account = self
            .accounts
            .get_mut(&session)
            .expect("it has just reported");
        if amount > 0 {
            self.grants += 1;
            account.granted += amount;
            account.last_grant = self.grants;
            self.pace.took(DurationMs(at.0), amount, rate);
        }
        TokenLeaseAnswer {
            token_lease: account.token_lease,
            granted: account.granted,
            accounted: account.ended + account.returned,
        }
    }

    /// An owner that had all of it has used so many tokens, and others may be used until a later time.
    pub fn begin_with(&mut self, at: LimitMs, ended: u64, out: u64, until: LimitMs) {
        let per = self.rate().per;
        self.spent.add(at.0, ended, per);
        self.spent.add_until(at.0, until.0, out, per);
    }

    /// Sessions that have an account.
    pub fn holders(&self) -> impl Iterator<Item = SessionId> {
        self.accounts.keys().copied()
    }

    /// What each session has open: tokens that were granted to it and have not ended.
    pub fn open(&self) -> impl Iterator<Item = (SessionId, u64)> {
        let accounts = self.accounts.iter();
        accounts.map(|(id, account)| (*id, account.open()))
    }

    /// No session has an account, and nothing counts any more.
    pub fn is_idle(&self, at: LimitMs) -> bool {
        self.accounts.is_empty() && self.used(at) == 0
    }

    /// A live session does without its token lease from now on: none of its tokens is out, and those that it has not reported will
    /// not be used.
    pub fn leave(&mut self, at: LimitMs, session: SessionId, last: &TokenLeaseReport) {
        let Some(account) = self.accounts.get_mut(&session) else {
            return;
        };
        if account.token_lease != last.token_lease {
            return;
        }
        let (ended, _) = account.record(last);
        self.accounts.remove(&session);
        self.spent.add(at.0, ended, self.rate().per);
    }

    /// A session has ended: whatever it had counts as spent.
    pub fn session_gone(&mut self, at: LimitMs, session: SessionId) {
        if let Some(account) = self.accounts.remove(&session) {
            self.spent.add(at.0, account.open(), self.rate().per);
        }
    }
}
