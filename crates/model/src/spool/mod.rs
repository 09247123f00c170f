//! A spool group: the messages it holds, their tasks, and how commands change them.

mod apply;
mod command;
pub mod query;
mod report;
mod rows;
mod state;

pub use apply::{Applied, Effect, apply};
pub use command::{
    Accept, Command, FlushScope, NewTask, OpenSlots, Outcome, Refusal, Report, Response, Verdict,
};
pub use rows::{MessageRow, QueueRow, SlotRow, StateRow, TaskRow, key};

#[cfg(test)]
pub(crate) mod tests;
