//! Where a task goes: rules, MX plans, sites.

pub mod find;
pub mod hosted;
pub mod named;
pub mod sites;
pub mod tls;
