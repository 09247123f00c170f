//! What TLSA records say of a chain of certificates (RFC 7671 5, RFC 7672 3).

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use skein_dns::Tlsa;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fault::CertificateFault;
use crate::tlsa::{Usage, matches, usage, whole_certificate};

/// The usable records of a host, and the names that its certificate may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaneRecords {
    /// The TLSA base domain: the name that TLS asks for.
    pub base: String,
    /// Of usage DANE-TA: the base domain and the next-hop domain (RFC 7672 3.2.2). Empty where all records are of the host's own
    /// certificate, whose names do not matter.
    pub names: Vec<String>,
    /// At least one, as [`crate::usable`] gives them.
    pub records: Vec<Tlsa>,
}

impl DaneRecords {
    pub(crate) fn new(base: &str, domain: &str, records: Vec<Tlsa>) -> Self {
        let has_issuers = records
            .iter()
            .any(|record| usage(record) == Some(Usage::Ta));
        let names = match has_issuers {
            true => vec![base.to_owned(), domain.to_owned()],
            false => Vec::new(),
        };
        Self {
            base: base.to_owned(),
            names,
            records,
        }
    }

    fn of(&self, wanted: Usage) -> impl Iterator<Item = &Tlsa> {
        let records = self.records.iter();
        records.filter(move |record| usage(record) == Some(wanted))
    }

    /// Whether the host's certificate is the one that the records speak of.
    ///
    /// # Errors
    /// Why it is not: of several reasons the one that came closest to a match.
    pub fn verify(
        &self,
        host: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateFault> {
        // Neither its name nor its end nor who signed it matters (RFC 7671 5.1).
        if self.of(Usage::Ee).any(|record| matches(record, host)) {
            return Ok(());
        }
        let mut fault = CertificateFault::NoTlsaMatch;
        for anchor in self.anchors(issuers) {
            match self.signed_by(&anchor, host, issuers, now, algorithms) {
                Ok(()) => return Ok(()),
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// The certificates that DANE-TA records name: of those that the host sends, and those that are records themselves.
    fn anchors<'a>(&'a self, issuers: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
        let sent = issuers.iter().filter(|issuer| {
            let mut records = self.of(Usage::Ta);
            records.any(|record| matches(record, issuer))
        });
        let sent = sent.map(|issuer| CertificateDer::from(issuer.as_ref()));
        let published = self.of(Usage::Ta).filter_map(whole_certificate);
        sent.chain(published.map(CertificateDer::from)).collect()
    }

    /// Whether the chain from the host's certificate leads to the anchor, which need not be self-signed, nor known to anybody else.
    fn signed_by(
        &self,
        anchor: &CertificateDer<'_>,
        host: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateFault> {
        // What is trusted is not looked at by the verifier, and RFC 7671 5.2 lets no certificate of the chain be expired.
        is_in_time(anchor, now)?;
        let mut roots = RootCertStore::empty();
        let added = roots.add(anchor.clone().into_owned());
        added.map_err(|error| CertificateFault::of(&error))?;
        let parsed = ParsedCertificate::try_from(host);
        let parsed = parsed.map_err(|error| CertificateFault::of(&error))?;
        let all = algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, issuers, now, all)
            .map_err(|error| CertificateFault::of(&error))?;
        let is_named = self.names.iter().any(|name| {
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        });
        match is_named {
            true => Ok(()),
            false => Err(CertificateFault::OtherName),
        }
    }
}

fn is_in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateFault> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|_| CertificateFault::Malformed)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateFault::NotYetValid);
    }
    match now > validity.not_after.timestamp() {
        true => Err(CertificateFault::Expired),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "dane_tests.rs"]
mod tests;
