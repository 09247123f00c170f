//! The cluster as `skeinctl --json node list` tells it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

/// A node that does not answer by then is passed over this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Operator {
    pub skeinctl: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Seen {
    pub control_nodes: Vec<ControlNode>,
    pub senders: Vec<SenderNode>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ControlNode {
    pub address: String,
    /// Groups; 0 is meta.
    pub leads: Vec<u32>,
    /// Empty when it does not answer.
    pub version: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SenderNode {
    pub name: String,
    pub slots: u64,
    pub state: String,
}

impl Seen {
    pub fn slots(&self, sender: &str) -> u64 {
        let found = self.senders.iter().find(|node| node.name == sender);
        found.map_or(0, |node| node.slots)
    }
}

impl Operator {
    /// What the first of the nodes says that answers.
    pub async fn look(&self, admins: impl Iterator<Item = SocketAddr>) -> Result<Seen> {
        let mut seen = Err(anyhow::anyhow!("no control node runs"));
        for admin in admins {
            seen = self.ask(admin).await;
            if seen.is_ok() {
                break;
            }
        }
        seen
    }

    async fn ask(&self, admin: SocketAddr) -> Result<Seen> {
        let server = format!("http://{admin}");
        let asking = Command::new(&self.skeinctl)
            .args(["--server", &server, "--json", "node", "list"])
            .kill_on_drop(true)
            .output();
        let output = timeout(ANSWER_WITHIN, asking).await.context("no answer")?;
        let output = output.context("running skeinctl")?;
        ensure!(
            output.status.success(),
            "skeinctl ended with {}",
            output.status
        );
        serde_json::from_slice(&output.stdout).context("reading what skeinctl said")
    }
}
