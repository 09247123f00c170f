//! `skein dkim-key`: a key-encryption key.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rustls::crypto::aws_lc_rs;
use zeroize::Zeroizing;

/// Writes 32 random octets in hex, for the user that runs this alone.
///
/// # Errors
/// The file is there, or cannot be written.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    let random = aws_lc_rs::default_provider().secure_random;
    random
        .fill(&mut *key)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let digits = key.iter().map(|octet| format!("{octet:02x}"));
    let text = Zeroizing::new(format!("{}\n", digits.collect::<String>()));
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    let mut opened = opened.with_context(|| {
        format!(
            "making {}; a key that is in use is never written over, since nothing opens without it",
            file.display()
        )
    })?;
    opened
        .write_all(text.as_bytes())
        .and_then(|()| opened.sync_all())
        .with_context(|| format!("writing {}", file.display()))?;
    println!(
        "{} has a new key. Copy it to all control nodes and senders, for the user that runs them alone, and name it there as \
         dkim.key_file. Keep a copy apart from backups: without it no private key in them opens.",
        file.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use skein_dkim::at_rest::Kek;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        run(&file).unwrap();
        let text = std::fs::read(&file).unwrap();
        Kek::parse(&text).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = run(&file).unwrap_err();
        assert!(format!("{again:#}").contains("never written over"));
        assert_eq!(std::fs::read(&file).unwrap(), text);
    }
}
