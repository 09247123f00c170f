//! A spool group: the messages it holds, their tasks, and how commands change them.

mod apply;
mod check;
mod command;
mod held;
mod import;
pub mod query;
mod refile;
mod regroup;
mod report;
mod rows;
mod state;
mod told;

pub use apply::{Applied, Away, Effect, apply};
pub use check::read_proposed;
pub use command::{
    Accept, Command, FlushScope, NewTask, OpenSlots, Outcome, Refile, Refusal, Report, Response,
    Told, Verdict,
};
pub use held::{HeldRow, each_held};
pub use import::{Import, ImportRow, ImportStep, ImportedMessage};
pub use refile::MOVES_MAX;
pub use regroup::{EventSpan, Place, places};
pub use rows::{MessageRow, QueueRow, SlotRow, StateRow, TaskRow, key};

#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod refile_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod told_tests;
