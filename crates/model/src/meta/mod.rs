//! The meta group: sender sessions and the slots they own.

mod assign;
mod state;

pub use assign::assign;
pub use state::{
    Assignment, Command, Response, SessionRow, apply, assignments, session_lives, sessions,
};

#[cfg(test)]
mod tests;
