//! Sockets that the node listens on: no two of them may be one.

use std::net::SocketAddr;

use anyhow::{bail, ensure};

use super::Config;

impl Config {
    /// Every address that this node listens on, with its key.
    fn listens(&self) -> Vec<(String, SocketAddr)> {
        let mut all = vec![("http.listen".to_owned(), self.http.listen)];
        if self.role.controls() {
            all.push(("admin.listen".into(), self.admin.listen));
            all.extend(self.cluster.listen.map(|at| ("cluster.listen".into(), at)));
        }
        if self.role.sends() || self.role.lends_only() {
            all.extend(self.egress.listen.map(|at| ("egress.listen".into(), at)));
        }
        if self.role.sends() {
            let listeners = (1..).zip(&self.smtp.listeners);
            all.extend(
                listeners.map(|(nth, one)| (format!("smtp.listener[{nth}].address"), one.address)),
            );
        }
        all
    }

    pub fn check_ports(&self) -> anyhow::Result<()> {
        let all = self.listens();
        for (nth, (key, address)) in all.iter().enumerate() {
            let mut earlier = all[..nth].iter();
            if let Some((other, taken)) = earlier.find(|(_, taken)| are_one(taken, address)) {
                bail!("{key}: {address} is taken by {other}, {taken}; give it another port");
            }
        }
        ensure!(
            !self.role.sends() || !self.smtp.listeners.is_empty(),
            "smtp.listener: a node that takes mail in needs one, such as address = \"0.0.0.0:25\""
        );
        Ok(())
    }
}

/// Whether the system gives out only one of the two. Port 0 is any that is free.
fn are_one(a: &SocketAddr, b: &SocketAddr) -> bool {
    let covers = |a: &SocketAddr, b: &SocketAddr| {
        a.ip() == b.ip() || (a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4()))
    };
    a.port() != 0 && a.port() == b.port() && (covers(a, b) || covers(b, a))
}
