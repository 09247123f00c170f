//! What a node must know before it can talk: one TOML file, each key with a default, unknown keys refused.

mod certificates;
mod cluster;
mod delivery;
mod egress;
mod founders;
mod hint;
mod log;
mod paths;
mod place;
mod ports;
mod secrets;
mod smtp;
mod storage;
mod unused;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use certificates::{Admin, PemFile, PemFiles, ShownTo};
pub use cluster::Cluster;
pub use delivery::Delivery;
pub use egress::Egress;
pub use log::{Log, LogFormat};
pub use storage::Storage;

/// Each is asked about every source IP.
const DNSBL_ZONES_MAX: usize = 16;
/// A name of 253 bytes, less an IPv6 address by half bytes.
const DNSBL_ZONE_BYTES_MAX: usize = 253 - 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub role: Role,
    pub data_dir: PathBuf,
    pub cluster: Cluster,
    pub storage: Storage,
    pub smtp: Smtp,
    pub admin: Admin,
    pub http: Listen,
    pub delivery: Delivery,
    pub egress: Egress,
    pub dns: Dns,
    pub events: Events,
    pub log: Log,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// All functions in one process.
    #[default]
    All,
    /// Raft groups, spool, admin API.
    Control,
    /// SMTP in and out; no data of its own.
    Sender,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Control => "control",
            Self::Sender => "sender",
        }
    }

    pub fn controls(self) -> bool {
        self != Self::Sender
    }

    pub fn sends(self) -> bool {
        self != Self::Control
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    pub hostname: String,
    /// Clients from here may send anywhere without a login.
    #[serde(with = "values::networks")]
    pub relay_networks: Vec<IpNet>,
    /// The tenant whose mail that is.
    pub relay_tenant: String,
    /// Proxies: each connection from here begins with a PROXY header, version 1 or 2, that names the client.
    #[serde(with = "values::networks")]
    pub proxy_networks: Vec<IpNet>,
    pub bare_newlines: BareNewlines,
    pub tls: Tls,
    pub limits: Limits,
    #[serde(rename = "listener", with = "values::tables")]
    pub listeners: Vec<Listener>,
    #[serde(rename = "user", with = "values::tables")]
    pub users: Vec<User>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareNewlines {
    #[default]
    Refuse,
    Fix,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM files. Both or none.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    #[serde(with = "values::size")]
    pub message_bytes: u64,
    pub recipients: usize,
    pub connections: usize,
    pub connections_per_client: usize,
    pub messages_per_connection: u32,
    pub commands_per_connection: u32,
    /// Refused commands.
    pub errors_per_connection: u32,
    /// A command line; RFC 5321 asks for 512 and its extensions for more.
    #[serde(with = "values::size")]
    pub line_bytes: usize,
    #[serde(with = "values::span")]
    pub command_timeout: Duration,
    /// Silence within a body.
    #[serde(with = "values::span")]
    pub body_timeout: Duration,
    /// Bytes of a body in a second, on the whole, after `body_timeout`; 0 waits for the slowest.
    #[serde(with = "values::size")]
    pub body_rate_min: u64,
    /// Messages on their way in take at most this much memory; clients are held back, then told to come again.
    #[serde(with = "values::size")]
    pub memory_bytes: usize,
    /// At SIGTERM, messages whose body is on its way may still come in for so long.
    #[serde(with = "values::span")]
    pub shutdown_grace: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    #[serde(with = "values::address")]
    pub address: SocketAddr,
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub tls: ListenerTls,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Port 25: mail from configured networks and for whoever logs in.
    #[default]
    Relay,
    /// Ports 587 and 465: a login is required.
    Submission,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerTls {
    /// STARTTLS if a certificate is configured.
    #[default]
    Auto,
    None,
    Starttls,
    Implicit,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub password: Option<String>,
    /// A file that holds nothing but the password, instead of it.
    pub password_file: Option<PathBuf>,
    /// Whose mail it is that this user hands in.
    #[serde(default = "default_tenant")]
    pub tenant: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl User {
    /// # Errors
    /// None is given, or it cannot be read.
    pub fn password(&self) -> anyhow::Result<String> {
        let found = secrets::password(self.password.as_ref(), self.password_file.as_ref());
        let found = found.and_then(|found| found.context("password: is missing"));
        found.with_context(|| format!("smtp.user: {}", self.name))
    }
}

fn default_tenant() -> String {
    "default".into()
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    #[serde(with = "values::address")]
    pub listen: SocketAddr,
}

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

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// The event log as JSON lines; `events.jsonl` in the data directory unless set. At a node that only sends it tells of lockouts.
    pub path: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::All,
            data_dir: PathBuf::from("skein-data"),
            cluster: Cluster::default(),
            storage: Storage::default(),
            smtp: Smtp::default(),
            admin: Admin::default(),
            http: Listen {
                listen: loopback(7002),
            },
            delivery: Delivery::default(),
            egress: Egress::default(),
            dns: Dns::default(),
            events: Events::default(),
            log: Log::default(),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            hostname: system_hostname(),
            relay_networks: vec![
                "127.0.0.0/8".parse().expect("a network"),
                "::1/128".parse().expect("a network"),
            ],
            relay_tenant: default_tenant(),
            proxy_networks: Vec::new(),
            bare_newlines: BareNewlines::Refuse,
            tls: Tls::default(),
            limits: Limits::default(),
            listeners: vec![Listener {
                address: loopback(2525),
                kind: Kind::Relay,
                tls: ListenerTls::Auto,
            }],
            users: Vec::new(),
        }
    }
}

