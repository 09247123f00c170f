//! `[dkim]`: the key that the private keys of domains are encrypted with.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use skein_dkim::at_rest::{Kek, Keks};

/// Longer than a key in any form, and nothing like what is named by mistake.
const FILE_BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dkim {
    /// 32 random octets, as they are or in hex or base64. Without it no mail of domains with DKIM is taken.
    pub key_file: Option<PathBuf>,
    /// The key before it, while private keys are being encrypted with the new one.
    pub previous_key_file: Option<PathBuf>,
}

impl Dkim {
    pub fn check(&self) -> anyhow::Result<()> {
        if self.key_file.is_none() && self.previous_key_file.is_some() {
            bail!(
                "dkim.previous_key_file: means nothing without dkim.key_file; name the file of the new key there"
            );
        }
        Ok(())
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
