//! Where a task goes: rules, MX plans, sites.

pub mod find;
pub mod sites;
