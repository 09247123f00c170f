//! What PEM files hold, and whether the other side would accept it.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

use super::revoked::Revoked;

/// After every date that a certificate can name.
const END_OF_TIME: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX >> 1));

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("holds no PEM certificate")]
    NoCertificate,
    #[error("holds no PEM private key")]
    NoKey(#[source] pem::Error),
    #[error("is not a PEM file")]
    NotPem(#[source] pem::Error),
    #[error("holds a certificate that cannot be read")]
    BadCertificate(#[source] rustls::Error),
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    #[error("the private key cannot be used")]
    BadKey(#[source] rustls::Error),
    #[error("no CA of the given file has signed the certificate")]
    OtherCa,
    #[error("the other side would refuse the certificate")]
    Refused(#[source] rustls::Error),
    #[error("{0:?} is not a host name or an IP address")]
    NotAHost(String),
    #[error(
        "line {line} is no serial number: write hexadecimal digits, as `openssl x509 -noout -serial` prints them"
    )]
    NotASerial { line: usize },
    #[error("names more than {0} certificates; it is time for another CA")]
    TooManySerials(usize),
    #[error("the TLS library refuses")]
    Unusable(#[source] rustls::Error),
}

/// One party's own certificate, and the authorities that the others' come from.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub roots: Arc<RootCertStore>,
    pub own: Arc<CertifiedKey>,
    /// Of the others'.
    pub revoked: Revoked,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(TlsError::NotPem)?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate),
        false => Ok(chain),
    }
}

/// Authorities. While one takes over from another, the file holds both.
///
/// # Errors
/// There is none, or one that cannot be read.
pub fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(TlsError::BadCertificate)?;
    }
    Ok(Arc::new(roots))
}

/// A certificate, followed by those between it and its authority.
///
/// # Errors
/// There is none, or one that cannot be read.
pub fn own_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = chain(pem)?;
    for certificate in &chain {
        ParsedCertificate::try_from(certificate).map_err(TlsError::BadCertificate)?;
    }
    Ok(chain)
}

/// # Errors
/// There is none, or one that cannot be read.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(TlsError::NoKey)
}

/// # Errors
/// The key is of another certificate, or of a kind that TLS cannot use.
pub fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let certified =
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::OtherKey,
            error => TlsError::BadKey(error),
        })?;
    Ok(Arc::new(certified))
}

impl Certificates {
    /// Whether others of the same authorities would accept the certificate now: as a client's, and where others connect to it
    /// by the name `reached_as`, as that server's.
    ///
    /// # Errors
    /// Why they would not.
    pub fn check(&self, reached_as: Option<&str>, now: UnixTime) -> Result<(), TlsError> {
        let (first, between) = self.own.cert.split_first().ok_or(TlsError::NoCertificate)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider()).build();
        let verifier = verifier.map_err(|_| TlsError::NoCertificate)?;
        let verified = verifier.verify_client_cert(first, between, now);
        verified.map_err(refused)?;
        if let Some(host) = reached_as {
            let name = ServerName::try_from(host).map_err(|_| TlsError::NotAHost(host.into()))?;
            let parsed = ParsedCertificate::try_from(first).map_err(TlsError::BadCertificate)?;
            let algorithms = provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                between,
                now,
                algorithms,
            )
            .map_err(refused)?;
            verify_server_name(&parsed, &name).map_err(refused)?;
        }
        Ok(())
    }
}

fn refused(error: rustls::Error) -> TlsError {
    match &error {
        rustls::Error::InvalidCertificate(why) if is_other_ca(why) => TlsError::OtherCa,
        _ => TlsError::Refused(error),
    }
}

/// Another CA may have the name of the expected one; then only its signature tells.
pub(super) fn is_other_ca(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::UnknownIssuer | CertificateError::BadSignature
    )
}

/// When a certificate ends; none if it cannot be read.
pub fn expires_at(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    // The verifier looks at the dates before it looks for an authority, and tells what it saw.
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = provider().signature_verification_algorithms.all;
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], END_OF_TIME, algorithms)
    {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(not_after),
        _ => None,
    }
}
