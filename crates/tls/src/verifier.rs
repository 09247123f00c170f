//! Looks at the certificate of one handshake, and remembers what it found.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use crate::demand::Demand;
use crate::fault::CertificateFault;
use crate::pkix::Roots;
use crate::proof::{Certificate, Proof};

/// The verifier of one connection. It fails a handshake only where the demand is not met: the alternative to an unverified peer is
/// to send in the clear (RFC 7435).
#[derive(Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Roots,
    /// The name of the MX host, which need not be the one that TLS asks for.
    host: ServerName<'static>,
    demand: Demand,
    found: OnceLock<Certificate>,
}

impl Verifier {
    pub fn new(
        provider: Arc<CryptoProvider>,
        roots: Roots,
        host: ServerName<'static>,
        demand: Demand,
    ) -> Arc<Self> {
        Arc::new(Self {
            provider,
            roots,
            host,
            demand,
            found: OnceLock::new(),
        })
    }

    /// What the handshake has proved; only TLS where no certificate was shown.
    pub fn proof(&self) -> Proof {
        let found = self.found.get().cloned();
        Proof::of(found.unwrap_or(Certificate {
            pkix: Err(CertificateFault::Malformed),
            dane: None,
        }))
    }

    /// Why the demand is not met, if a certificate was shown and that is why.
    pub fn fault(&self) -> Option<CertificateFault> {
        let found = self.found.get()?;
        match &self.demand {
            Demand::Pkix => found.pkix.err(),
            Demand::Dane(_) => found.dane.as_ref()?.1.err(),
            Demand::Clear | Demand::Opportunistic | Demand::Tls => None,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        host: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let pkix = self
            .roots
            .verify(host, issuers, &self.host, now, algorithms);
        let dane = match &self.demand {
            Demand::Dane(records) => {
                let found = records.verify(host, issuers, now, algorithms);
                Some((records.clone(), found))
            }
            _ => None,
        };
        let refused = match &self.demand {
            Demand::Clear | Demand::Opportunistic | Demand::Tls => None,
            Demand::Pkix => pkix.as_ref().err().cloned(),
            Demand::Dane(_) => {
                let failed = dane.as_ref().is_some_and(|(_, found)| found.is_err());
                failed.then(|| Error::InvalidCertificate(no_match()))
            }
        };
        let pkix = pkix.map_err(|error| CertificateFault::of(&error));
        // One handshake shows one chain.
        let _ = self.found.set(Certificate { pkix, dane });
        match refused {
            Some(error) => Err(error),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn no_match() -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(NoTlsaMatch)))
}

/// No TLSA record matches.
#[derive(Debug)]
struct NoTlsaMatch;

impl std::fmt::Display for NoTlsaMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(CertificateFault::NoTlsaMatch.text())
    }
}

impl std::error::Error for NoTlsaMatch {}

/// The configuration of one connection. A session that is resumed shows no certificate, so none is.
///
/// # Errors
/// The provider has neither TLS 1.2 nor 1.3.
pub fn client_config(verifier: Arc<Verifier>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}
