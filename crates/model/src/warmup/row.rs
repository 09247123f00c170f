//! The state of one warm-up, and what happens to it when a day ends.

use std::collections::VecDeque;

use minicbor::{Decode, Encode};

use super::calendar::Day;
use super::day::{DayResult, Judgement, judge};
use super::schedule::Plan;
use super::spread::Spread;
use crate::time::UnixMs;

/// What people look back on; each replica keeps it for each warm-up.
const CHANGES_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    #[n(0)]
    Running,
    /// The stage stays as it is.
    #[n(1)]
    Paused {
        /// Whether the stage's volume goes out each day meanwhile.
        #[n(0)]
        is_sending: bool,
    },
    /// By an operator: the IP counts as warm.
    #[n(2)]
    Stopped,
    /// The last stage was passed.
    #[n(3)]
    Finished,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Finished)
    }
}

/// Of one day, in attempts at recipients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counts {
    #[n(0)]
    pub granted: u64,
    #[n(1)]
    pub delivered: u64,
    #[n(2)]
    pub deferred: u64,
    #[n(3)]
    pub bounced: u64,
}

impl Counts {
    /// Attempts that ended.
    pub fn attempts(&self) -> u64 {
        let ended = self.delivered.saturating_add(self.deferred);
        ended.saturating_add(self.bounced)
    }

    pub(super) fn is_active(&self) -> bool {
        self.granted > 0 || self.attempts() > 0
    }

    /// Of all attempts, rounded down.
    pub(super) fn percent(&self, count: u64) -> u64 {
        let percent = u128::from(count) * 100 / u128::from(self.attempts().max(1));
        percent.min(100) as u64
    }
}

/// The latest day that had mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Active {
    #[n(0)]
    pub day: Day,
    #[n(1)]
    pub delivered: u64,
}

/// The latest day that was judged.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Judged {
    #[n(0)]
    pub day: Day,
    /// Counted from 0.
    #[n(1)]
    pub stage: u16,
    #[n(2)]
    pub counts: Counts,
    #[n(3)]
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum What {
    #[n(0)]
    Started,
    #[n(1)]
    Replanned,
    #[n(2)]
    Paused,
    #[n(3)]
    Resumed,
    #[n(4)]
    Skipped,
    #[n(5)]
    Stopped,
    #[n(6)]
    Advanced,
    #[n(7)]
    SteppedBack,
    /// The IP was idle for too long.
    #[n(8)]
    Rewarmed,
    #[n(9)]
    Finished,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Replanned => "replanned",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
            Self::Advanced => "advanced",
            Self::SteppedBack => "stepped back",
            Self::Rewarmed => "rewarmed",
            Self::Finished => "finished",
        }
    }
}

/// Something other than a day that was held.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    #[n(0)]
    pub at: UnixMs,
    #[n(1)]
    pub what: What,
    /// The stage from then on.
    #[n(2)]
    pub stage: u16,
    /// None when the rules decided.
    #[n(3)]
    pub who: Option<String>,
    #[n(4)]
    pub why: String,
}

/// The warm-up of one IP at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Row {
    #[n(0)]
    pub plan: Plan,
    #[n(1)]
    pub phase: Phase,
    /// Counted from 0.
    #[n(2)]
    pub stage: u16,
    /// Never goes back, whatever becomes of the clock or of the plan's offset.
    #[n(3)]
    pub day: Day,
    /// Of that day.
    #[n(4)]
    pub counts: Counts,
    #[n(5)]
    pub spread: Option<Spread>,
    /// In a row, without progress.
    #[n(6)]
    pub held_days: u16,
    #[n(7)]
    pub active: Option<Active>,
    #[n(8)]
    pub judged: Option<Judged>,
    /// The latest, oldest first.
    #[n(9)]
    pub changes: VecDeque<Change>,
    /// The latest time that the row has seen.
    #[n(10)]
    pub now: UnixMs,
}

