//! From files to what TLS uses.

use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;
use skein_client::tls::{self, Certificates, Revoked};

use super::Expiry;
use crate::config::{PemFile, PemFiles, ShownTo};

/// What the files hold, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
    revoked: Option<Vec<u8>>,
}

/// Files that were read, and found good.
pub struct Loaded {
    pub contents: Contents,
    pub own: Arc<CertifiedKey>,
    /// Empty where everybody may connect.
    pub roots: Arc<RootCertStore>,
    pub expires: Option<Expiry>,
    pub revoked: Revoked,
}

impl Loaded {
    pub fn certificates(&self) -> Certificates {
        Certificates {
            roots: self.roots.clone(),
            own: self.own.clone(),
            revoked: self.revoked.clone(),
        }
    }
}

pub fn load(files: &PemFiles) -> anyhow::Result<Loaded> {
    parse(files, read(files)?)
}

pub fn read(files: &PemFiles) -> anyhow::Result<Contents> {
    Ok(Contents {
        certificate: read_one(&files.certificate)?,
        key: read_one(&files.key)?,
        ca: files.ca.as_ref().map(read_one).transpose()?,
        revoked: files.revoked.as_ref().map(read_one).transpose()?,
    })
}

fn read_one(file: &PemFile) -> anyhow::Result<Vec<u8>> {
    std::fs::read(&file.path).with_context(|| name(file))
}

fn name(file: &PemFile) -> String {
    format!("{} {}", file.setting, file.path.display())
}

/// # Errors
/// What is wrong, and with which file: unreadable, of different keys, expired, or such that other nodes would refuse it.
pub fn parse(files: &PemFiles, contents: Contents) -> anyhow::Result<Loaded> {
    let chain = tls::own_chain(&contents.certificate).with_context(|| name(&files.certificate))?;
    let key = tls::key(&contents.key).with_context(|| name(&files.key))?;
    let own = tls::identity(chain, key).with_context(|| {
        format!(
            "{} and {}",
            name(&files.certificate),
            files.key.path.display()
        )
    })?;
    let roots = match (&files.ca, &contents.ca) {
        (Some(file), Some(pem)) => tls::roots(pem).with_context(|| name(file))?,
        _ => Arc::new(RootCertStore::empty()),
    };
    let revoked = match (&files.revoked, &contents.revoked) {
        (Some(file), Some(text)) => Revoked::read(text).with_context(|| name(file))?,
        _ => Revoked::default(),
    };
    let expires = Expiry::of(&own.cert);
    if let Some(expires) = expires
        && expires.is_past(Timestamp::now())
    {
        bail!("{}: it expired at {expires}", name(&files.certificate));
    }
    if let ShownTo::Nodes { host } = &files.shown_to {
        let certificates = Certificates {
            roots: roots.clone(),
            own: own.clone(),
            revoked: Revoked::default(),
        };
        let checked = certificates.check(host.as_deref(), UnixTime::now());
        checked.with_context(|| name(&files.certificate))?;
    }
    Ok(Loaded {
        contents,
        own,
        roots,
        expires,
        revoked,
    })
}

#[cfg(test)]
impl Contents {
    pub fn of(name: &str) -> Self {
        Self {
            certificate: name.into(),
            key: Vec::new(),
            ca: None,
            revoked: None,
        }
    }
}
