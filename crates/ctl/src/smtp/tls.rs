//! TLS as a client: what is trusted, and why a certificate is not.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::reply::printable;

/// Names of a certificate that are told in a message.
const NAMES_TOLD: usize = 5;

/// Why there is no TLS that could be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// What the host sends is not TLS.
    NotTls,
    /// No version or no cipher is common.
    NothingInCommon,
    Expired,
    NotValidYet,
    /// The certificate is for these names.
    OtherName(Vec<String>),
    UnknownIssuer,
    Revoked,
    /// What is wrong with the certificate besides.
    BadCertificate(String),
    /// The host broke the handshake off.
    BrokenOff(String),
    /// The host has no name that a certificate could be for.
    NoServerName,
    Other(String),
}

impl Fault {
    pub fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(fault) => Self::of_certificate(fault),
            rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            )
            | rustls::Error::PeerIncompatible(_) => Self::NothingInCommon,
            rustls::Error::AlertReceived(alert) => Self::BrokenOff(format!("{alert:?}")),
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. }
            | rustls::Error::PeerSentOversizedRecord => Self::NotTls,
            error => Self::Other(printable(&error.to_string())),
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherName(presented.iter().map(|name| plain_name(name)).collect())
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::BadCertificate("it is that of a CA".to_owned())
            }
            other => Self::BadCertificate(printable(&other.to_string())),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("what it sends is not TLS"),
            Self::NothingInCommon => f.write_str("it has no TLS version or cipher that we have"),
            Self::Expired => f.write_str("its certificate has expired"),
            Self::NotValidYet => f.write_str("its certificate is not valid yet"),
            Self::OtherName(names) if names.is_empty() => {
                f.write_str("its certificate is for no name that we could compare")
            }
            Self::OtherName(names) => {
                let told = names.iter().take(NAMES_TOLD).map(|name| printable(name));
                let told: Vec<String> = told.collect();
                write!(f, "its certificate is for {}", told.join(", "))?;
                match names.len() - told.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more names"),
                }
            }
            Self::UnknownIssuer => f.write_str("nobody we trust has signed its certificate"),
            Self::Revoked => f.write_str("its certificate is revoked"),
            Self::BadCertificate(why) => write!(f, "its certificate is not valid: {why}"),
            Self::BrokenOff(why) => write!(f, "it broke the handshake off ({why})"),
            Self::NoServerName => f.write_str("it has no name that a certificate could be for"),
            Self::Other(why) => write!(f, "the handshake failed ({why})"),
        }
    }
}

/// The library writes `DnsName("mx.example.test")`.
fn plain_name(name: &str) -> String {
    let inner = name
        .split_once("(\"")
        .and_then(|(_, rest)| rest.strip_suffix("\")"));
    inner.unwrap_or(name).to_owned()
}

/// The roots of the web, and those of the PEM files.
///
/// # Errors
/// A file cannot be read, or has no certificate.
pub fn roots(files: &[(&str, &Path)]) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for (option, file) in files {
        let name = || format!("{option} {}", file.display());
        let pem = std::fs::read(file).with_context(name)?;
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots
                .add(certificate.with_context(name)?)
                .with_context(name)?;
        }
        anyhow::ensure!(
            roots.len() > before,
            "{}: has no certificate; a PEM file begins with -----BEGIN CERTIFICATE-----",
            name()
        );
    }
    Ok(Arc::new(roots))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes certificates that these roots stand for, and no others.
pub fn verifying(roots: Arc<RootCertStore>) -> TlsConnector {
    let config = builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Takes every certificate: to look at it, or because the user said so.
pub fn trusting() -> TlsConnector {
    let any = Arc::new(AnyCertificate {
        provider: provider(),
    });
    let config = builder()
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
}

/// Whether the roots stand for a chain, and its first certificate is for this name.
///
/// # Errors
/// Why they do not, or it is not.
pub fn verify(
    chain: &[CertificateDer<'_>],
    name: &str,
    roots: Arc<RootCertStore>,
    now: UnixTime,
) -> Result<(), Fault> {
    let (first, between) = chain
        .split_first()
        .ok_or_else(|| Fault::BadCertificate("none was shown".to_owned()))?;
    let name = ServerName::try_from(name).map_err(|_| Fault::NoServerName)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| Fault::Other(error.to_string()))?;
    verifier
        .verify_server_cert(first, between, &name, &[], now)
        .map(|_| ())
        .map_err(|error| Fault::of(&error))
}

/// Such as `TLSv1.3, TLS13_AES_256_GCM_SHA384`.
pub fn session(connection: &ClientConnection) -> (String, String) {
    let version = connection
        .protocol_version()
        .map_or_else(String::new, |version| {
            format!("{version:?}").replace("TLSv1_", "TLSv1.")
        });
    let cipher = connection
        .negotiated_cipher_suite()
        .map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
    (version, cipher)
}

#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn ca() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn seconds(year: i64) -> UnixTime {
        let since = (year - 1970) * 365 * 86_400 + (year - 1970) / 4 * 86_400;
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(since).unwrap()))
    }

    #[test]
    fn a_chain_is_good_or_it_is_told_why_not() {
        let ca = ca();
        let mut params =
            CertificateParams::new(["mx.a.test".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        let chain = [params.signed_by(&key, &ca).unwrap().der().clone()];
        let mut ours = RootCertStore::empty();
        ours.add(ca.der().clone()).unwrap();
        let ours = Arc::new(ours);
        let others = Arc::new(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        });
        let names = Fault::OtherName(vec!["mx.a.test".to_owned()]);
        for (name, roots, year, expected) in [
            ("mx.a.test", &ours, 2026, Ok(())),
            ("192.0.2.1", &ours, 2026, Ok(())),
            ("mx.b.test", &ours, 2026, Err(names)),
            ("mx.a.test", &ours, 2031, Err(Fault::Expired)),
            ("mx.a.test", &ours, 2019, Err(Fault::NotValidYet)),
            ("mx.a.test", &others, 2026, Err(Fault::UnknownIssuer)),
            ("no name", &ours, 2026, Err(Fault::NoServerName)),
        ] {
            let found = verify(&chain, name, roots.clone(), seconds(year));
            match (&found, &expected) {
                (Err(Fault::OtherName(found)), Err(Fault::OtherName(_))) => {
                    assert!(found.contains(&"mx.a.test".to_owned()), "{found:?}");
                }
                _ => assert_eq!(found, expected, "{name} {year}"),
            }
        }
        assert!(verify(&[], "mx.a.test", ours, seconds(2026)).is_err());
    }

    #[test]
    fn roots_come_from_files_that_have_some() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("ca.pem"), folder.path().join("key.pem"));
        std::fs::write(&good, ca().pem()).unwrap();
        std::fs::write(&bad, "nothing").unwrap();
        let web = roots(&[]).unwrap().len();
        assert_eq!(roots(&[("--ca", &good)]).unwrap().len(), web + 1);
        let error = roots(&[("--ca", &bad)]).unwrap_err().to_string();
        assert!(
            error.contains("--ca") && error.contains("BEGIN CERTIFICATE"),
            "{error}"
        );
        assert!(roots(&[("--ca", &folder.path().join("none"))]).is_err());
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let names = |count: usize| (0..count).map(|n| format!("mx{n}.test")).collect();
        for (count, expected) in [
            (0, "no name that we could compare"),
            (1, "is for mx0.test"),
            (9, "mx4.test and 4 more names"),
        ] {
            let told = Fault::OtherName(names(count)).to_string();
            assert!(told.ends_with(expected), "{told}");
        }
    }
}
