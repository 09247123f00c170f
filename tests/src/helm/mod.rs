//! The chart as Helm renders it, and the programs that judge it.

#![expect(clippy::unwrap_used, reason = "tests")]

pub mod render;
pub mod tools;
