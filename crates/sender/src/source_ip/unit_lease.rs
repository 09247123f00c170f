//! What this sender holds of one IP's budget at one provider.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use skein_model::warmup::{Ask, Day, Granted, Left, Report};
use skein_model::{DurationMs, UnixMs};

/// A budget that has nothing now is asked about again: an operator may have started, resumed or skipped the warm-up.
const RECHECK: Duration = Duration::from_secs(5);
/// An attempt that begins later in a day would end in the next one.
pub const BEFORE_MIDNIGHT: DurationMs = DurationMs::from_secs(5);
/// Of one ask; the leader gives less where the budget is small.
pub const UNUSED_MAX: u64 = 256;

/// What an IP may send to a provider now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    pub left: Left,
    /// When more opens, if that is known.
    pub next_at: Option<UnixMs>,
}

impl Open {
    pub const WARM: Self = Self {
        left: Left::Unlimited,
        next_at: None,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Unasked,
    /// Warm, by the word of an operator or because it has finished.
    Warm,
    NotStarted,
    Warming,
}

#[derive(Debug)]
pub struct UnitLease {
    pub standing: Standing,
    /// When that was last heard.
    heard: Instant,
    pub left: u64,
    pub day: Option<Day>,
    pub ends: Option<UnixMs>,
    /// Nothing is to be had before.
    next_at: Option<UnixMs>,
    /// The last answer was nothing at all.
    is_dry: bool,
    /// Units that tasks wait for.
    pub demand: u64,
    /// Units of tasks that are on their way to a connection.
    pub out: u64,
    /// Of the last answer that brought some: no more than that is held at once, so that others have theirs and little is
    /// lost with this process.
    last_grant: u64,
    /// Not told yet, by day.
    pub results: BTreeMap<Day, Report>,
}

impl UnitLease {
    pub fn new() -> Self {
        Self {
            standing: Standing::Unasked,
            heard: Instant::now(),
            left: 0,
            day: None,
            ends: None,
            next_at: None,
            is_dry: false,
            demand: 0,
            out: 0,
            last_grant: 1,
            results: BTreeMap::new(),
        }
    }

    /// Units of a day that is over are lost.
    pub fn pass(&mut self, at: UnixMs) {
        if self.ends.is_some_and(|ends| at + BEFORE_MIDNIGHT >= ends) {
            self.left = 0;
            self.ends = None;
            self.is_dry = false;
            self.next_at = None;
        }
    }

    /// Units to ask for: as many as tasks wait for, when those that were granted are used.
    pub fn want(&self) -> u64 {
        match self.out == 0 || self.left + self.out < self.last_grant {
            true => self.demand.saturating_sub(self.left).min(UNUSED_MAX),
            false => 0,
        }
    }

    /// Whether the leader may have more than was last heard.
    pub fn may_ask(&self, at: UnixMs) -> bool {
        let is_old = self.heard.elapsed() >= RECHECK;
        match self.standing {
            Standing::Unasked => true,
            Standing::Warm | Standing::NotStarted => is_old,
            Standing::Warming => {
                let is_due = self.next_at.is_none_or(|next| next <= at);
                is_old || (is_due && !self.is_dry)
            }
        }
    }

    pub fn open(&self, at: UnixMs, need: u64) -> Open {
        let may_ask = self.may_ask(at);
        let left = match self.standing {
            Standing::Warm if !may_ask => Left::Unlimited,
            _ if self.left >= need => Left::Of(self.left),
            // Asking comes before the decision that there is nothing.
            _ if may_ask => Left::Of(need),
            Standing::NotStarted => Left::None,
            _ => Left::Of(0),
        };
        Open {
            left,
            next_at: self.next_at,
        }
    }

    /// The leader has answered.
    pub fn fill(&mut self, at: UnixMs, ask: &Ask, granted: &Granted) {
        let is_mere_report = ask.want == 0;
        if is_mere_report && self.standing != Standing::Unasked {
            return;
        }
        self.heard = Instant::now();
        self.standing = match (granted.day, granted.ends) {
            (None, _) => Standing::NotStarted,
            (Some(_), None) => Standing::Warm,
            (Some(_), Some(_)) => Standing::Warming,
        };
        if self.standing != Standing::Warming {
            self.left = 0;
            self.day = granted.day;
            return;
        }
        // Of an earlier day nothing is left.
        if self.day != granted.day {
            self.left = 0;
        }
        self.day = granted.day;
        self.ends = granted.ends;
        self.left += granted.count;
        if granted.count > 0 {
            self.last_grant = granted.count;
        }
        self.next_at = granted.next_at;
        self.is_dry = granted.count == 0 && ask.want > 0;
        if let Some(ends) = granted.ends.filter(|ends| at + BEFORE_MIDNIGHT >= *ends) {
            // Too late for this day; to be asked again in the next one.
            self.pass(at);
            self.next_at = Some(ends);
        }
    }
}
