//! Nodes that die, stand still or cannot reach one another: nothing that was answered with 250 may be lost.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod failpoints;

use tokio::sync::RwLock;

/// A cluster has the machine for itself, so that times mean something; single nodes share it.
static MACHINE: RwLock<()> = RwLock::const_new(());
