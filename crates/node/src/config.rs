//! What a node must know before it can talk: one TOML file, each key with a default, unknown keys refused.

mod certificates;
mod changes;
mod cluster;
mod delivery;
mod dkim;
mod dns;
mod egress;
mod founders;
mod hint;
mod log;
mod paths;
mod ports;
mod reloadable;
mod secrets;
mod smtp;
mod smtp_checks;
mod sources;
mod storage;
mod telemetry;
mod tls_policies;
mod unused;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use self::sources::{Origin, Sources, Table};

pub use certificates::{Admin, PemFile, PemFiles, ShownTo};
pub use changes::{Changes, InUse};
pub use cluster::{Cluster, Join};
pub use delivery::Delivery;
pub use dkim::Dkim;
pub use dns::Dns;
pub use egress::Egress;
pub use log::{Log, LogFormat};
pub use reloadable::listed as list_of_keys;
pub use smtp::{BareNewlines, Kind, ListenerTls, Smtp};
pub use sources::Overrides;
pub use storage::Storage;
pub use telemetry::Telemetry;
pub use tls_policies::{TlsPolicies, TlsReports};

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
    pub dkim: Dkim,
    pub dns: Dns,
    pub tls_policies: TlsPolicies,
    pub tls_reports: TlsReports,
    pub events: Events,
    pub log: Log,
    pub telemetry: Telemetry,
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
    /// Source IPs for senders on other nodes; no mail of its own.
    Egress,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Control => "control",
            Self::Sender => "sender",
            Self::Egress => "egress",
        }
    }

    pub fn controls(self) -> bool {
        matches!(self, Self::All | Self::Control)
    }

    pub fn sends(self) -> bool {
        matches!(self, Self::All | Self::Sender)
    }

    pub fn lends_only(self) -> bool {
        self == Self::Egress
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    #[serde(with = "values::address")]
    pub listen: SocketAddr,
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
            dkim: Dkim::default(),
            dns: Dns::default(),
            tls_policies: TlsPolicies::default(),
            tls_reports: TlsReports::default(),
            events: Events::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A configuration as it was read.
#[derive(Debug)]
pub struct Read {
    pub config: Config,
    /// What works, and is not what was meant, most likely.
    pub warnings: Vec<String>,
    /// What was given, and where.
    pub settings: Table,
}

impl Config {
    /// Reads and checks a file, the environment and what the command line says; without any, the defaults.
    pub fn read(path: Option<&Path>, overrides: &Overrides) -> anyhow::Result<Read> {
        let text = match path {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?,
            None => String::new(),
        };
        Self::of(&Sources {
            file: path.map(Path::to_owned),
            text,
            environment: sources::environment(),
            sets: overrides.sets.clone(),
        })
    }

    /// Reads what is given.
    fn of(given: &Sources) -> anyhow::Result<Read> {
        let in_file = |error: anyhow::Error, is_of_file: bool| match &given.file {
            Some(path) if is_of_file => error.context(format!("in {}", path.display())),
            _ => error,
        };
        let defaults = Self::default().keys();
        let refused = |fault: sources::Fault| {
            let error = match hint::meant(fault.message()) {
                Some(hint) => anyhow!("{fault}\n{hint}"),
                None => anyhow!("{fault}"),
            };
            in_file(error, fault.is_of_file())
        };
        let (settings, mut warnings) = given.merged(&defaults).map_err(refused)?;
        let read = Self::deserialize(sources::whole(settings.clone()));
        let config = read.map_err(refused)?;
        config.check().map_err(|error| {
            match sources::origin_of(&settings, &format!("{error:#}")) {
                Some(origin @ Origin::Line(_)) => in_file(error.context(origin.to_string()), true),
                Some(origin) => error.context(origin.to_string()),
                None => in_file(error, true),
            }
        })?;
        warnings.extend(config.warnings(&settings));
        Ok(Read {
            config,
            warnings,
            settings,
        })
    }

    /// Of a file alone.
    #[cfg(test)]
    fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.to_owned();
        let given = Sources {
            text,
            ..Sources::default()
        };
        Self::of(&given).map(|read| read.config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.smtp_check()?;
        self.cluster.check(self.role)?;
        self.cluster.check_peers(self.role)?;
        self.egress.check(self.role, &self.cluster)?;
        self.check_ports()?;
        self.dkim.check()?;
        self.dns.check()?;
        self.tls_policies.check()?;
        self.tls_reports.check()?;
        self.storage.check()?;
        self.log.check()?;
        self.telemetry.check()?;
        if self.role.controls() {
            self.admin_certificates()?;
        }
        self.delivery.check()
    }

    /// What the role does not use need not work.
    fn smtp_check(&self) -> anyhow::Result<()> {
        match self.role.sends() {
            true => self.smtp.check(),
            false => self.smtp.check_hostname(),
        }
    }

    /// Each with where it comes from, if something was given for it.
    fn warnings(&self, settings: &Table) -> Vec<String> {
        let keys = sources::keys(settings);
        let mut found = unused::unused(self, &keys);
        found.extend(self.cluster.warnings(self.role));
        if self.role.sends() {
            found.extend(self.smtp.warnings(&keys));
            found.extend(self.delivery.warnings());
        }
        let placed =
            found
                .into_iter()
                .map(|warning| match sources::origin_of(settings, &warning) {
                    Some(origin) => format!("{origin}: {warning}"),
                    None => warning,
                });
        placed.collect()
    }

    /// With "***" for passwords, unless they are asked for.
    pub fn to_toml(&self, with_secrets: bool) -> anyhow::Result<String> {
        Ok(toml::to_string_pretty(&self.shown(with_secrets)?)?)
    }

    /// One line for each key, with where its value comes from: a line of the file, a variable, the command line, or the
    /// defaults.
    pub fn with_origins(&self, settings: &Table, with_secrets: bool) -> anyhow::Result<String> {
        let mut lines = String::new();
        let shown = toml::Value::Table(self.shown(with_secrets)?);
        show_origins(&shown, "", settings, &mut lines);
        Ok(lines)
    }

    /// As it is written in a file.
    fn shown(&self, with_secrets: bool) -> anyhow::Result<toml::Table> {
        let mut shown = self.clone();
        if !with_secrets {
            secrets::mask(&mut shown);
        }
        let mut table = toml::Value::try_from(&shown)?;
        escape(&mut table);
        match table {
            toml::Value::Table(table) => Ok(table),
            _ => Err(anyhow!("a configuration is a table")),
        }
    }

    /// All keys that are set here or may be.
    fn keys(&self) -> Vec<String> {
        let text = self.to_toml(true).unwrap_or_default();
        let read = Sources {
            text,
            ..Sources::default()
        };
        let merged = read.merged(&[]);
        let mut keys = merged.map_or_else(|_| Vec::new(), |(table, _)| sources::keys(&table));
        keys.extend(hint::WITHOUT_DEFAULT.map(str::to_owned));
        keys
    }
}

/// So that no value is read as a reference.
fn escape(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => *text = sources::escape(text),
        toml::Value::Array(list) => list.iter_mut().for_each(escape),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| escape(value)),
        _ => {}
    }
}

fn show_origins(value: &toml::Value, path: &str, settings: &Table, lines: &mut String) {
    if let toml::Value::Table(table) = value {
        for (name, value) in table {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            show_origins(value, &path, settings, lines);
        }
        return;
    }
    let is_given = sources::keys(settings).iter().any(|key| key == path);
    let origin = sources::origin_of(settings, path).filter(|_| is_given);
    let origin = origin.unwrap_or(Origin::Default);
    lines.push_str(&format!("{path} = {value}  # {origin}\n"));
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
