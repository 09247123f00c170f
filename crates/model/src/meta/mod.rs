//! The meta group: its control nodes, sender sessions and the slots they own.

mod assign;
mod leases;
mod members;
mod state;

pub use assign::{assign, unfit};
pub use leases::Leases;
pub use members::{
    ClusterRow, Join, Member, NodeRow, Step, cluster, is_as_told, next_step, nodes, was_removed,
};
pub use state::{
    Assignment, Command, Refusal, Response, SessionRow, apply, assignments, assignments_version,
    drained, session, sessions,
};

#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod tests;
