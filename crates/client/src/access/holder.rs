//! What a certificate says about its holder.

use std::collections::BTreeSet;
use std::fmt;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use webpki::EndEntityCert;

use super::role::{Role, named};

/// Names go into rows and log lines.
const NAME_CHARS_MAX: usize = 64;
/// id-at-commonName, 2.5.4.3 (RFC 5280 appendix A).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Bytes that are no certificate, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("holds a certificate that cannot be read: {0}")]
pub struct Unreadable(String);

/// The number that its CA gave a certificate, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    pub fn new(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The party that showed a certificate which was found good.
#[derive(Clone)]
pub struct Holder {
    /// The common name; without one, the first host name, and without that the serial number.
    pub name: String,
    pub serial: Serial,
    /// None if the certificate says nothing about roles.
    pub roles: Option<BTreeSet<Role>>,
    certificate: CertificateDer<'static>,
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("name", &self.name)
            .field("serial", &self.serial)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Holder {
    /// # Errors
    /// It is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        // The parser of rustls is the same, but shows nothing of what it found.
        let parsed = EndEntityCert::try_from(certificate);
        let parsed = parsed.map_err(|error| Unreadable(error.to_string()))?;
        let serial = Serial::new(parsed.serial());
        let common = common_name(parsed.subject()).map(|name| readable(&name));
        let host = || parsed.valid_dns_names().next().map(readable);
        let name = common.filter(|name| !name.is_empty()).or_else(host);
        Ok(Self {
            name: name.unwrap_or_else(|| format!("certificate {serial}")),
            serial,
            roles: named(parsed.valid_uri_names()),
            certificate: certificate.clone().into_owned(),
        })
    }

    /// Whether the certificate is for this host name or IP address.
    pub fn is_host(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else {
            return false;
        };
        ParsedCertificate::try_from(&self.certificate)
            .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }
}

/// Letters, digits and what stands in names of hosts and people: nothing that could pass for a part of the text around it.
fn readable(name: &str) -> String {
    let shown = name.chars().take(NAME_CHARS_MAX);
    let is_plain = |c: char| c.is_alphanumeric() || " .-_@:*".contains(c);
    let shown: String = shown.map(|c| if is_plain(c) { c } else { '?' }).collect();
    shown.trim().to_owned()
}

/// The first common name of a subject, which is a list of sets of attributes (RFC 5280 4.1.2.4).
fn common_name(mut subject: &[u8]) -> Option<String> {
    while let Some((_, mut set, rest)) = element(subject) {
        subject = rest;
        while let Some((tag, attribute, rest)) = element(set) {
            set = rest;
            let (kind, id, value) = element(attribute)?;
            if tag == SEQUENCE && kind == OBJECT_IDENTIFIER && id == COMMON_NAME {
                let (_, text, _) = element(value)?;
                return Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    None
}

/// The first element of DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (length, der) = match usize::from(first) {
        short if short < 0x80 => (short, der),
        long => {
            let (digits, der) = der.split_at_checked(long & 0x7f)?;
            let digits = digits.iter().try_fold(0_usize, |length, digit| {
                Some(length.checked_mul(256)? + usize::from(*digit))
            });
            (digits?, der)
        }
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    fn holder(common: Option<&str>, names: &[&str], uris: &[&str]) -> Holder {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Skein");
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        let uris = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xff]));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Holder::of(certificate.der()).unwrap()
    }

    #[test]
    fn a_certificate_says_who_its_holder_is() {
        for (common, names, uris, name, roles) in [
            (
                Some("ann"),
                &[][..],
                &["skein://role/operator"][..],
                "ann",
                Some(vec![Role::Operator]),
            ),
            (None, &["mail-1.test"], &[], "mail-1.test", None),
            (None, &[], &["https://x"], "certificate 0AFF", None),
            (
                Some("root (local)\u{202e}\n"),
                &[],
                &[],
                "root ?local???",
                None,
            ),
            (Some(" "), &["b.test"], &[], "b.test", None),
        ] {
            let holder = holder(common, names, uris);
            assert_eq!(holder.name, name);
            assert_eq!(holder.roles, roles.map(BTreeSet::from_iter), "{name}");
            assert_eq!(holder.serial, Serial::new(&[0, 0, 0x0a, 0xff]));
        }
        let long = holder(Some(&"x".repeat(300)), &[], &[]);
        assert_eq!(long.name.len(), NAME_CHARS_MAX);
    }

    #[test]
    fn a_certificate_is_for_the_hosts_that_it_names() {
        let holder = holder(
            Some("a.test"),
            &["b.test", "*.c.test", "10.0.0.1", "fd00::1"],
            &[],
        );
        for (host, is_host) in [
            ("b.test", true),
            ("x.c.test", true),
            ("10.0.0.1", true),
            ("fd00::1", true),
            ("a.test", false),
            ("10.0.0.2", false),
            ("not a host", false),
            ("", false),
        ] {
            assert_eq!(holder.is_host(host), is_host, "{host}");
        }
    }

    #[test]
    fn torn_der_is_no_name() {
        let whole = [
            0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, b'a',
        ];
        assert_eq!(common_name(&whole).as_deref(), Some("a"));
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end}");
        }
        assert_eq!(common_name(&[0x31, 0xff, 0xff]), None);
        assert_eq!(
            common_name(&[0x31, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
    }
}
