//! Shares of a limit that spans senders: of connections, and of rates over short windows.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::max_min::max_min;
use super::window_counter::WindowCounter;
use crate::id::SessionId;
use crate::lease::Lease;
use crate::time::{DurationMs, LimitMs};

/// Rates over windows up to this long are shared; over longer ones, tokens are granted one by one ([`super::Ledger`]): a
/// share that moves is unused for a window.
pub const SHORT: DurationMs = DurationMs::from_secs(10);
/// A share that others wait for stays for so long at least. To move one takes two heartbeats.
pub const TURN: DurationMs = DurationMs::from_secs(5);
/// And for so many windows longer, because one of them is lost with each move.
const TURN_WINDOWS: u64 = 4;
/// More senders than a cluster has; about 40 bytes each.
pub const SHARERS_MAX: usize = 256;

/// What a session says of its share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct ShareReport {
    /// The latest version that it keeps to.
    #[n(0)]
    pub seen: u64,
    /// What counts at the session now: connections that are open; or tokens that are out, and ended within the window.
    #[n(1)]
    pub counted: u64,
    /// What it could use.
    #[n(2)]
    pub wants: u64,
}

/// What a session may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct ShareAnswer {
    #[n(0)]
    pub may: u64,
    /// Grows with each change of any share of the limit.
    #[n(1)]
    pub version: u64,
}

/// A session's share, as the session knows it. It is kept for as long as the session: one that was forgotten and made anew
/// would believe what was said to the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShareHeld(ShareAnswer);

impl ShareHeld {
    /// What may count at once: nothing without a lease.
    pub fn may(&self, now: DurationMs, lease: Lease) -> u64 {
        match lease.holds(now) {
            true => self.0.may,
            false => 0,
        }
    }

    /// What the leader has said, whatever the lease.
    pub fn told(&self) -> u64 {
        self.0.may
    }

    /// Of what the leader has said last; 0 before it has said anything.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Answers may come late, twice and in any order.
    pub fn answered(&mut self, answer: ShareAnswer) {
        if answer.version > self.0.version {
            self.0 = answer;
        }
    }

    /// What to tell. Nothing more than this share may be taken from now on.
    pub fn report(&self, counted: u64, wants: u64) -> ShareReport {
        ShareReport {
            seen: self.0.version,
            counted,
            wants,
        }
    }

    /// Whether the leader waits to hear that less is counted: it is told as soon as that is so.
    pub fn is_over(&self, counted: u64) -> bool {
        counted > self.0.may
    }
}

/// One limit. What its sessions hold, and what sessions that ended held within the window, is never more than the limit,
/// unless the limit has become lower meanwhile.
///
/// A share that is to become smaller is held until its holder knows and says that no more is counted, or its session has
/// ended. A session's process that stands still keeps its sockets open longer than that; they are beyond anybody's reach.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Shares {
    #[n(0)]
    limit: u64,
    /// Of the window; 0 for connections.
    #[n(1)]
    per: DurationMs,
    #[n(2)]
    shares: BTreeMap<SessionId, Share>,
    /// Of sessions that ended.
    #[n(3)]
    gone: WindowCounter,
    #[n(4)]
    version: u64,
    #[n(5)]
    turn: u64,
    #[n(6)]
    turned_at: LimitMs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct Share {
    #[n(0)]
    may: u64,
    /// The most that may count at the session: more than `may` until it says that it has heard.
    #[n(1)]
    held: u64,
    #[n(2)]
    version: u64,
    #[n(3)]
    wants: u64,
}

impl Shares {
    /// `per` is the window of a rate, and 0 for what is at once.
    pub fn new(limit: u64, per: DurationMs) -> Self {
        Self {
            limit,
            per,
            shares: BTreeMap::new(),
            gone: WindowCounter::default(),
            version: 0,
            turn: 0,
            turned_at: LimitMs(0),
        }
    }

    /// Another limit of this name had versions up to this one, and who knew it must not take it for this one.
    #[must_use]
    pub fn from_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Sessions that have a share, or wait for one.
    pub fn holders(&self) -> impl Iterator<Item = SessionId> {
        self.shares.keys().copied()
    }

    /// What each session may use, what counts for it, and what it could use.
    pub fn parts(&self) -> impl Iterator<Item = (SessionId, u64, u64, u64)> {
        let parts = self.shares.iter();
        parts.map(|(id, share)| (*id, share.may, share.held, share.wants))
    }

    /// No session has a part of it, and nothing counts any more.
    pub fn is_idle(&self, at: LimitMs) -> bool {
        self.shares.is_empty() && self.gone.total(at.0, self.per) == 0
    }

    /// The only session that may have used the limit until now says what counts there. There is no share yet.
    pub fn begin_with(&mut self, session: SessionId, counted: u64) {
        if counted > 0 {
            self.version += 1;
            let share = Share {
                may: counted.min(self.limit),
                held: counted,
                version: self.version,
                wants: counted,
            };
            self.shares.insert(session, share);
        }
    }

