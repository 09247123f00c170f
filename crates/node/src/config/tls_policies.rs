//! `[tls_policies]`: how MTA-STS policies of other domains are fetched. `[tls_reports]`: the reports on TLS that go to them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use skein_control::Reporter;
use skein_model::meta::domains::check_name;

use super::delivery::read_certificates;

/// Of a name and a way to reach somebody.
const TEXT_CHARS_MAX: usize = 200;

const LOOK_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsPolicies {
    /// What certificates of policy hosts, and of servers that take reports, lead to: `webpki`, those that this version knows;
    /// `system`, those of the machine; or a PEM file, beside those of `webpki`.
    pub roots: String,
    /// Where such servers are, in networks from which they are not reached at 443.
    pub https_port: u16,
    /// How often the DNS is asked whether a policy that mail goes by has another id. They are fetched anew every day as well.
    #[serde(with = "super::values::span")]
    pub look_every: Duration,
}

impl Default for TlsPolicies {
    fn default() -> Self {
        Self {
            roots: "webpki".to_owned(),
            https_port: 443,
            look_every: Duration::from_secs(600),
        }
    }
}

impl TlsPolicies {
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.https_port > 0,
            "tls_policies.https_port: from 1 to 65535; policy hosts are at 443"
        );
        ensure!(
            LOOK_EVERY.contains(&self.look_every),
            "tls_policies.look_every: from 1s to 1d, such as look_every = \"10m\""
        );
        ensure!(
            !self.roots.is_empty(),
            "tls_policies.roots: \"webpki\", \"system\" or a PEM file, such as roots = \"/etc/ssl/ca.pem\""
        );
        Ok(())
    }

    /// # Errors
    /// The machine has none, or the file cannot be read.
    pub fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if self.roots == "system" {
            let found = rustls_native_certs::load_native_certs();
            let (taken, _) = roots.add_parsable_certificates(found.certs);
            if taken == 0 {
                bail!(
                    "tls_policies.roots: this machine has no certificates that are trusted; use roots = \"webpki\""
                );
            }
            return Ok(roots);
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if self.roots != "webpki" {
            let path = PathBuf::from(&self.roots);
            let mut read = || -> anyhow::Result<()> {
                for certificate in read_certificates(&path)? {
                    roots.add(certificate)?;
                }
                Ok(())
            };
            read().with_context(|| format!("tls_policies.roots: {}", path.display()))?;
        }
        Ok(roots)
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsReports {
    /// The address that reports are from, such as `tls-reports@esp.example`; without it none are sent, and nothing is counted.
    pub from: Option<String>,
    /// Who reports, for people; the domain of `from`, unless set.
    pub organization: Option<String>,
    /// Whom receivers may ask about reports; `from`, unless set.
    pub contact: Option<String>,
}

impl TlsReports {
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(from) = &self.from else {
            ensure!(
                self.organization.is_none() && self.contact.is_none(),
                "tls_reports.from: is missing, so no reports are sent; such as from = \"tls-reports@esp.example\""
            );
            return Ok(());
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_+=".contains(c);
        let is_address = from.rsplit_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && local.chars().all(is_plain) && check_name(host).is_ok()
        });
        ensure!(
            is_address,
            "tls_reports.from: {from:?} is no address, such as tls-reports@esp.example"
        );
        let texts = [
            ("organization", &self.organization, "ESP Example"),
            ("contact", &self.contact, "postmaster@esp.example"),
        ];
        for (key, text, example) in texts {
            let Some(text) = text else { continue };
            let is_text = !text.is_empty()
                && text.chars().count() <= TEXT_CHARS_MAX
                && !text.chars().any(char::is_control);
            ensure!(
                is_text,
                "tls_reports.{key}: 1 to {TEXT_CHARS_MAX} characters in one line, such as {key} = {example:?}"
            );
        }
        Ok(())
    }

    /// None: no reports are sent.
    pub fn reporter(&self, hostname: &str) -> Option<Reporter> {
        let from = self.from.clone()?;
        let domain = from.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let (organization, contact) = (self.organization.clone(), self.contact.clone());
        Some(Reporter {
            organization: organization.or(domain).unwrap_or_default(),
            contact: contact.unwrap_or_else(|| from.clone()),
            hostname: hostname.to_owned(),
            from,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn reports_are_sent_from_an_address_and_by_somebody() {
        for (text, said) in [
            ("", None),
            ("from = \"tls@esp.example\"", None),
            (
                "from = \"tls@esp.example\"\norganization = \"ESP\"\ncontact = \"x\"",
                None,
            ),
            (
                "organization = \"ESP\"",
                Some("tls_reports.from: is missing"),
            ),
            ("from = \"esp.example\"", Some("is no address")),
            ("from = \"a b@esp.example\"", Some("is no address")),
            ("from = \"<tls@esp.example>\"", Some("is no address")),
            ("from = \"tls@ESP.example\"", Some("is no address")),
            (
                "from = \"tls@esp.example\"\ncontact = \"\"",
                Some("tls_reports.contact"),
            ),
            (
                "from = \"tls@esp.example\"\norganization = \"a\\nb\"",
                Some("tls_reports.organization"),
            ),
        ] {
            let checked = toml::from_str::<TlsReports>(text).unwrap().check();
            let error = checked.err().map(|error| error.to_string());
            assert_eq!(error.is_some(), said.is_some(), "{text:?} {error:?}");
            let error = error.unwrap_or_default();
            assert!(error.contains(said.unwrap_or_default()), "{text:?} {error}");
        }
        let reports: TlsReports = toml::from_str("from = \"tls@esp.example\"").unwrap();
        let reporter = reports.reporter("mx.esp.example").unwrap();
        assert_eq!(reporter.organization, "esp.example");
        assert_eq!(reporter.contact, "tls@esp.example");
        assert!(TlsReports::default().reporter("mx").is_none());
    }

    #[test]
    fn roots_are_those_of_this_version_and_of_a_file() {
        let mut policies = TlsPolicies::default();
        let known = policies.roots().unwrap().len();
        assert!(known > 50);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        std::fs::write(&path, ca.self_signed(&key).unwrap().pem()).unwrap();
        policies.roots = path.display().to_string();
        assert_eq!(policies.roots().unwrap().len(), known + 1);
        policies.roots = "/nowhere.pem".to_owned();
        let error = format!("{:#}", policies.roots().unwrap_err());
        assert!(
            error.contains("tls_policies.roots: /nowhere.pem"),
            "{error}"
        );
    }
}
