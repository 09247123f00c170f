//! How nodes find one another.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::Role;
use super::certificates::{ClusterTls, is_loopback};
use skein_model::HostPort;
use skein_model::meta::SPOOL_GROUPS_MAX;

/// Spool groups of a new cluster: enough that every node leads one, few enough that batches stay large.
const SPOOL_GROUPS: u16 = 4;

/// A node without `listen` and `peers` is alone: it needs no other and none can reach it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Where a control node listens to other nodes.
    #[serde(with = "super::values::optional_address")]
    pub listen: Option<SocketAddr>,
    /// `host:port` at which other nodes reach this one; `listen` unless set.
    pub address: Option<String>,
    /// `host:port` of control nodes. For those that make a new cluster: all of them, in the same order everywhere.
    pub peers: Vec<String>,
    /// How many control nodes make a new cluster, the first of `peers`; all of them unless set. 0 only joins.
    pub bootstrap_expect: Option<usize>,
    /// How control nodes come to a cluster that is there.
    pub join: Join,
    /// Raft groups among which messages are spread; decided when the cluster is made.
    pub spool_groups: Option<u16>,
    /// What a sender is called, one name for each process; its address unless set.
    pub name: Option<String>,
    /// Neither encryption nor certificates between nodes on several machines.
    pub plaintext: bool,
    pub tls: Option<ClusterTls>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// From addresses that `skeinctl cluster add` named.
    #[default]
    Invited,
    /// By themselves, if they have empty disks and certificates with the role of a control node. The node that comes must say
    /// so, and those that are there.
    Auto,
}

impl Cluster {
    pub fn is_alone(&self) -> bool {
        self.listen.is_none() && self.peers.is_empty()
    }

    /// Where others reach this node; empty for one that is alone or only sends.
    pub fn own_address(&self) -> String {
        let listen = self.listen.map(|listen| listen.to_string());
        self.address.clone().or(listen).unwrap_or_default()
    }

    /// The control nodes that make a new cluster together.
    pub fn founders(&self) -> Vec<String> {
        let count = self.bootstrap_expect.unwrap_or(self.peers.len());
        self.peers.iter().take(count).cloned().collect()
    }

    pub fn spool_groups(&self) -> u16 {
        let default = if self.is_alone() { 1 } else { SPOOL_GROUPS };
        self.spool_groups.unwrap_or(default)
    }

    pub fn check(&self, role: Role) -> anyhow::Result<()> {
        for (key, address) in self.named() {
            check_address(address).context(key)?;
        }
        self.check_plaintext()?;
        if self.join == Join::Auto && self.tls.is_none() {
            bail!(
                "cluster.join: \"auto\" lets in nodes by their certificates, and these have none: set [cluster.tls] ca, \
                 certificate and key, or leave it out and name each new node to `skeinctl cluster add`"
            );
        }
        if !role.controls() && self.peers.is_empty() {
            bail!(
                "cluster.peers: role {:?} needs the addresses of control nodes, such as [\"10.0.0.1:7000\"]",
                role.name()
            );
        }
        if role.controls() && !self.is_alone() {
            self.check_control()?;
        }
        if !(1..=SPOOL_GROUPS_MAX).contains(&self.spool_groups()) {
            bail!("cluster.spool_groups: from 1 to {SPOOL_GROUPS_MAX}");
        }
        Ok(())
    }

    /// The addresses that the file names, with their keys.
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let peers = self
            .peers
            .iter()
            .map(|peer| ("cluster.peers", peer.as_str()));
        let address = self.address.iter();
        peers.chain(address.map(|address| ("cluster.address", address.as_str())))
    }

    fn check_plaintext(&self) -> anyhow::Result<()> {
        match (&self.tls, self.plaintext) {
            (Some(_), true) => {
                bail!("cluster.plaintext: contradicts [cluster.tls]; leave one of them out")
            }
            (Some(_), false) | (None, true) => return Ok(()),
            (None, false) => {}
        }
        let listen = self.listen.map(|listen| listen.to_string());
        let listen = listen
            .iter()
            .map(|listen| ("cluster.listen", listen.as_str()));
        for (key, address) in listen.chain(self.named()) {
            if !is_loopback(address) {
                bail!(
                    "{key}: {address} is not on this machine, so nodes need certificates: set [cluster.tls] ca, \
                     certificate and key (`skein dev-ca` makes them), or cluster.plaintext = true if nobody else is on \
                     that network"
                );
            }
        }
        Ok(())
    }

    fn check_control(&self) -> anyhow::Result<()> {
        let Some(listen) = self.listen else {
            bail!("cluster.listen: a control node with peers needs an address to listen on");
        };
        if self.address.is_none() && listen.ip().is_unspecified() {
            bail!(
                "cluster.address: other nodes cannot reach {listen}; say which host:port they use"
            );
        }
        let expect = self.bootstrap_expect.unwrap_or(self.peers.len());
        if expect > self.peers.len() {
            bail!(
                "cluster.bootstrap_expect: {expect} nodes are expected and cluster.peers names {}",
                self.peers.len()
            );
        }
        Ok(())
    }
}

pub fn check_address(address: &str) -> anyhow::Result<()> {
    address.parse::<HostPort>()?;
    Ok(())
}
