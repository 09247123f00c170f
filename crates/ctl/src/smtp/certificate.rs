//! What a certificate says of itself.

use serde::Serialize;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::reply::printable;

/// Names that are kept of one certificate: the largest honest ones have about a hundred.
const NAMES_MAX: usize = 100;
/// Names that are printed.
const NAMES_SHOWN: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The common name, or all of the name where there is none.
    pub subject: String,
    /// Host names and addresses that it is for, at most 100.
    pub names: Vec<String>,
    pub issuer: String,
    /// Milliseconds since the Unix epoch.
    pub not_before_ms: u64,
    pub not_after_ms: u64,
}

impl Certificate {
    /// None if it cannot be read.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names
            .into_iter()
            .flat_map(|found| &found.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(printable(name)),
            GeneralName::IPAddress(octets) => address(octets),
            _ => None,
        });
        let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        let validity = parsed.validity();
        Some(Self {
            subject: short(parsed.subject()),
            names: names.take(NAMES_MAX).collect(),
            issuer: short(parsed.issuer()),
            not_before_ms: ms(validity.not_before.timestamp()),
            not_after_ms: ms(validity.not_after.timestamp()),
        })
    }

    /// The names in one line.
    pub fn names_shown(&self) -> String {
        let shown: Vec<&str> = self
            .names
            .iter()
            .map(String::as_str)
            .take(NAMES_SHOWN)
            .collect();
        match (self.names.len(), self.names.len() - shown.len()) {
            (0, _) => "no names".to_owned(),
            (_, 0) => shown.join(", "),
            (_, more) => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

fn address(octets: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(octets).ok()?;
    Some(std::net::Ipv6Addr::from(v6).to_string())
}

fn short(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|one| one.as_str().ok());
    let organisation = name.iter_organization().find_map(|one| one.as_str().ok());
    let told = match (common, organisation) {
        (Some(common), Some(organisation)) if common != organisation => {
            format!("{common} ({organisation})")
        }
        (Some(one), _) | (None, Some(one)) => one.to_owned(),
        (None, None) => name.to_string(),
    };
    match told.is_empty() {
        true => "no name".to_owned(),
        false => printable(&told),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_tells_whose_it_is_and_until_when() {
        let mut params = CertificateParams::new([
            "mx.a.test".to_owned(),
            "192.0.2.1".to_owned(),
            "2001:db8::1".to_owned(),
        ])
        .unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "mx.a.test");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "A\u{7}");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = Certificate::read(signed.der()).unwrap();
        assert_eq!(found.subject, "mx.a.test (A?)");
        assert_eq!(found.names, ["mx.a.test", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(found.issuer, found.subject);
        assert_eq!(found.not_after_ms, 1_893_456_000_000);
        assert_eq!(found.names_shown(), "mx.a.test, 192.0.2.1, 2001:db8::1");
        assert_eq!(Certificate::read(b"nothing"), None);
    }
}
