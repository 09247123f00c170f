//! Which certificates protect which port, and where none may be missing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use skein_client::access::RoleRule;

use super::{Config, loopback};

/// PEM files of a node. What the holder of a certificate of this CA may do is what the certificate says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTls {
    /// One CA, or two while one takes over from the other.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// What certificates may do that name no role.
    #[serde(default)]
    pub roles: Roles,
    /// Serial numbers of certificates that count no more, one in each line.
    pub revoked: Option<PathBuf>,
}

/// About certificates without a role (`skein://role/...` among their names).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roles {
    /// They are refused.
    #[default]
    Required,
    /// They may do everything; those that name roles are held to them all the same.
    Any,
}

impl Roles {
    fn rule(self) -> RoleRule {
        match self {
            Self::Required => RoleRule::Required,
            Self::Any => RoleRule::Any,
        }
    }
}

/// Where people and their tools ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    #[serde(with = "super::values::address")]
    pub listen: SocketAddr,
    /// Neither encryption nor certificates, on whatever address.
    pub plaintext: bool,
    pub tls: Option<AdminTls>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: loopback(7001),
            plaintext: false,
            tls: None,
        }
    }
}

/// PEM files; what is left out is that of `cluster.tls`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTls {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The CA of operators' certificates.
    pub client_ca: Option<PathBuf>,
    pub roles: Option<Roles>,
    pub revoked: Option<PathBuf>,
}

/// A file, and the key of the configuration that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    pub setting: &'static str,
    pub path: PathBuf,
}

impl PemFile {
    fn new(setting: &'static str, path: &Path) -> Self {
        let path = path.to_owned();
        Self { setting, path }
    }
}

/// The files of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFiles {
    /// `cluster`, `admin` or `smtp`.
    pub port: &'static str,
    pub certificate: PemFile,
    pub key: PemFile,
    /// The CA of clients that may connect; without one, all may.
    pub ca: Option<PemFile>,
    pub shown_to: ShownTo,
    /// Of others, at this port and where this node connects.
    pub revoked: Option<PemFile>,
    pub roles: RoleRule,
}

/// The side that must accept the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownTo {
    /// Other nodes, which trust the same CA and connect to this host if it listens to them.
    Nodes { host: Option<String> },
    /// Clients, of whose trust nothing is known.
    Clients,
}

impl Config {
    /// The certificates between nodes; none in plain text.
    pub fn cluster_certificates(&self) -> Option<PemFiles> {
        let tls = self.cluster.tls.as_ref()?;
        let own = self.role.controls().then(|| self.cluster.own_address());
        // A node that is reached at two addresses has them on one machine, and the name of the first on its certificate.
        let reached = own
            .filter(|own| !own.is_empty())
            .or_else(|| self.egress.advertised());
        let host = reached.map(|address| host_of(&address));
        Some(PemFiles {
            port: "cluster",
            certificate: PemFile::new("cluster.tls.certificate", &tls.certificate),
            key: PemFile::new("cluster.tls.key", &tls.key),
            ca: Some(PemFile::new("cluster.tls.ca", &tls.ca)),
            shown_to: ShownTo::Nodes {
                host: host.filter(|host| !host.is_empty()),
            },
            revoked: revoked_nodes(tls),
            roles: tls.roles.rule(),
        })
    }

    /// The certificates of the admin API; none in plain text.
    pub fn admin_certificates(&self) -> anyhow::Result<Option<PemFiles>> {
        let (admin, cluster) = (&self.admin, self.cluster.tls.as_ref());
        let given = match &admin.tls {
            Some(_) if admin.plaintext => {
                bail!("admin.plaintext: contradicts [admin.tls]; leave one of them out")
            }
            Some(given) => given.clone(),
            None if admin.plaintext || admin.listen.ip().is_loopback() => return Ok(None),
            None if cluster.is_none() => bail!(
                "admin.listen: whoever reaches {} manages the cluster: set [cluster.tls] or [admin.tls] (`skein dev-ca` \
                 makes certificates), or admin.plaintext = true if nobody else is on that network",
                admin.listen
            ),
            None => AdminTls::default(),
        };
        let (certificate, key) = match (&given.certificate, &given.key, cluster) {
            (Some(certificate), Some(key), _) => (
                PemFile::new("admin.tls.certificate", certificate),
                PemFile::new("admin.tls.key", key),
            ),
            (None, None, Some(tls)) => (
                PemFile::new("cluster.tls.certificate", &tls.certificate),
                PemFile::new("cluster.tls.key", &tls.key),
            ),
            (None, None, None) => {
                bail!("admin.tls: certificate and key are needed where there is no [cluster.tls]")
            }
            _ => bail!("admin.tls: certificate and key belong together"),
        };
        let ca = match (&given.client_ca, cluster) {
            (Some(ca), _) => PemFile::new("admin.tls.client_ca", ca),
            (None, Some(tls)) => PemFile::new("cluster.tls.ca", &tls.ca),
            (None, None) => bail!(
                "admin.tls.client_ca: say which CA the certificates of operators come from; without one everybody would \
                 manage the cluster"
            ),
        };
        Ok(Some(PemFiles {
            port: "admin",
            certificate,
            key,
            ca: Some(ca),
            shown_to: ShownTo::Clients,
            revoked: match &given.revoked {
                Some(path) => Some(PemFile::new("admin.tls.revoked", path)),
                None => cluster.and_then(revoked_nodes),
            },
            roles: given
                .roles
                .or(cluster.map(|tls| tls.roles))
                .unwrap_or_default()
                .rule(),
        }))
    }

