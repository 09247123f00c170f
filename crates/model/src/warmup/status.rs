//! What a warm-up is like at a time: for people, and for the choice of an IP.

use super::calendar::Day;
use super::choose::Left;
use super::day::{DayResult, Judgement, judge};
use super::row::{Change, Counts, Judged, Phase, Row};
use super::spread;
use crate::time::UnixMs;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// Counted from 1, as people do.
    pub stage: u16,
    pub stages: u16,
    pub day: Day,
    pub day_ends: UnixMs,
    /// Attempts of the day; none means that no budget applies.
    pub budget: Option<u64>,
    /// Of the budget, by now.
    pub open: u64,
    pub counts: Counts,
    /// Of attempts, rounded down.
    pub deferred_percent: u64,
    pub held_days: u16,
    /// When more may be sent; none if it is not known, or if no budget applies.
    pub next_at: Option<UnixMs>,
    /// What happens at the end of the day if nothing more does, and why.
    pub outlook: String,
    pub judged: Option<Judged>,
    /// Oldest first.
    pub changes: Vec<Change>,
}

fn at(row: &Row, now: UnixMs) -> Row {
    let mut row = row.clone();
    row.roll(now);
    row
}

/// How many attempts of the day's budget may be granted by now, those that were included. All of any number if no
/// budget applies.
pub fn open(row: &Row, now: UnixMs) -> u64 {
    let row = at(row, now);
    row.budget().map_or(u64::MAX, |budget| {
        let ready = spread::ready(&row, budget, row.now);
        row.counts.granted.saturating_add(ready).min(budget)
    })
}

/// When an attempt may be granted: now, later this day or on the next sending day. None while no time brings one, and
/// for who has no budget.
pub fn next_at(row: &Row, now: UnixMs) -> Option<UnixMs> {
    let row = at(row, now);
    let budget = row.budget()?;
    if row.phase == (Phase::Paused { is_sending: false }) {
        return None;
    }
    match budget > row.counts.granted {
        true => Some(spread::opens_at(&row, budget, row.now)),
        false => {
            let calendar = row.plan.calendar;
            Some(calendar.starts(calendar.next_sending(row.day)))
        }
    }
}

/// What [`choose`](super::choose()) wants to know.
pub fn left(row: &Row, now: UnixMs) -> Left {
    let row = at(row, now);
    let Some(budget) = row.budget() else {
        return Left::Unlimited;
    };
    match budget {
        0 => Left::None,
        budget => Left::Of(spread::ready(&row, budget, row.now)),
    }
}

pub fn status(row: &Row, now: UnixMs) -> Status {
    let row = at(row, now);
    Status {
        phase: row.phase,
        stage: row.stage.saturating_add(1),
        stages: row.plan.stages(),
        day: row.day,
        day_ends: row.plan.calendar.ends(row.day),
        budget: row.budget(),
        open: open(&row, row.now),
        counts: row.counts,
        deferred_percent: row.counts.percent(row.counts.deferred),
        held_days: row.held_days,
        next_at: next_at(&row, row.now),
        outlook: outlook(&row),
        judged: row.judged,
        changes: row.changes.into(),
    }
}

fn outlook(row: &Row) -> String {
    match row.phase {
        Phase::Stopped => return "no budget: stopped".to_owned(),
        Phase::Finished => return "no budget: finished".to_owned(),
        Phase::Paused { .. } => return "stays at this stage: paused".to_owned(),
        Phase::Running => {}
    }
    if !row.plan.calendar.is_sending(row.day) {
        return format!(
            "stays at this stage: nothing is sent on {}",
            row.day.weekday()
        );
    }
    let Judgement { result, reason } = judge(&row.plan, row.stage, &row.counts);
    let is_last = row.stage.saturating_add(1) >= row.plan.stages();
    let pauses = row.held_days.saturating_add(1) >= row.plan.bounds.held_days;
    let what = match result {
        DayResult::Idle => "stays at this stage".to_owned(),
        DayResult::Advance if is_last => "finishes".to_owned(),
        DayResult::Advance => {
            let volume = row.plan.volume(row.stage + 1);
            format!("advances to {volume} a day")
        }
        DayResult::Hold | DayResult::StepBack if pauses => "pauses".to_owned(),
        DayResult::StepBack if row.stage > 0 => {
            let volume = row.plan.volume(row.stage - 1);
            format!("steps back to {volume} a day")
        }
        DayResult::Hold | DayResult::StepBack => "stays at this stage".to_owned(),
    };
    format!("{what}: {reason}")
}
