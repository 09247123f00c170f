//! Limits of this sender, its parts of those that senders share, and what policy says of a path.

pub mod intake;
pub mod limiters;
pub mod path_policy;
pub mod policy_use;
pub mod shared_limits;
pub mod token;
pub mod waiters;
