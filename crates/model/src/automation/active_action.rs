//! A rule that is in force, and its way back.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::rule::{Action, LASTS_MAX, LASTS_MIN, Rule, RuleAt, ScopeKind};
use super::store::{key, scan};
use crate::rows::{ReadRows, Rows, put_row};
use crate::time::{DurationMs, UnixMs};

/// Of the climb back, over the time that the action lasts.
pub const STEPS: u8 = 10;
/// What goes on longer is a fault to be mended, and mail expires by it; then it is tried again.
pub const IN_ONE_GO_MAX: DurationMs = DurationMs::from_secs(24 * 3600);
/// A storm of replies must not make a storm of changes.
const MOVES_MIN: DurationMs = DurationMs::from_secs(60);
/// Each is looked at whenever time goes on, and every sender knows all.
pub(super) const FORCES_MAX: usize = 4096;
/// A reply's first lines say what it is about.
const WHY_BYTES_MAX: usize = 512;

const FORCE: u8 = b'X';

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ActiveAction {
    #[n(0)]
    pub action: Action,
    /// As the rule said when it came into force.
    #[n(1)]
    pub lasts: DurationMs,
    #[n(2)]
    pub from: UnixMs,
    #[n(3)]
    pub until: UnixMs,
    /// The reply that reached the threshold.
    #[n(4)]
    pub why: String,
    /// The latest step of the climb that an event told of.
    #[n(5)]
    pub told: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    InForce,
    /// Step 1 to [`STEPS`] of the climb back.
    Climbing(u8),
    Over,
}

impl ActiveAction {
    pub(super) fn new(rule: &Rule, now: UnixMs, reply: &str) -> Self {
        Self {
            action: rule.action,
            lasts: rule.lasts,
            from: now,
            until: now + rule.lasts,
            why: reply[..reply.floor_char_boundary(WHY_BYTES_MAX)].to_owned(),
            told: 0,
        }
    }

    /// As rows of this version are, whatever another one wrote.
    #[must_use]
    pub(super) fn bounded(&self) -> Self {
        let why = &self.why;
        Self {
            lasts: self.lasts.clamp(LASTS_MIN, LASTS_MAX),
            why: why[..why.floor_char_boundary(WHY_BYTES_MAX)].to_owned(),
            told: self.told.min(STEPS),
            ..self.clone()
        }
    }

    /// Whether a rule of that scope may say so.
    pub(super) fn is_valid(&self, scope: ScopeKind) -> bool {
        let rule = Rule {
            threshold: 1,
            window: self.lasts,
            action: self.action,
            scope,
            lasts: self.lasts,
        };
        rule.check().is_ok()
    }

    fn climbs(&self) -> bool {
        self.action != Action::Bounce
    }

    fn step_lasts(&self) -> DurationMs {
        DurationMs((self.lasts.0 / u64::from(STEPS)).max(1))
    }

    pub fn phase(&self, now: UnixMs) -> Phase {
        if now < self.until {
            return Phase::InForce;
        }
        let passed = now.since(self.until).0 / self.step_lasts().0;
        match u8::try_from(passed) {
            Ok(passed) if passed < STEPS && self.climbs() => Phase::Climbing(passed + 1),
            _ => Phase::Over,
        }
    }

    /// When its phase changes after the one that was last told of.
    pub(super) fn next_change(&self) -> UnixMs {
        match self.climbs() {
            true => self.until + DurationMs(self.step_lasts().0 * u64::from(self.told)),
            false => self.until,
        }
    }

    /// Another match while it is in force. Returns whether the end has moved.
    pub(super) fn extend(&mut self, now: UnixMs) -> bool {
        let until = (now + self.lasts).min(self.from + IN_ONE_GO_MAX);
        let least = MOVES_MIN.min(self.step_lasts());
        let moves = until >= self.until + least;
        if moves {
            self.until = until;
        }
        moves
    }
}

pub(super) fn force_key(at: &RuleAt) -> Vec<u8> {
    key(FORCE, at)
}

pub(super) fn all(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<RuleAt, ActiveAction> {
    scan(rows, FORCE).into_iter().collect()
}

pub(super) fn set<R: Rows>(rows: &mut R, at: &RuleAt, force: &ActiveAction) {
    put_row(rows, force_key(at), force);
}
