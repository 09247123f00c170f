//! Policies on TLS that other domains publish, as control nodes find and keep them, and the reports to those domains.

mod found;
mod kept;
mod reports;
mod stage;
