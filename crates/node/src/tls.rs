//! Certificates: read from PEM files, checked, and read again when the files change.

mod clients;
mod expiry;
mod files;
mod follow;
mod names;
mod smtp;
mod sni;

use skein_client::ports::{Guard, Limits};
use skein_client::tls::{Protocol, Tls};

use jiff::Timestamp;

use crate::config::{Config, PemFiles};

pub use expiry::Expiry;
pub use files::{Loaded, load};
pub use follow::Follower;
pub use smtp::tls as smtp;

/// What is wrong with the certificates that a configuration names, and what soon will be.
#[derive(Debug, Default)]
pub struct Found {
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

/// Reads all certificates of a configuration.
pub fn check(config: &Config) -> anyhow::Result<Found> {
    let admin = config.admin_certificates()?;
    let ports = [
        config.cluster_certificates(),
        admin.filter(|_| config.role.controls()),
    ];
    let smtp = config.smtp_certificates();
    let mut found = Found::default();
    if let Err(error) = smtp::shown(config) {
        found.errors.push(format!("{error:#}"));
    }
    for files in ports.into_iter().flatten().chain(smtp) {
        match load(&files) {
            Err(error) => found.errors.push(format!("{error:#}")),
            Ok(Loaded {
                expires: Some(expires),
                ..
            }) if expires.is_soon(Timestamp::now()) => {
                let (setting, path) = (files.certificate.setting, files.certificate.path);
                let warning = format!("{setting} {} expires at {expires}", path.display());
                found.warnings.push(warning);
            }
            Ok(_) => {}
        }
    }
    found.errors.dedup();
    found.warnings.dedup();
    Ok(found)
}

/// What protects the ports between nodes and for people; none where they talk in plain text.
pub struct Ports {
    pub cluster: Option<Tls>,
    admin: Option<Tls>,
    /// What the other side must show where there are no certificates.
    plain_cluster: Guard,
    plain_admin: Guard,
    pub limits: Limits,
}

impl Ports {
    /// Reads the certificates, and follows their files from here on.
    pub fn load(config: &Config, follower: &Follower, limits: Limits) -> anyhow::Result<Self> {
        let admin = match config.role.controls() {
            true => config.admin_certificates()?,
            false => None,
        };
        let plain = |is_open| match is_open {
            true => Guard::Anybody,
            false => Guard::LocalUsers,
        };
        Ok(Self {
            cluster: mutual(config.cluster_certificates(), follower)?,
            admin: mutual(admin, follower)?,
            plain_cluster: plain(config.cluster.plaintext),
            plain_admin: plain(config.admin.plaintext),
            limits,
        })
    }

    /// Of ports where other nodes connect.
    pub fn for_nodes(&self, protocol: Protocol) -> Guard {
        match &self.cluster {
            Some(tls) => Guard::Tls(tls.clone(), protocol),
            None => self.plain_cluster.clone(),
        }
    }

    pub fn for_operators(&self) -> Guard {
        match &self.admin {
            Some(tls) => Guard::Tls(tls.clone(), Protocol::Admin),
            None => self.plain_admin.clone(),
        }
    }
}

fn mutual(files: Option<PemFiles>, follower: &Follower) -> anyhow::Result<Option<Tls>> {
    let Some(files) = files else {
        return Ok(None);
    };
    let loaded = load(&files)?;
    let tls = Tls::new(&loaded.certificates(), files.roles)?;
    let shared = tls.clone();
    let apply = move |loaded: &Loaded| Ok(shared.replace(&loaded.certificates())?);
    follower.follow(files, loaded, apply);
    Ok(Some(tls))
}
