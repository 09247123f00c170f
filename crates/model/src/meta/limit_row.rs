//! One limit that spans sessions.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use crate::id::SessionId;
use crate::lease::{GRACE, LEASE};
use crate::throttle::{Before, Ledger, LimitAnswer, LimitReport, Said, SharedLimit, Shares};
use crate::time::{DurationMs, LimitMs};

/// What one sender had begun when it ceased to keep a limit alone reaches the host within this time, mostly: an attempt to
/// connect takes as long at most by default, and a message less.
const UNDER_WAY: DurationMs = DurationMs::from_secs(60);

/// What is kept of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LimitRow {
    /// As the latest policy says that any session has reported.
    #[n(0)]
    limit: SharedLimit,
    #[n(1)]
    policy: u64,
    #[n(2)]
    parts: Parts,
    #[n(3)]
    is_by_owner: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum Parts {
    #[n(0)]
    Shares(#[n(0)] Shares),
    #[n(1)]
    Ledger(#[n(0)] Ledger),
}

/// What one session has of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub session: SessionId,
    /// What it may use at once; tokens of long windows that it has.
    pub may: u64,
    /// What counts for it.
    pub held: u64,
    /// What it could use, as far as it is known.
    pub wants: u64,
}

impl LimitRow {
    /// Until `untold` an owner may have used all of it that has not told.
    pub(super) fn new(report: &LimitReport, version: u64, untold: Option<LimitMs>) -> Self {
        let parts = match untold {
            Some(until) => Parts::after(report.limit, until, version),
            None => Parts::new(report.limit, version),
        };
        Self {
            limit: report.limit,
            policy: report.policy,
            parts,
            is_by_owner: report.is_by_owner,
        }
    }

    /// As policy has it.
    pub fn limit(&self) -> SharedLimit {
        self.limit
    }

    /// The parts that sessions have of it.
    pub fn parts(&self) -> Vec<Part> {
        match &self.parts {
            Parts::Shares(shares) => {
                let parts = shares.parts();
                parts
                    .map(|(session, may, held, wants)| Part {
                        session,
                        may,
                        held,
                        wants,
                    })
                    .collect()
            }
            Parts::Ledger(ledger) => {
                let parts = ledger.open();
                parts
                    .map(|(session, open)| Part {
                        session,
                        may: open,
                        held: open,
                        wants: open,
                    })
                    .collect()
            }
        }
    }

    /// What counts at this time of limits: what sessions have, what those had that ended, and what was used within
    /// the window.
    pub fn used(&self, at: LimitMs) -> u64 {
        match &self.parts {
            Parts::Shares(shares) => shares.held(at),
            Parts::Ledger(ledger) => ledger.used(at),
        }
    }

    pub(super) fn is_by_owner(&self) -> bool {
        self.is_by_owner
    }

    pub(super) fn version(&self) -> u64 {
        match &self.parts {
            Parts::Shares(shares) => shares.version(),
            Parts::Ledger(_) => 0,
        }
    }

    /// Whether what is said fits the limit that it is said of.
    pub(super) fn is_answer_to(report: &LimitReport) -> bool {
        let is_token_lease = matches!(report.said, Said::TokenLease(_));
        is_token_lease == report.limit.is_granted()
    }

    /// The session that kept the limit alone says what counts there.
    pub(super) fn begin_with(&mut self, at: LimitMs, session: SessionId, report: &LimitReport) {
        match (&mut self.parts, report.said) {
            (Parts::Shares(shares), Said::Share(said)) => {
                shares.begin_with(session, said.counted);
            }
            (Parts::Ledger(ledger), _) => {
                let Before { ended, out } = report.before;
                ledger.begin_with(at, ended, out, at + UNDER_WAY);
            }
            _ => {}
        }
    }

    fn holders(&self) -> Vec<SessionId> {
        match &self.parts {
            Parts::Shares(shares) => shares.holders().collect(),
            Parts::Ledger(ledger) => ledger.holders().collect(),
        }
    }

    /// What sessions had that have ended counts as used now.
    pub(super) fn end_sessions(&mut self, at: LimitMs, live: &BTreeSet<SessionId>) {
        for session in self.holders() {
            if live.contains(&session) {
                continue;
            }
            match &mut self.parts {
                Parts::Shares(shares) => shares.session_gone(at, session),
                Parts::Ledger(ledger) => ledger.session_gone(at, session),
            }
        }
    }

    pub(super) fn is_idle(&self, at: LimitMs) -> bool {
        match &self.parts {
            Parts::Shares(shares) => shares.is_idle(at),
            Parts::Ledger(ledger) => ledger.is_idle(at),
        }
    }

    pub(super) fn is_due(&self, at: LimitMs, live: &BTreeSet<SessionId>) -> bool {
        self.is_idle(at) || self.holders().iter().any(|id| !live.contains(id))
    }

    /// Takes what a live session says. `version` is one that no share of an earlier limit of this name was beyond.
    pub(super) fn report(
        &mut self,
        at: LimitMs,
        session: SessionId,
        report: &LimitReport,
        version: u64,
    ) -> LimitAnswer {
        if report.policy >= self.policy {
            self.policy = report.policy;
            self.set(at, report.limit, version);
        }
        match (&mut self.parts, report.said) {
            (Parts::Shares(shares), Said::Share(said)) if shares.per() == report.limit.per() => {
                if report.is_last {
                    shares.leave(at, session);
                    return LimitAnswer::Closed;
                }
                LimitAnswer::Share(shares.report(at, session, &said))
            }
            (Parts::Ledger(ledger), Said::TokenLease(said)) => {
                if report.is_last {
                    ledger.leave(at, session, &said);
                    return LimitAnswer::Closed;
                }
                LimitAnswer::TokenLease(ledger.report(at, session, &said))
            }
            _ if report.is_last => LimitAnswer::Closed,
            _ => LimitAnswer::Later,
        }
    }

    /// Another window is another limit. Sessions that do not know it yet go on as before until they hear of it, or their
    /// leases end.
    fn set(&mut self, at: LimitMs, limit: SharedLimit, version: u64) {
        if self.limit == limit {
            return;
        }
        match (&mut self.parts, limit) {
            (Parts::Shares(shares), _) if shares.per() == limit.per() => {
                shares.set(at, limit.count());
            }
            (Parts::Ledger(ledger), SharedLimit::Rate(rate))
                if limit.is_granted() && ledger.rate().per == rate.per =>
            {
                ledger.set(at, rate);
            }
            (parts, _) => {
                let version = version.max(parts.version());
                *parts = Parts::after(limit, at + LEASE + GRACE, version);
            }
        }
        self.limit = limit;
    }
}

impl Parts {
    fn new(limit: SharedLimit, version: u64) -> Self {
        match limit {
            SharedLimit::Rate(rate) if limit.is_granted() => Self::Ledger(Ledger::new(rate)),
            _ => Self::Shares(Shares::new(limit.count(), limit.per()).from_version(version)),
        }
    }

    /// An owner may have used all of it until then.
    fn after(limit: SharedLimit, until: LimitMs, version: u64) -> Self {
        match limit {
            SharedLimit::Rate(rate) if limit.is_granted() => {
                Self::Ledger(Ledger::after_owners(rate, until))
            }
            _ => {
                let shares = Shares::after_owners(limit.count(), limit.per(), until);
                Self::Shares(shares.from_version(version))
            }
        }
    }

    fn version(&self) -> u64 {
        match self {
            Self::Shares(shares) => shares.version(),
            Self::Ledger(_) => 0,
        }
    }
}
