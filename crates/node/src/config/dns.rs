//! `[dns]`: the servers that are asked.

use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::values;

/// Each is asked about every source IP.
const DNSBL_ZONES_MAX: usize = 16;
/// A name of 253 bytes, less an IPv6 address by half bytes.
const DNSBL_ZONE_BYTES_MAX: usize = 253 - 64;
/// RFC 1035 2.3.4, as text.
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Instead of the system's.
    #[serde(with = "values::addresses")]
    pub servers: Vec<SocketAddr>,
    /// Lists such as `zen.spamhaus.org` in which the public addresses of source IPs are looked up, every ten minutes; what
    /// is found is shown by `skeinctl ip list` and keeps nothing from being sent.
    pub dnsbl_zones: Vec<String>,
    /// Name servers that validate with DNSSEC, on ways that nobody else can touch: what they vouch for counts for DANE. Those on
    /// loopback, unless set; none, if empty.
    pub trust_ad: Option<Vec<IpAddr>>,
    /// A name that is signed, and one whose signatures are broken, by which it is found out whether they do validate.
    pub validation_probe: ValidationProbe,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationProbe {
    pub signed: String,
    pub broken: String,
}

impl Default for ValidationProbe {
    fn default() -> Self {
        let skein_dns::ValidationProbe { signed, broken } = skein_dns::ValidationProbe::default();
        Self { signed, broken }
    }
}

impl From<ValidationProbe> for skein_dns::ValidationProbe {
    fn from(given: ValidationProbe) -> Self {
        let ValidationProbe { signed, broken } = given;
        Self { signed, broken }
    }
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
        for (key, name) in [
            ("signed", &self.validation_probe.signed),
            ("broken", &self.validation_probe.broken),
        ] {
            let is_label = |label: &str| {
                let mut octets = label.bytes();
                !label.is_empty() && octets.all(|c| c.is_ascii_alphanumeric() || c == b'-')
            };
            if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
                bail!("dns.validation_probe.{key}: {name:?} is not a name such as example.org");
            }
        }
        for server in self.trust_ad.iter().flatten() {
            let is_asked = self.servers.iter().any(|asked| asked.ip() == *server);
            if !self.servers.is_empty() && !is_asked {
                bail!(
                    "dns.trust_ad: {server} is not among dns.servers; name the address of one of them, or of none: trust_ad = []"
                );
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
