//! `[smtp]`: what clients find here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{loopback, secrets, values};

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
    /// Certificates for other names that clients ask for (RFC 6066 section 3); whoever asks for none of them is shown the one above.
    #[serde(with = "values::tables")]
    pub sni: Vec<SniCertificate>,
    /// PEM file. Submission listeners ask for certificates of this CA, and demand none; policy names their holders.
    pub client_ca: Option<PathBuf>,
    /// Serial numbers of client certificates that count no more, one in each line.
    pub client_revoked: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SniCertificate {
    /// PEM files.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// `mail.example.com`, `*.example.com` for one label more; those of the certificate, unless set.
    #[serde(default)]
    pub names: Vec<String>,
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
    /// Port 25: mail from configured networks and of users that log in.
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
    /// The tenant of mail that this user hands in.
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
