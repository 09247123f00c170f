//! The cluster as its operator sees it, through `skeinctl --json`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::timeout;

use super::host::{ADMIN_PORT, Host};
use super::net::Net;
use super::nodes::Identity;
use super::{ClusterError, Result, io_error};

const ANSWER_WITHIN: Duration = Duration::from_secs(8);
const SLOTS: usize = 1024;

/// An operator at the clients' host.
#[derive(Debug, Clone)]
pub struct Operator {
    pub binary: PathBuf,
    pub net: Arc<Net>,
    pub identity: Identity,
}

#[derive(Debug, Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    group: u32,
    term: u64,
    leader: String,
    members: Vec<Member>,
    open_messages: u64,
}

#[derive(Debug, Deserialize)]
struct Member {
    voter: bool,
}

#[derive(Debug, Deserialize)]
struct SlotView {
    sender: String,
    moving_to: String,
}

/// Raft groups by number, meta is 0, and who leads each.
pub type Leaders = BTreeMap<u32, Host>;

impl Operator {
    /// A command through one control node; what it printed.
    pub async fn run(&self, through: Host, args: &[&str]) -> Result<String> {
        let server = format!("https://{}", self.net.addresses.at(through, ADMIN_PORT));
        let command = || format!("skeinctl {} at {through}", args.join(" "));
        let run = Command::new(&self.binary)
            .args(["--server", &server])
            .arg("--ca")
            .arg(&self.identity.ca)
            .arg("--cert")
            .arg(&self.identity.certificate)
            .arg("--key")
            .arg(&self.identity.key)
            .args(args)
            .kill_on_drop(true)
            .output();
        let output = timeout(ANSWER_WITHIN, run)
            .await
            .map_err(|_| ClusterError::Command {
                command: command(),
                stderr: "no answer".to_owned(),
            })?
            .map_err(io_error(command()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(ClusterError::Command {
                command: command(),
                stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    }

    /// The same through the first of them that does it.
    pub async fn run_somewhere(&self, args: &[&str]) -> Result<String> {
        let mut last = ClusterError::NotSo("there is no control node".to_owned());
        for control in Host::controls() {
            match self.run(control, args).await {
                Ok(output) => return Ok(output),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask<T: DeserializeOwned>(&self, through: Host, args: &[&str]) -> Result<T> {
        let output = self.run(through, &[&["--json"], args].concat()).await?;
        serde_json::from_str(&output).map_err(|error| io_error(args.join(" "))(error.into()))
    }

    async fn groups(&self, through: Host) -> Result<Vec<Group>> {
        let groups: Groups = self.ask(through, &["group", "list"]).await?;
        Ok(groups.groups)
    }

    /// The leaders, by those of the nodes that know the latest term.
    pub async fn leaders(&self, of: &[Host]) -> Leaders {
        let mut known: BTreeMap<u32, (u64, Host)> = BTreeMap::new();
        let all = of.iter().map(|control| self.groups(*control));
        for groups in join_all(all).await.into_iter().flatten() {
            for group in groups {
                let Some(leader) = self.host_at(&group.leader) else {
                    continue;
                };
                let latest = known.entry(group.group).or_insert((group.term, leader));
                if group.term > latest.0 {
                    *latest = (group.term, leader);
                }
            }
        }
        known
            .into_iter()
            .map(|(group, (_, leader))| (group, leader))
            .collect()
    }

    fn host_at(&self, address: &str) -> Option<Host> {
        let address: SocketAddr = address.parse().ok()?;
        self.net.addresses.host_of(address.ip())
    }

    /// What is not as it should be some time after the last fault, if anything (promise 12).
    pub async fn unrest(&self) -> Result<Option<String>> {
        for control in Host::controls() {
            let groups = self.groups(control).await?;
            if groups.len() < 2 {
                return Ok(Some(format!("{control} knows {} groups", groups.len())));
            }
            for group in groups {
                let voters = group.members.iter().filter(|member| member.voter).count();
                let (number, open) = (group.group, group.open_messages);
                let what = match group.leader.as_str() {
                    "" => "has no leader".to_owned(),
                    _ if voters != Host::controls().count() => format!("has {voters} voters"),
                    _ if group.members.len() != voters => "has learners".to_owned(),
                    _ if open > 0 => format!("has {open} open messages"),
                    _ => continue,
                };
                return Ok(Some(format!("{control} says that group {number} {what}")));
            }
            let slots: Vec<SlotView> = self.ask(control, &["slot", "list", "--all"]).await?;
            let owned = slots
                .iter()
                .filter(|slot| !slot.sender.is_empty() && slot.moving_to.is_empty());
            let owned = owned.count();
            if owned != SLOTS {
                return Ok(Some(format!(
                    "{control} says that {owned} slots have an owner and stay"
                )));
            }
        }
        Ok(None)
    }
}
