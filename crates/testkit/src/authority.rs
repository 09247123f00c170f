//! Certificates of hosts, good and bad, and what a zone publishes of them.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use sha2::{Digest, Sha256};

const AGES_AGO: i32 = 2001;
const A_YEAR_LATER: i32 = 2002;
const AGES_AHEAD: i32 = 2099;

/// What a host shows in a handshake.
#[derive(Clone, Debug)]
pub struct HostCertificate {
    /// The host's own first, in DER.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS #8 in DER.
    pub(crate) key: Vec<u8>,
    key_sha256: Vec<u8>,
}

impl HostCertificate {
    /// One that nobody else has signed.
    ///
    /// # Panics
    /// A name is none that a certificate can have.
    pub fn self_signed(names: &[&str]) -> Self {
        let (params, key) = (params(names, AGES_AHEAD), new_key());
        let certificate = params.self_signed(&key).expect("a test's certificate");
        Self::new(vec![certificate.der().to_vec()], &key)
    }

    fn new(chain: Vec<Vec<u8>>, key: &KeyPair) -> Self {
        Self {
            chain,
            key: key.serialize_der(),
            key_sha256: Sha256::digest(key.subject_public_key_info()).to_vec(),
        }
    }

    /// The data of `3 1 1`: the digest of the host's key.
    pub fn key_sha256(&self) -> &[u8] {
        &self.key_sha256
    }

    /// The host's certificate as PEM, to trust it as it is.
    pub fn pem(&self) -> String {
        pem(self.chain.first().map_or(&[], Vec::as_slice))
    }
}

/// An authority that nobody knows unless told.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// # Panics
    /// The system gives no chance.
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], AGES_AHEAD);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, new_key());
        Self(issuer.expect("a test's certificate"))
    }

    /// A certificate for these names, shown with the authority's own.
    pub fn issue(&self, names: &[&str]) -> HostCertificate {
        self.issue_until(names, AGES_AHEAD)
    }

    /// The same, which has expired.
    pub fn issue_expired(&self, names: &[&str]) -> HostCertificate {
        self.issue_until(names, A_YEAR_LATER)
    }

    fn issue_until(&self, names: &[&str], until: i32) -> HostCertificate {
        let (params, key) = (params(names, until), new_key());
        let signed = params.signed_by(&key, &self.0);
        let host = signed.expect("a test's certificate").der().to_vec();
        HostCertificate::new(vec![host, self.0.der().to_vec()], &key)
    }

    pub fn pem(&self) -> String {
        pem(self.0.der())
    }

    /// The data of `2 0 1`: the digest of the authority's certificate.
    pub fn sha256(&self) -> Vec<u8> {
        Sha256::digest(self.0.der()).to_vec()
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system gives chance")
}

fn params(names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("a test names valid hosts");
    params.not_before = date_time_ymd(AGES_AGO, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}
