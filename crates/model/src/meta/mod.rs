//! The meta group: sender sessions and the slots they own.

mod assign;
mod state;

pub use assign::{assign, unfit};
pub use state::{
    Assignment, Command, Refusal, Response, SessionRow, apply, assignments, assignments_version,
    drained, session, sessions,
};

#[cfg(test)]
mod tests;
