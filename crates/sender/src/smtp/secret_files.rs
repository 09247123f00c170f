//! Files with secrets, which another program renews: OAuth bearer tokens, read at each login, and what signs requests to programs,
//! read for each request; and what is wrong with them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::FileFault;
use skein_policy::{SigningSecret, Webhook};
use skein_smtp::secret::Secret;
use tokio::time::timeout;

use crate::config::login::LoginSecret;

/// The key of the configuration that names a token.
const TOKEN: &str = "delivery.route.token_file";
/// The key of the policy that names a file with signing secrets.
const SIGNING: &str = "inbound.addresses.signing_secret_file";
/// RFC 4954 section 4 has room for 12,288 octets of base64, so for 9,216 of token, user and what is around them.
pub const TOKEN_BYTES_MAX: usize = 8192;
/// A disk that does not answer must not hold the place of a connection.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// A fault is told for so long after the last login that met it: the route may be gone meanwhile.
const KEPT: Duration = Duration::from_secs(3600);
/// Routes and destinations with other files are more than anybody has.
const FILES_MAX: usize = 64;

/// A secret that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {}: {fault}", path.display())]
pub struct NoSecret {
    setting: &'static str,
    path: PathBuf,
    fault: String,
}

/// What is wrong with the files, by path.
#[derive(Debug, Default)]
pub struct SecretFiles(Mutex<BTreeMap<PathBuf, Fault>>);

#[derive(Debug)]
struct Fault {
    setting: &'static str,
    at: Instant,
    text: String,
}

impl SecretFiles {
    /// The password, or the token that the file holds now.
    ///
    /// # Errors
    /// There is no such token; the reason is told in the log once, and by [`SecretFiles::faults`].
    pub async fn secret(&self, secret: &LoginSecret) -> Result<Secret, NoSecret> {
        let path = match secret {
            LoginSecret::Password(password) => return Ok(password.clone()),
            LoginSecret::TokenFile(path) => path,
        };
        let found = self.read(TOKEN, path, token).await;
        found.map(Secret::new)
    }

    /// What signs a request: as the policy has it, or as the file that it names holds it now.
    ///
    /// # Errors
    /// The file holds none; told as those of tokens are.
    pub async fn signing(&self, webhook: &Webhook) -> Result<Vec<SigningSecret>, NoSecret> {
        match &webhook.secret_file {
            None => Ok(webhook.secrets.clone()),
            Some(path) => self.read(SIGNING, path, signing).await,
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        setting: &'static str,
        path: &Path,
        parse: fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, NoSecret> {
        let of = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || parse(&octets(&of)?));
        let found = match timeout(READ_WITHIN, reading).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("cannot be read within {} s", READ_WITHIN.as_secs())),
        };
        self.note(setting, path, found.as_ref().err(), Instant::now());
        found.map_err(|fault| NoSecret {
            setting,
            path: path.to_owned(),
            fault,
        })
    }

    /// Those that were met within the latest hour.
    pub fn faults(&self, now: Instant) -> Vec<FileFault> {
        let mut files = self.0.lock();
        files.retain(|_, fault| now.saturating_duration_since(fault.at) < KEPT);
        let told = files.iter().map(|(path, fault)| FileFault {
            setting: fault.setting.to_owned(),
            path: path.display().to_string(),
            fault: fault.text.clone(),
        });
        told.collect()
    }

    fn note(&self, setting: &'static str, path: &Path, fault: Option<&String>, now: Instant) {
        let mut files = self.0.lock();
        let known = files.get(path).map(|fault| fault.text.clone());
        match fault {
            None => {
                if files.remove(path).is_some() {
                    tracing::info!(path = %path.display(), setting, "the secret can be read again");
                }
            }
            Some(text) => {
                if known.as_ref() != Some(text) {
                    let path = path.display();
                    tracing::warn!(%path, setting, fault = text, "nothing is sent without the secret: mail that needs it is deferred");
                }
                if known.is_some() || files.len() < FILES_MAX {
                    let (at, text) = (now, text.clone());
                    let fault = Fault { setting, at, text };
                    files.insert(path.to_owned(), fault);
                }
            }
        }
    }
}

