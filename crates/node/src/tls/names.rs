//! The names that a certificate is for, or whose it is.

use anyhow::anyhow;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate of a large site has a few hundred; what has more is not looked at to its end.
const NAMES_MAX: usize = 1000;

/// Of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names in lower case, `*.example.com` among them (RFC 6125 section 6.4).
    pub hosts: Vec<String>,
    /// As policy names the holder: hosts, mail addresses and URIs as they are, the common name as `CN=name`.
    pub holder: Vec<String>,
}

impl Names {
    /// # Errors
    /// It is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> anyhow::Result<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| anyhow!("holds a certificate that cannot be read: {error}"))?;
        let mut found = Self::default();
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let names = alternative.map(|extension| extension.value.general_names.iter());
        for name in names.into_iter().flatten().take(NAMES_MAX) {
            match name {
                GeneralName::DNSName(host) => {
                    let host = host.to_ascii_lowercase();
                    found.hosts.push(host.clone());
                    found.holder.push(host);
                }
                GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                    found.holder.push((*text).to_owned());
                }
                _ => {}
            }
        }
        let common = parsed.subject().iter_common_name();
        let common = common.filter_map(|name| name.as_str().ok());
        let common = common.map(|name| format!("CN={name}"));
        found.holder.extend(common);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_those_of_the_certificate_each_in_its_form() {
        let mut params =
            CertificateParams::new(vec!["MX.a.test".to_owned(), "*.b.test".to_owned()]).unwrap();
        let mail = SanType::Rfc822Name("App@a.test".try_into().unwrap());
        let uri = SanType::URI("spiffe://a/app".try_into().unwrap());
        params.subject_alt_names.extend([mail, uri]);
        params
            .distinguished_name
            .push(DnType::CommonName, "The App");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let names = Names::of(certificate.der()).unwrap();
        assert_eq!(names.hosts, ["mx.a.test", "*.b.test"]);
        assert_eq!(
            names.holder,
            [
                "mx.a.test",
                "*.b.test",
                "App@a.test",
                "spiffe://a/app",
                "CN=The App"
            ]
        );
        assert!(Names::of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
