//! IP warm-up: how much mail a source IP may send to one provider on one day, while that provider does not know it.
//!
//! Each (IP, provider) has a [`Row`] in the meta group. It changes by [`apply()`] only, with the group's time, which never
//! goes back. Everything that is asked of a row at a later time is answered as if a command had come at that time, so no
//! timer is needed at midnight.
//!
//! | key | value |
//! |---|---|
//! | `W` IP, provider | [`Row`] |
//! | `@W` session | the last answer that it got |
//!
//! One unit of volume is one attempt at one recipient. What was granted counts as used, whatever became of it.

mod apply;
mod calendar;
mod choose;
mod command;
mod day;
mod row;
mod schedule;
mod spread;
mod status;

pub use apply::{apply, row, rows};
pub(crate) use apply::{grant_once, keep_answers, read_row, restore};
pub use calendar::{Calendar, Day, NotAWeekday, Weekday, Weekdays};
pub use choose::{Choice, Left, MEMBERS_MAX, Member, Via, choose};
pub use command::{ASKS_MAX, Ask, Command, Granted, Order, Refusal, Report, Response, Target};
pub use day::{DayResult, Judgement, Reason};
pub use row::{Active, Change, Counts, Judged, Phase, Row, What};
pub use schedule::{BadPlan, Bounds, Plan, STAGES_MAX, Schedule, Shares, VOLUME_FLOOR, VOLUME_MAX};
pub use spread::Spread;
pub use status::{Status, left, next_at, open, status};

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
