//! What README, manual and runbooks show works as it is written, and what dashboards and alerts ask for is there.
#![expect(clippy::unwrap_used, reason = "tests")]

mod blocks;
mod links;
mod monitoring;
mod reference;
mod schema;
mod shown;
mod typed;