    /// The certificates of the SMTP listeners: first the one for all clients that ask for no other, with the CA of clients;
    /// then those for some names. None without TLS.
    pub fn smtp_certificates(&self) -> Vec<PemFiles> {
        let tls = &self.smtp.tls;
        let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
            return Vec::new();
        };
        let files = |certificate, key| PemFiles {
            port: "smtp",
            certificate,
            key,
            ca: None,
            shown_to: ShownTo::Clients,
            revoked: None,
            roles: RoleRule::default(),
        };
        let of_clients = |setting, path: &Option<PathBuf>| {
            let path = path.as_deref()?;
            Some(PemFile::new(setting, path))
        };
        let mut found = vec![PemFiles {
            ca: of_clients("smtp.tls.client_ca", &tls.client_ca),
            revoked: of_clients("smtp.tls.client_revoked", &tls.client_revoked),
            ..files(
                PemFile::new("smtp.tls.certificate", certificate),
                PemFile::new("smtp.tls.key", key),
            )
        }];
        found.extend(tls.sni.iter().map(|one| {
            files(
                PemFile::new("smtp.tls.sni.certificate", &one.certificate),
                PemFile::new("smtp.tls.sni.key", &one.key),
            )
        }));
        found
    }
}

fn revoked_nodes(tls: &ClusterTls) -> Option<PemFile> {
    let path = tls.revoked.as_deref()?;
    Some(PemFile::new("cluster.tls.revoked", path))
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

/// Whether `host:port` is on this machine.
pub fn is_loopback(address: &str) -> bool {
    let host = host_of(address);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CLUSTER: &str = "[cluster.tls]\nca = \"ca\"\ncertificate = \"c\"\nkey = \"k\"\n";

    /// The files of the admin API, or what is wrong.
    fn admin(text: &str) -> String {
        match Config::parse(text).and_then(|config| config.admin_certificates()) {
            Ok(None) => "plain".into(),
            Ok(Some(files)) => {
                let ca = files.ca.unwrap();
                [files.certificate, files.key, ca]
                    .map(|file| file.path.display().to_string())
                    .join(" ")
            }
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn the_admin_api_is_plain_on_loopback_and_takes_the_certificates_of_the_cluster_elsewhere() {
        let away = "[admin]\nlisten = \"10.0.0.1:7001\"\n";
        let own = "[admin.tls]\ncertificate = \"ac\"\nkey = \"ak\"\n";
        for (text, expected) in [
            (String::new(), "plain"),
            (CLUSTER.into(), "plain"),
            (format!("{CLUSTER}[admin.tls]\n"), "c k ca"),
            (format!("{away}{CLUSTER}"), "c k ca"),
            (format!("{away}plaintext = true\n{CLUSTER}"), "plain"),
            (format!("{away}{own}{CLUSTER}"), "ac ak ca"),
            (
                format!("{away}{own}client_ca = \"people\"\n"),
                "ac ak people",
            ),
            (
                format!("{CLUSTER}[admin.tls]\nclient_ca = \"people\"\n"),
                "c k people",
            ),
            (away.into(), "line 2: admin.listen"),
            (format!("{away}{own}"), "line 3: admin.tls.client_ca"),
            (
                format!("{CLUSTER}[admin.tls]\nkey = \"k\"\n"),
                "line 5: admin.tls",
            ),
            (format!("{away}[admin.tls]\n"), "line 3: admin.tls"),
            (
                format!("{away}plaintext = true\n{own}"),
                "line 3: admin.plaintext",
            ),
        ] {
            let got = admin(&text);
            assert!(got.starts_with(expected), "{text}gave {got:?}");
        }
    }

    #[test]
    fn a_control_node_is_reached_by_its_address() {
        for (more, host) in [
            ("listen = \"10.0.0.1:7000\"", Some("10.0.0.1")),
            ("listen = \"[fd00::1]:7000\"", Some("fd00::1")),
            (
                "listen = \"0.0.0.0:7000\"\naddress = \"mail-1.test:7000\"",
                Some("mail-1.test"),
            ),
            ("", None),
        ] {
            let text = format!("[cluster]\n{more}\n{CLUSTER}");
            let files = Config::parse(&text)
                .unwrap()
                .cluster_certificates()
                .unwrap();
            let host = host.map(str::to_owned);
            assert_eq!(files.shown_to, ShownTo::Nodes { host }, "{text}");
        }
    }
}
