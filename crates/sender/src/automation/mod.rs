//! Actions of rules and operators as this sender obeys them, and the replies that it counts for rules.

pub mod active_actions;
pub mod reactions;