    /// A live session does without its share from now on: nothing counts there, and it has forgotten what it was told.
    pub fn leave(&mut self, at: LimitMs, session: SessionId) {
        self.shares.remove(&session);
        self.divide(at);
    }

    /// Single owners may have used all of it until `at`, as long as the limit did not span several.
    pub fn after_owners(limit: u64, per: DurationMs, at: LimitMs) -> Self {
        let mut shares = Self::new(limit, per);
        shares.lose(at, limit);
        shares
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn per(&self) -> DurationMs {
        self.per
    }

    /// What is counted.
    pub fn held(&self, at: LimitMs) -> u64 {
        let held: u64 = self.shares.values().map(|share| share.held).sum();
        held.saturating_add(self.gone.total(at.0, self.per))
    }

    /// A lower limit makes shares smaller at once; what is out counts on. Another window is another limit, which begins
    /// by [`Self::after_owners`].
    pub fn set(&mut self, at: LimitMs, limit: u64) {
        self.limit = limit;
        self.divide(at);
    }

    /// Takes what a live session tells. The caller checks that the session has not ended.
    pub fn report(&mut self, at: LimitMs, session: SessionId, report: &ShareReport) -> ShareAnswer {
        let is_full = self.shares.len() >= SHARERS_MAX;
        if is_full && !self.shares.contains_key(&session) {
            return ShareAnswer::default();
        }
        let share = self.shares.entry(session).or_default();
        share.wants = report.wants;
        if report.seen == share.version {
            // An earlier report that comes late says more, never less.
            share.held = share.held.min(share.may.max(report.counted));
        }
        self.divide(at);
        self.answer(session)
    }

    /// What a session may use, to be told at any time.
    pub fn answer(&self, session: SessionId) -> ShareAnswer {
        let share = self.shares.get(&session).copied().unwrap_or_default();
        ShareAnswer {
            may: share.may,
            version: share.version,
        }
    }

    /// A session has ended: what it held counts for another window.
    pub fn session_gone(&mut self, at: LimitMs, session: SessionId) {
        if let Some(share) = self.shares.remove(&session) {
            self.lose(at, share.held);
        }
        self.divide(at);
    }

    fn lose(&mut self, at: LimitMs, held: u64) {
        if self.per.0 > 0 {
            self.gone.add(at.0, held, self.per);
        }
    }

    /// When to look again though no session reports; none while none waits.
    pub fn due_at(&self, at: LimitMs) -> Option<LimitMs> {
        if !self.shares.values().any(|share| share.may < share.wants) {
            return None;
        }
        let turn = self.turned_at + self.turn_lasts();
        let freed = self.gone.falls_by(1, at.0, self.per).map(LimitMs);
        Some(freed.map_or(turn, |freed| freed.min(turn)))
    }

    fn turn_lasts(&self) -> DurationMs {
        DurationMs(TURN.0 + self.per.0.saturating_mul(TURN_WINDOWS))
    }

    /// Gives what is free, and asks back what others wait for: at once what its holder could not use, and the rest when its
    /// turn is over.
    pub fn divide(&mut self, at: LimitMs) {
        self.gone.forget(at.0, self.per);
        let is_waited_for = self.shares.values().any(|share| share.may < share.wants);
        let is_turn_over = at.since(self.turned_at) >= self.turn_lasts();
        let is_turn = is_waited_for && is_turn_over;
        if is_turn {
            self.turn += 1;
            self.turned_at = at;
        }
        let demands = self
            .shares
            .iter()
            .map(|(id, share)| (*id, share.wants))
            .collect();
        let before: BTreeMap<_, _> = self
            .shares
            .iter()
            .map(|(id, share)| (*id, share.may))
            .collect();
        let is_beyond = before.values().sum::<u64>() > self.limit;
        let targets = max_min(self.limit, &demands, &before, self.turn);
        let is_forced = is_turn || is_beyond;
        self.lower(&targets, |share| {
            is_forced || (is_waited_for && share.wants < share.may)
        });
        self.raise(at, &targets);
        self.shares
            .retain(|_, share| share.wants > 0 || share.held > 0);
    }

    fn lower(&mut self, targets: &BTreeMap<SessionId, u64>, may_fall: impl Fn(&Share) -> bool) {
        for (id, share) in &mut self.shares {
            if targets[id] < share.may && may_fall(share) {
                self.version += 1;
                share.may = targets[id];
                share.version = self.version;
            }
        }
    }

    fn raise(&mut self, at: LimitMs, targets: &BTreeMap<SessionId, u64>) {
        let mut free = self.limit.saturating_sub(self.held(at));
        for (id, share) in &mut self.shares {
            let may = targets[id].min(share.held.saturating_add(free));
            if may > share.may {
                free -= may.saturating_sub(share.held);
                self.version += 1;
                share.held = share.held.max(may);
                share.may = may;
                share.version = self.version;
            }
        }
    }
}
