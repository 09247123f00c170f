//! The control nodes that a file names, as a whole.

use std::collections::BTreeSet;

use anyhow::ensure;

use super::{Cluster, Role};

impl Cluster {
    pub fn check_peers(&self, role: Role) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        for (nth, peer) in (1..).zip(&self.peers) {
            ensure!(
                seen.insert(peer.to_string()),
                "cluster.peers[{nth}]: {peer} is there already; name each control node once"
            );
        }
        let own = self.own_address().to_string();
        // One that only joins says so, with 0 or with how many made the cluster.
        let is_to_found =
            role.controls() && !self.peers.is_empty() && self.bootstrap_expect.is_none();
        ensure!(
            !is_to_found || seen.contains(&own),
            "cluster.peers: does not name this node itself, which is {own} by cluster.listen and cluster.address; name all \
             nodes that make the cluster, such as peers = [\"{own}\", ...], or set bootstrap_expect = 0 if it joins one"
        );
        Ok(())
    }

    pub fn warnings(&self, role: Role) -> Vec<String> {
        let founders = self.founders().len();
        if !role.controls() || founders < 2 || founders % 2 == 1 {
            return Vec::new();
        }
        let survives = (founders - 1) / 2;
        let what = match survives {
            0 => "which stop when either is lost: that is less than one alone".to_owned(),
            _ => format!(
                "which survive the loss of {survives}, as {} do",
                founders - 1
            ),
        };
        let key = match self.bootstrap_expect {
            Some(_) => "cluster.bootstrap_expect",
            None => "cluster.peers",
        };
        vec![format!(
            "{key}: {founders} control nodes make the cluster, {what}; use 3 or 5"
        )]
    }
}
