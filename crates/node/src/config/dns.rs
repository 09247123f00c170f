//! `[dns]`: the servers that are asked.

use std::net::SocketAddr;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::values;

/// Each is asked about every source IP.
const DNSBL_ZONES_MAX: usize = 16;
/// A name of 253 bytes, less an IPv6 address by half bytes.
const DNSBL_ZONE_BYTES_MAX: usize = 253 - 64;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Instead of the system's.
    #[serde(with = "values::addresses")]
    pub servers: Vec<SocketAddr>,
    /// Lists such as `zen.spamhaus.org` in which the public addresses of source IPs are looked up, every ten minutes; what
    /// is found is shown by `skeinctl ip list` and keeps nothing from being sent.
    pub dnsbl_zones: Vec<String>,
}

impl Dns {
    pub fn check(&self) -> anyhow::Result<()> {
        if self.dnsbl_zones.len() > DNSBL_ZONES_MAX {
            bail!("dns.dnsbl_zones: at most {DNSBL_ZONES_MAX}");
        }
        for (nth, server) in (1..).zip(&self.servers) {
            if server.port() == 0 || server.ip().is_unspecified() {
                bail!("dns.servers[{nth}]: {server} is no server, such as 10.0.0.53:53");
            }
            if self.servers[..nth - 1].contains(server) {
                bail!("dns.servers[{nth}]: {server} is there already; name each server once");
            }
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let bad = self.dnsbl_zones.iter().find(|zone| {
            zone.is_empty() || zone.len() > DNSBL_ZONE_BYTES_MAX || !zone.chars().all(is_name)
        });
        match bad {
            Some(zone) => bail!("dns.dnsbl_zones: {zone:?} is not the name of a zone"),
            None => Ok(()),
        }
    }
}
