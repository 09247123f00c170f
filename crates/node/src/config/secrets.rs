//! Passwords: given in the configuration or in files of their own, and not shown.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use skein_policy::MASK;

use super::Config;

/// Longer than any password, and nothing like what is named by mistake.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// The password that is given, or that the file holds, without the line end behind it; none if neither is.
///
/// # Errors
/// Both are given, the file cannot be read, or the password is empty or [`MASK`].
pub fn password(given: Option<&String>, file: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    let (key, found) = match (given, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => bail!("password_file: contradicts password; leave one of them out"),
        (Some(given), None) => ("password", given.clone()),
        (None, Some(path)) => {
            let read = read(path).with_context(|| format!("password_file: {}", path.display()));
            ("password_file", read?)
        }
    };
    ensure!(!found.is_empty(), "{key}: is empty");
    ensure!(
        found != MASK,
        "{key}: {MASK} is what `skein config print` shows instead of a password; give the password itself"
    );
    Ok(Some(found))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    ensure!(
        bytes <= FILE_BYTES_MAX,
        "has more than {FILE_BYTES_MAX} bytes"
    );
    let text = std::fs::read_to_string(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Puts [`MASK`] for every password in a configuration.
pub fn mask(config: &mut Config) {
    let of_users = config.smtp.users.iter_mut().map(|user| &mut user.password);
    let routes = config.delivery.routes.iter_mut();
    let of_routes = routes.map(|route| &mut route.password);
    for password in of_users.chain(of_routes).flatten() {
        MASK.clone_into(password);
    }
    for header in config.telemetry.otlp_headers.values_mut() {
        MASK.clone_into(header);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_password_is_given_once_and_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let given = |text: &str| text.to_owned();
        for (password_given, password_file, expected) in [
            (None, None, Ok(None)),
            (Some(given("p w ")), None, Ok(Some("p w "))),
            (None, Some(file("a", "secret\n")), Ok(Some("secret"))),
            (None, Some(file("b", "secret\r\n")), Ok(Some("secret"))),
            (
                None,
                Some(file("c", " two\nlines\n")),
                Ok(Some(" two\nlines")),
            ),
            (Some(given("")), None, Err("password: is empty")),
            (None, Some(file("d", "\n")), Err("password_file: is empty")),
            (Some(given("***")), None, Err("config print")),
            (Some(given("p")), Some(file("e", "p")), Err("contradicts")),
            (
                None,
                Some(folder.path().join("none")),
                Err("password_file: "),
            ),
            (
                None,
                Some(file("f", &"x".repeat(5000))),
                Err("password_file: "),
            ),
        ] {
            let found = password(password_given.as_ref(), password_file.as_ref());
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                (Err(error), Err(part)) => {
                    assert!(format!("{error:#}").contains(part), "{error:#}")
                }
                (found, expected) => panic!("{found:?} where {expected:?} was expected"),
            }
        }
    }

    #[test]
    fn what_is_printed_has_no_passwords_unless_they_are_asked_for() {
        let text = "[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[[smtp.user]]\nname = \"u\"\npassword = \"hunter2\"\n\
                    [[delivery.route]]\ndomains = [\"*\"]\nhosts = [\"h\"]\nuser = \"u\"\npassword = \"hunter3\"\n";
        let config = Config::parse(text).unwrap();
        let shown = config.to_toml(false).unwrap();
        assert!(
            !shown.contains("hunter") && shown.matches("\"***\"").count() == 2,
            "{shown}"
        );
        // A node does not start with what was printed, and with stars for passwords.
        assert!(Config::parse(&shown).is_err());
        let shown = config.to_toml(true).unwrap();
        assert!(
            shown.contains("hunter2") && shown.contains("hunter3"),
            "{shown}"
        );
        assert!(Config::parse(&text.replace("hunter2", "")).is_err());
    }
}
