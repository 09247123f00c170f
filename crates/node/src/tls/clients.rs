//! Certificates that clients of submission listeners show. Whether one counts is asked after the handshake: a client that shows
//! another one, as some do to every server that asks, has shown none.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use skein_client::access::Holder;
use skein_client::tls::Revoked;

use super::Loaded;
use super::names::Names;

/// A chain has a root and two or three between; more is nothing that a CA issues.
const CHAIN_MAX: usize = 10;

/// Asks for a certificate and takes any: that its holder has the key is proved by the handshake.
#[derive(Debug)]
pub struct Asks(Arc<CryptoProvider>);

impl Asks {
    pub fn new() -> Self {
        Self(Arc::new(aws_lc_rs::default_provider()))
    }
}

impl ClientCertVerifier for Asks {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: the CA may be another one at the next handshake.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whose certificates count now.
#[derive(Debug)]
pub struct ClientCa(RwLock<Now>);

#[derive(Debug)]
struct Now {
    verifier: Arc<dyn ClientCertVerifier>,
    revoked: Revoked,
}

impl Now {
    fn new(roots: &Arc<RootCertStore>, revoked: &Revoked) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
        Ok(Self {
            verifier: verifier.build().context("smtp.tls.client_ca")?,
            revoked: revoked.clone(),
        })
    }
}

impl ClientCa {
    pub fn new(loaded: &Loaded) -> anyhow::Result<Self> {
        let now = Now::new(&loaded.roots, &loaded.revoked)?;
        Ok(Self(RwLock::new(now)))
    }

    /// From here on these count, in sessions that are open too.
    pub fn replace(&self, loaded: &Loaded) -> anyhow::Result<()> {
        *self.0.write() = Now::new(&loaded.roots, &loaded.revoked)?;
        Ok(())
    }

    /// The names of the holder of a chain whose first certificate is good at this time.
    ///
    /// # Errors
    /// It does not count, and why.
    pub fn names(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> anyhow::Result<Vec<String>> {
        let (first, between) = chain.split_first().context("no certificate")?;
        if between.len() > CHAIN_MAX {
            bail!("a chain of more than {CHAIN_MAX} certificates");
        }
        let now = self.0.read();
        let verified = now.verifier.verify_client_cert(first, between, at);
        verified.map_err(|error| anyhow!("{error}"))?;
        let serial = Holder::of(first)?.serial;
        if now.revoked.has(&serial) {
            bail!("certificate {serial} is revoked");
        }
        Ok(Names::of(first)?.holder)
    }
}
