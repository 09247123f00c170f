//! Which TLSA records are of use, and what they match (RFC 6698, 7671, 7672).

use sha2::{Digest, Sha256, Sha512};
use skein_dns::Tlsa;
use x509_parser::prelude::{FromDer, X509Certificate};

const USAGE_DANE_TA: u8 = 2;
const USAGE_DANE_EE: u8 = 3;
const SELECTOR_CERTIFICATE: u8 = 0;
const SELECTOR_KEY: u8 = 1;
const MATCHING_FULL: u8 = 0;
const MATCHING_SHA256: u8 = 1;
const MATCHING_SHA512: u8 = 2;
const SHA256_OCTETS: usize = 32;
const SHA512_OCTETS: usize = 64;

/// What a certificate is to be for a record to match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// One that has signed the host's, directly or not.
    Ta,
    /// The host's own.
    Ee,
}

/// What a set of records comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usable {
    /// Those that count, at least one.
    Records(Vec<Tlsa>),
    /// There are records, so the host has TLS, and none says how its certificate is known.
    None,
}

/// The records that count: of usages 2 and 3 (those of PKIX are not for SMTP, RFC 7672 3.1.3), with known parameters and data of
/// the right length; of digests of one usage and selector only the strongest (RFC 7671 9).
pub fn usable(records: &[Tlsa]) -> Usable {
    let known: Vec<&Tlsa> = records.iter().filter(|record| is_known(record)).collect();
    let is_weaker = |record: &Tlsa| {
        record.matching == MATCHING_SHA256
            && known.iter().any(|other| {
                other.matching == MATCHING_SHA512
                    && (other.usage, other.selector) == (record.usage, record.selector)
            })
    };
    let mut counted: Vec<Tlsa> = known
        .iter()
        .filter(|record| !is_weaker(record))
        .map(|record| (*record).clone())
        .collect();
    counted.sort();
    counted.dedup();
    match counted.is_empty() {
        true => Usable::None,
        false => Usable::Records(counted),
    }
}

fn is_known(record: &Tlsa) -> bool {
    let octets = record.data.len();
    let fits = match record.matching {
        MATCHING_FULL => is_full(record),
        MATCHING_SHA256 => octets == SHA256_OCTETS,
        MATCHING_SHA512 => octets == SHA512_OCTETS,
        _ => false,
    };
    usage(record).is_some()
        && matches!(record.selector, SELECTOR_CERTIFICATE | SELECTOR_KEY)
        && fits
}

/// Whether a record has a whole certificate or key, which the length alone does not tell.
fn is_full(record: &Tlsa) -> bool {
    match record.selector {
        SELECTOR_CERTIFICATE => X509Certificate::from_der(&record.data).is_ok(),
        _ => !record.data.is_empty(),
    }
}

pub(crate) fn usage(record: &Tlsa) -> Option<Usage> {
    match record.usage {
        USAGE_DANE_TA => Some(Usage::Ta),
        USAGE_DANE_EE => Some(Usage::Ee),
        _ => None,
    }
}

/// The certificate of a record that has all of it: hosts need not send it (RFC 7671 5.2.3).
pub(crate) fn whole_certificate(record: &Tlsa) -> Option<&[u8]> {
    let is_whole = (record.selector, record.matching) == (SELECTOR_CERTIFICATE, MATCHING_FULL);
    is_whole.then_some(&record.data)
}

/// Whether a record is of this certificate, in DER.
pub(crate) fn matches(record: &Tlsa, certificate: &[u8]) -> bool {
    let selected = match record.selector {
        SELECTOR_CERTIFICATE => certificate,
        _ => match X509Certificate::from_der(certificate) {
            Ok((_, parsed)) => parsed.tbs_certificate.subject_pki.raw,
            Err(_) => return false,
        },
    };
    match record.matching {
        MATCHING_FULL => selected == record.data,
        MATCHING_SHA256 => Sha256::digest(selected)[..] == record.data[..],
        MATCHING_SHA512 => Sha512::digest(selected)[..] == record.data[..],
        _ => false,
    }
}