fn system_hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "localhost".into()
    } else {
        name.to_ascii_lowercase()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 20,
            recipients: 1000,
            connections: 2000,
            connections_per_client: 500,
            messages_per_connection: 10_000,
            commands_per_connection: 100_000,
            errors_per_connection: 20,
            line_bytes: 2048,
            command_timeout: Duration::from_secs(300),
            body_timeout: Duration::from_secs(180),
            // The slowest links in use, satellites and packet radio, carry several times as much.
            body_rate_min: 100,
            // A quarter of a second of mail at 500 MB/s, and a pod of 512 MiB has room for the rest of the process.
            memory_bytes: 128 << 20,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Dns {
    fn check(&self) -> anyhow::Result<()> {
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

impl Config {
    /// Reads and checks a file; without one, the defaults.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        Self::read(path).map(|(config, _)| config)
    }

    /// The same, with what works and is not what was meant, most likely.
    pub fn read(path: Option<&Path>) -> anyhow::Result<(Self, Vec<String>)> {
        let Some(path) = path else {
            return Ok((Self::default(), Vec::new()));
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let read = Self::parse(&text).map(|config| {
            let warnings = config.warnings(&text);
            (config, warnings)
        });
        read.with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self =
            toml::from_str(text).map_err(|error| anyhow!("{}", hint::explained(&error)))?;
        let found = config.check();
        found.map_err(|error| match place::line_of(text, &format!("{error:#}")) {
            Some(line) => error.context(format!("line {line}")),
            None => error,
        })?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.smtp_check()?;
        self.cluster.check(self.role)?;
        self.cluster.check_peers(self.role)?;
        self.egress.check(self.role, &self.cluster)?;
        self.check_ports()?;
        self.dns.check()?;
        self.storage.check()?;
        self.log.check()?;
        if self.role.controls() {
            self.admin_certificates()?;
        }
        self.delivery.check()
    }

    /// What nobody uses at the role need not work.
    fn smtp_check(&self) -> anyhow::Result<()> {
        match self.role.sends() {
            true => self.smtp.check(),
            false => self.smtp.check_hostname(),
        }
    }

    /// Each with its line, where the file has one for it.
    fn warnings(&self, text: &str) -> Vec<String> {
        let keys = place::keys(text);
        let mut found = unused::unused(self, &keys);
        found.extend(self.cluster.warnings(self.role));
        if self.role.sends() {
            found.extend(self.smtp.warnings(&keys));
            found.extend(self.delivery.warnings());
        }
        let placed = found
            .into_iter()
            .map(|warning| match place::line_of(text, &warning) {
                Some(line) => format!("line {line}: {warning}"),
                None => warning,
            });
        placed.collect()
    }

    /// With "***" for passwords, unless they are asked for.
    pub fn to_toml(&self, with_secrets: bool) -> anyhow::Result<String> {
        let mut shown = self.clone();
        if !with_secrets {
            secrets::mask(&mut shown);
        }
        Ok(toml::to_string_pretty(&shown)?)
    }
}

#[cfg(test)]
mod mistakes_tests;
#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_documented_file_stays_valid() {
        let text = r#"
            role = "all"
            data_dir = "/some/dir"
            [smtp]
            hostname = "mx.skein.test"
            relay_networks = ["127.0.0.0/8"]
            [[smtp.listener]]
            address = "127.0.0.1:2525"
            [admin]
            listen = "127.0.0.1:7001"
            [http]
            listen = "127.0.0.1:7002"
            [delivery]
            smarthost = "127.0.0.1:2526"
            [dns]
            servers = ["127.0.0.1:5300"]
        "#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.delivery.smarthost.as_deref(), Some("127.0.0.1:2526"));
        assert_eq!(config.smtp.listeners.len(), 1);
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let printed = Config::default().to_toml(false).unwrap();
        Config::parse(&printed).unwrap();
    }

    #[test]
    fn errors_name_the_key_and_the_line() {
        for (text, parts) in [
            (
                "role = \"all\"\n[smtp]\nhostnam = \"x\"",
                &["hostnam", "line 3"][..],
            ),
            ("[delivery]\nport = \"x\"", &["port", "line 2"]),
            (
                "[delivery]\nsmarthost = \"no where\"",
                &["delivery.smarthost", "host:port"],
            ),
            ("[smtp.tls]\nkey = \"k\"", &["smtp.tls", "certificate"]),
            (
                "[dns]\ndnsbl_zones = [\"zen spamhaus\"]",
                &["line 2: dns.dnsbl_zones", "zen spamhaus"],
            ),
            (
                "[delivery.retry]\nfirst = \"5h\"",
                &["line 2: delivery.retry.first", "cap"],
            ),
            (
                "[storage]\nsoft_mark = 95",
                &["line 2: storage.soft_mark", "below hard_mark"],
            ),
            ("role = \"sendr\"", &["role", "line 1"]),
            ("role = \"sender\"", &["cluster.peers", "role"]),
            (
                "[cluster]\nplaintext = true\nlisten = \"0.0.0.0:7000\"",
                &["line 1", "cluster.address", "0.0.0.0"],
            ),
            (
                "[cluster]\nlisten = \"10.0.0.1:7000\"",
                &["line 2: cluster.listen", "dev-ca", "plaintext = true"],
            ),
            (
                "role = \"sender\"\n[cluster]\npeers = [\"127.0.0.1:1\", \"mail-1:1\"]",
                &["line 3: cluster.peers", "mail-1:1", "dev-ca"],
            ),
            (
                "[cluster.tls]\nca = \"a\"\nkey = \"k\"",
                &["certificate", "line 1"],
            ),
            (
                "[cluster]\nplaintext = true\n[cluster.tls]\nca = \"a\"\nkey = \"k\"\ncertificate = \"c\"",
                &["line 2: cluster.plaintext", "[cluster.tls]"],
            ),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            for part in parts {
                assert!(
                    error.contains(part),
                    "{text:?} gave {error:?}, which lacks {part:?}"
                );
            }
        }
    }
}
