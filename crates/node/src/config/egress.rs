//! Whether a node connects out through its source IPs for others.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::Role;
use super::certificates::is_loopback;
use super::cluster::{Cluster, check_address};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Where other nodes connect to go out through the source IPs of this one. Without it only this node uses them.
    #[serde(with = "super::values::optional_address")]
    pub listen: Option<SocketAddr>,
    /// `host:port` at which other nodes reach that; `listen` unless set.
    pub address: Option<String>,
}

impl Egress {
    /// Where others reach it, if they do.
    pub fn advertised(&self) -> Option<String> {
        let listen = self.listen?.to_string();
        Some(self.address.clone().unwrap_or(listen))
    }

    pub fn check(&self, role: Role, cluster: &Cluster) -> anyhow::Result<()> {
        let Some(listen) = self.listen else {
            if role.lends_only() {
                bail!(
                    "egress.listen: a node of role \"egress\" needs it, such as listen = \"10.0.0.4:7003\": senders connect \
                     there to go out through its source IPs"
                );
            }
            return match self.address {
                Some(_) => bail!("egress.address: means nothing without egress.listen; set both"),
                None => Ok(()),
            };
        };
        if role == Role::Control {
            bail!("egress.listen: a node of role \"control\" has no source IPs; leave it out");
        }
        if let Some(address) = &self.address {
            check_address(address).context("egress.address")?;
        } else if listen.ip().is_unspecified() {
            bail!(
                "egress.address: other nodes cannot reach {listen}; say which host:port they use"
            );
        }
        let is_protected = cluster.tls.is_some() || cluster.plaintext;
        let is_near = listen.ip().is_loopback()
            && self
                .address
                .as_ref()
                .is_none_or(|address| is_loopback(address));
        if !is_protected && !is_near {
            bail!(
                "egress.listen: whoever reaches {listen} sends through the IPs of this node: set [cluster.tls] ca, \
                 certificate and key (`skein dev-ca` makes them), or cluster.plaintext = true if nobody else is on that \
                 network"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const TLS: &str = "[cluster.tls]\nca = \"a\"\ncertificate = \"c\"\nkey = \"k\"\n";

    #[test]
    fn an_egress_port_is_protected_where_strangers_may_reach_it() {
        for (text, parts) in [
            ("[egress]\nlisten = \"127.0.0.1:7003\"".to_owned(), &[][..]),
            (format!("[egress]\nlisten = \"10.0.0.1:7003\"\n{TLS}"), &[]),
            (
                "[cluster]\nplaintext = true\n[egress]\nlisten = \"10.0.0.1:7003\"".to_owned(),
                &[],
            ),
            (
                "[egress]\nlisten = \"10.0.0.1:7003\"".to_owned(),
                &["line 2: egress.listen", "dev-ca", "plaintext"],
            ),
            (
                format!("[egress]\nlisten = \"0.0.0.0:7003\"\n{TLS}"),
                &["egress.address", "0.0.0.0"],
            ),
            (
                "[egress]\naddress = \"a:1\"".to_owned(),
                &["line 2: egress.address", "egress.listen"],
            ),
            (
                "[egress]\nlisten = \"127.0.0.1:7003\"\naddress = \"nowhere\"".to_owned(),
                &["line 3: egress.address", "host:port"],
            ),
            (
                "role = \"control\"\n[egress]\nlisten = \"127.0.0.1:7003\"".to_owned(),
                &["line 3: egress.listen", "control"],
            ),
            (
                "role = \"egress\"\n[cluster]\npeers = [\"127.0.0.1:7000\"]\n[egress]\nlisten = \"127.0.0.1:7003\""
                    .to_owned(),
                &[],
            ),
            (
                "role = \"egress\"\n[cluster]\npeers = [\"127.0.0.1:7000\"]".to_owned(),
                &["egress.listen", "10.0.0.4:7003"],
            ),
            (
                "role = \"egress\"\n[egress]\nlisten = \"127.0.0.1:7003\"".to_owned(),
                &["cluster.peers", "egress"],
            ),
        ] {
            let error = Config::parse(&text).err().map(|error| format!("{error:#}"));
            assert_eq!(error.is_some(), !parts.is_empty(), "{text}: {error:?}");
            for part in parts {
                let error = error.as_deref().unwrap_or_default();
                assert!(
                    error.contains(part),
                    "{text:?} gave {error:?}, which lacks {part:?}"
                );
            }
        }
    }
}
