//! Certificates: read from PEM files, checked, and read again when the files change.

mod expiry;
mod files;
mod follow;
mod smtp;

use skein_client::tls::{Certificates, Tls, TlsError};

use jiff::Timestamp;

use crate::config::{Config, PemFiles};

pub use expiry::Expiry;
pub use files::{Loaded, load};
pub use follow::Follower;
pub use smtp::server_config as smtp;

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
        config.smtp_certificates(),
    ];
    let mut found = Found::default();
    for files in ports.into_iter().flatten() {
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
    pub admin: Option<Tls>,
}

impl Ports {
    /// Reads the certificates, and follows their files from here on.
    pub fn load(config: &Config, follower: &Follower) -> anyhow::Result<Self> {
        let admin = match config.role.controls() {
            true => config.admin_certificates()?,
            false => None,
        };
        Ok(Self {
            cluster: mutual(config.cluster_certificates(), follower)?,
            admin: mutual(admin, follower)?,
        })
    }
}

fn mutual(files: Option<PemFiles>, follower: &Follower) -> anyhow::Result<Option<Tls>> {
    let Some(files) = files else {
        return Ok(None);
    };
    let loaded = load(&files)?;
    let tls = Tls::new(&certificates(&loaded))?;
    let shared = tls.clone();
    let apply =
        move |loaded: &Loaded| -> Result<(), TlsError> { shared.replace(&certificates(loaded)) };
    follower.follow(files, loaded, apply);
    Ok(Some(tls))
}

fn certificates(loaded: &Loaded) -> Certificates {
    Certificates {
        roots: loaded.roots.clone(),
        own: loaded.own.clone(),
    }
}
