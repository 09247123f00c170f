//! `[dkim]`: the key that the private keys of domains are encrypted with, and what the records of domains lead to.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use skein_dkim::at_rest::{Kek, Keks};
use skein_identity::Operator;
use skein_model::meta::domains::check_name;
use skein_model::rotation::Schedule;

/// Longer than a key in any form, and nothing like what is named by mistake.
const FILE_BYTES_MAX: u64 = 4 << 10;
/// Below, nobody could see a key before it is signed with; RFC 2181 allows more, which nobody who changes keys has.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
/// A key that is replaced stays published for 14 days, and revoked for 30: with two names, the next one has to wait for that.
const ROTATE_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(30 * 24 * 3600)..=Duration::from_secs(366 * 24 * 3600);
/// Each is asked every question.
const SERVERS_MAX: usize = 3;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dkim {
    /// 32 random octets, as they are or in hex or base64. Without it no mail of domains with DKIM is taken.
    pub key_file: Option<PathBuf>,
    /// The key before it, while private keys are being encrypted with the new one.
    pub previous_key_file: Option<PathBuf>,
    /// The zone that the operator publishes keys of delegated domains in, such as `dkim.esp.example`. Control nodes read this and
    /// what follows.
    pub zone: Option<String>,
    /// The host that return paths lead to, such as `rp.esp.example`: it has the MX and the SPF record.
    pub return_path_host: Option<String>,
    /// The host that tracking links lead to, such as `t.esp.example`.
    pub tracking_host: Option<String>,
    /// Where receivers send DMARC reports, such as `dmarc@esp.example`.
    pub report_address: Option<String>,
    /// The longest TTL that keys are published with: a new one is signed with when it was seen for twice as long.
    #[serde(with = "super::values::span")]
    pub ttl: Duration,
    /// The age at which a key is replaced.
    #[serde(with = "super::values::span")]
    pub rotate_after: Duration,
    /// Asked for what is published in place of each zone's own servers, by nodes that cannot reach those.
    #[serde(with = "super::values::addresses")]
    pub authoritative_servers: Vec<SocketAddr>,
}

impl Default for Dkim {
    fn default() -> Self {
        let schedule = Schedule::default();
        Self {
            key_file: None,
            previous_key_file: None,
            zone: None,
            return_path_host: None,
            tracking_host: None,
            report_address: None,
            ttl: schedule.ttl.into(),
            rotate_after: schedule.period.into(),
            authoritative_servers: Vec::new(),
        }
    }
}

impl Dkim {
    pub fn check(&self) -> anyhow::Result<()> {
        if self.key_file.is_none() && self.previous_key_file.is_some() {
            bail!(
                "dkim.previous_key_file: means nothing without dkim.key_file; name the file of the new key there"
            );
        }
        let hosts = [
            ("zone", &self.zone, "dkim.esp.example"),
            ("return_path_host", &self.return_path_host, "rp.esp.example"),
            ("tracking_host", &self.tracking_host, "t.esp.example"),
        ];
        for (key, host, example) in hosts {
            if let Some(Err(why)) = host.as_deref().map(check_name) {
                bail!("dkim.{key}: {why}; such as {key} = {example:?}");
            }
        }
        if let Some(address) = &self.report_address {
            let host = address
                .rsplit_once('@')
                .filter(|(local, _)| !local.is_empty());
            let is_address = host.is_some_and(|(_, host)| check_name(host).is_ok());
            ensure!(
                is_address && !address.contains([',', ';', ' ', '!']),
                "dkim.report_address: {address:?} is no address, such as dmarc@esp.example"
            );
        }
        ensure!(
            TTL.contains(&self.ttl),
            "dkim.ttl: from 1s to 7d, such as ttl = \"1h\""
        );
        ensure!(
            ROTATE_AFTER.contains(&self.rotate_after),
            "dkim.rotate_after: from 30d to 366d, such as rotate_after = \"182d\""
        );
        ensure!(
            self.authoritative_servers.len() <= SERVERS_MAX,
            "dkim.authoritative_servers: at most {SERVERS_MAX}"
        );
        Ok(())
    }

    /// What the records of domains lead to.
    pub fn operator(&self) -> Operator {
        Operator {
            dkim_zone: self.zone.clone().unwrap_or_default(),
            return_path_host: self.return_path_host.clone(),
            report_address: self.report_address.clone(),
            tracking_host: self.tracking_host.clone(),
            ..Operator::default()
        }
    }

    /// How long keys stay in each state.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            ttl: self.ttl.into(),
            period: self.rotate_after.into(),
            ..Schedule::default()
        }
    }

    /// The keys in the files; none if none are named.
    ///
    /// # Errors
    /// A file cannot be read, or has no such key.
    pub fn keks(&self) -> anyhow::Result<Option<Keks>> {
        let Some(path) = &self.key_file else {
            return Ok(None);
        };
        let previous = self.previous_key_file.as_deref();
        let previous = previous.map(|path| read(path).context("dkim.previous_key_file"));
        Ok(Some(Keks {
            current: read(path).context("dkim.key_file")?,
            previous: previous.transpose()?,
        }))
    }

    /// What tells one key from another, and nothing of it, for each file.
    ///
    /// # Errors
    /// As [`Self::keks`].
    pub fn key_ids(&self) -> anyhow::Result<[Option<String>; 2]> {
        let keks = self.keks()?;
        let current = keks.as_ref().map(|keks| keks.current.id().to_owned());
        let previous = keks.and_then(|keks| keks.previous);
        Ok([current, previous.map(|kek| kek.id().to_owned())])
    }
}

fn read(path: &Path) -> anyhow::Result<Kek> {
    let read = || {
        let bytes = std::fs::metadata(path)?.len();
        ensure!(
            bytes <= FILE_BYTES_MAX,
            "has more than {FILE_BYTES_MAX} bytes; a key is 32 random octets, such as `openssl rand -base64 32` makes"
        );
        Ok(Kek::parse(&zeroize::Zeroizing::new(std::fs::read(path)?))?)
    };
    read().with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keys_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, octets: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, octets).unwrap();
            path
        };
        let octets: Vec<u8> = (100..132).collect();
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let raw = file("raw", &octets);
        let dkim = |key_file: &Path, previous: Option<&Path>| Dkim {
            key_file: Some(key_file.to_owned()),
            previous_key_file: previous.map(Path::to_owned),
            ..Dkim::default()
        };
        let written = dkim(&raw, Some(&file("hex", format!("{hex}\n").as_bytes())));
        let [current, previous] = written.key_ids().unwrap();
        assert!(current.is_some() && current == previous);
        assert!(Dkim::default().keks().unwrap().is_none());
        for (bad, said) in [
            (
                dkim(Path::new("/nowhere/key"), None),
                "dkim.key_file: /nowhere/key",
            ),
            (
                dkim(&file("long", &[b'x'; 5000]), None),
                "more than 4096 bytes",
            ),
            (dkim(&file("short", b"secret"), None), "this has 6 bytes"),
            (
                dkim(&raw, Some(&file("text", &[b'x'; 32]))),
                "dkim.previous_key_file: ",
            ),
        ] {
            let error = format!("{:#}", bad.keks().unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        let alone = Dkim {
            key_file: None,
            ..written
        };
        assert!(alone.check().is_err());
    }
}
