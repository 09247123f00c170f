//! Source IPs: which a message goes from, how it goes out through it, and what is left of its budget.

pub mod addresses;
pub mod budgets;
pub mod connections;
pub mod egress_route;
pub mod outbound_stream;
pub mod placed;
pub mod pool_choice;
pub mod preflight;
pub mod router;
pub mod site_health;
pub mod source;
pub mod sources;
pub mod spend;
pub mod unit_lease;
pub mod unusable;