impl Row {
    pub(super) fn new(plan: Plan, at: UnixMs) -> Self {
        Self {
            day: plan.calendar.day(at),
            plan,
            phase: Phase::Running,
            stage: 0,
            counts: Counts::default(),
            spread: None,
            held_days: 0,
            active: None,
            judged: None,
            changes: VecDeque::new(),
            now: at,
        }
    }

    /// Attempts of the row's day; none means that no budget applies.
    pub fn budget(&self) -> Option<u64> {
        let is_sending_day = self.plan.calendar.is_sending(self.day);
        match self.phase {
            Phase::Stopped | Phase::Finished => None,
            Phase::Running | Phase::Paused { is_sending: true } if is_sending_day => {
                Some(self.plan.volume(self.stage))
            }
            Phase::Running | Phase::Paused { .. } => Some(0),
        }
    }

    pub(super) fn note(&mut self, what: What, who: Option<String>, why: String) {
        if self.changes.len() >= CHANGES_MAX {
            // What a person did says more than one more day that went well.
            let by_rules = self.changes.iter().position(|one| one.who.is_none());
            self.changes.remove(by_rules.unwrap_or(0));
        }
        let (at, stage) = (self.now, self.stage);
        self.changes.push_back(Change {
            at,
            what,
            stage,
            who,
            why,
        });
    }

    /// Brings the row to this time. Of the days since its own only that one is judged: nothing was seen of the others.
    pub(super) fn roll(&mut self, at: UnixMs) {
        self.now = self.now.max(at);
        let today = self.plan.calendar.day(self.now);
        if today <= self.day {
            return;
        }
        if self.counts.is_active() {
            let delivered = self.counts.delivered;
            let day = self.day;
            self.active = Some(Active { day, delivered });
        }
        if self.phase == Phase::Running {
            self.end_day();
        }
        self.day = today;
        self.counts = Counts::default();
        self.spread = None;
        self.rewarm();
    }

    fn end_day(&mut self) {
        let Judgement { result, reason } = judge(&self.plan, self.stage, &self.counts);
        if result == DayResult::Idle {
            return;
        }
        let why = reason.to_string();
        self.judged = Some(Judged {
            day: self.day,
            stage: self.stage,
            counts: self.counts,
            why: why.clone(),
        });
        match result {
            DayResult::Advance => return self.advance(why),
            DayResult::StepBack if self.stage > 0 => {
                self.stage -= 1;
                self.note(What::SteppedBack, None, why.clone());
            }
            _ => {}
        }
        self.held_days = self.held_days.saturating_add(1);
        if self.held_days >= self.plan.bounds.held_days {
            // The stage's volume still goes out: an IP whose sender has too little mail must not fall silent.
            self.phase = Phase::Paused { is_sending: true };
            let days = self.held_days;
            let why = format!("{days} days without progress, at last: {why}");
            self.note(What::Paused, None, why);
        }
    }

    fn advance(&mut self, why: String) {
        self.held_days = 0;
        if self.stage.saturating_add(1) < self.plan.stages() {
            self.stage += 1;
            return self.note(What::Advanced, None, why);
        }
        self.phase = Phase::Finished;
        self.note(What::Finished, None, why);
    }

    /// Providers forget an IP from which nothing comes. It begins again at half of what they last had from it.
    fn rewarm(&mut self) {
        let Some(active) = self.active else { return };
        let idle = self.day.0.saturating_sub(active.day.0).saturating_sub(1);
        if idle < u64::from(self.plan.bounds.idle_days) || self.phase == Phase::Stopped {
            return;
        }
        let fits = self.plan.stage_of(active.delivered / 2);
        let was_finished = self.phase == Phase::Finished;
        if was_finished {
            self.phase = Phase::Running;
        }
        if was_finished || fits < self.stage {
            self.stage = fits.min(self.stage);
            self.held_days = 0;
            self.note(What::Rewarmed, None, format!("no mail for {idle} days"));
        }
        self.active = None;
    }
}