/// What is in a file of usual size.
fn octets(path: &Path) -> Result<Vec<u8>, String> {
    let words = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this process".to_owned(),
        kind => format!("cannot be read: {kind}"),
    };
    // A named pipe would be waited for without end.
    let is_file = std::fs::metadata(path).map_err(words)?.is_file();
    if !is_file {
        return Err("is not a file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(words)?;
    let mut bytes = Vec::new();
    let limit = TOKEN_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(words)?;
    if bytes.len() > TOKEN_BYTES_MAX {
        return Err(format!("has more than {TOKEN_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

fn signing(bytes: &[u8]) -> Result<Vec<SigningSecret>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no text".to_owned())?;
    SigningSecret::of_lines(text)
}

/// One line of text without white space around it.
fn token(bytes: &[u8]) -> Result<String, String> {
    let token = bytes.trim_ascii();
    if token.is_empty() {
        return Err("is empty".to_owned());
    }
    // RFC 6750 section 2.1 has no others; octets of control would end the field that the token is in.
    let is_of_token = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    if !token.iter().all(is_of_token) {
        return Err(
            "holds more than a bearer token: letters, digits and -._~+/= in one line".to_owned(),
        );
    }
    Ok(String::from_utf8_lossy(token).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(path: &Path) -> Result<String, String> {
        token(&octets(path)?)
    }

    #[test]
    fn a_file_holds_one_token_or_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let long = "x".repeat(TOKEN_BYTES_MAX);
        for (text, expected) in [
            ("ya29.a0_-~+/==", Ok("ya29.a0_-~+/==")),
            (" \r\n token\r\n\n", Ok("token")),
            (&long, Ok(long.as_str())),
            (&format!("{long}\n"), Err("more than 8192 bytes")),
            ("", Err("empty")),
            ("\n \t", Err("empty")),
            ("one two", Err("bearer token")),
            ("one\ntwo", Err("bearer token")),
            ("a\u{1}b", Err("bearer token")),
            ("{\"access_token\":\"x\"}", Err("bearer token")),
            ("t\u{f6}ken", Err("bearer token")),
        ] {
            std::fs::write(&path, text).unwrap();
            match (read(&path), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(fault), Err(part)) => assert!(fault.contains(part), "{text:?}: {fault}"),
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
        assert_eq!(read(folder.path()).unwrap_err(), "is not a file");
        assert_eq!(
            read(&folder.path().join("none")).unwrap_err(),
            "is not there"
        );
        let endless = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(endless, "is not a file");
    }

    #[tokio::test]
    async fn a_fault_is_told_until_the_token_is_there_or_nobody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let files = SecretFiles::default();
        let secret = LoginSecret::TokenFile(path.clone());
        let error = files.secret(&secret).await.unwrap_err().to_string();
        assert!(error.contains("token: is not there"), "{error}");
        let now = Instant::now();
        let told = files.faults(now);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (&*told[0].setting, &*told[0].fault),
            (TOKEN, "is not there")
        );
        std::fs::write(&path, "first\n").unwrap();
        assert!(files.secret(&secret).await.unwrap().matches(b"first"));
        assert!(files.faults(now).is_empty());
        std::fs::write(&path, "second\n").unwrap();
        assert!(files.secret(&secret).await.unwrap().matches(b"second"));
        std::fs::remove_file(&path).unwrap();
        files.secret(&secret).await.unwrap_err();
        assert_eq!(files.faults(Instant::now()).len(), 1);
        assert!(files.faults(Instant::now() + KEPT).is_empty());
    }

    #[tokio::test]
    async fn what_signs_is_read_for_each_request_and_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        let files = SecretFiles::default();
        let webhook = crate::smtp::http::request::webhook_of(&format!(
            ", signing_secret_file: '{}'",
            path.display()
        ));
        let (one, next) = (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        );
        for (text, expected) in [
            (one.to_owned(), Ok(1)),
            (format!("{one}\n{next}\n"), Ok(2)),
            (format!("{next}\n"), Ok(1)),
            ("hunter2".to_owned(), Err("each line must be whsec_")),
            (String::new(), Err("is empty")),
        ] {
            std::fs::write(&path, &text).unwrap();
            match (files.signing(&webhook).await, expected) {
                (Ok(found), Ok(count)) => assert_eq!(found.len(), count),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(
                        error.contains(part) && !error.contains("hunter2"),
                        "{error}"
                    );
                    assert!(error.starts_with(SIGNING), "{error}");
                    assert_eq!(files.faults(Instant::now())[0].setting, SIGNING);
                }
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        let error = files.signing(&webhook).await.unwrap_err().to_string();
        assert!(error.contains("is not there"), "{error}");
    }
}
