//! Logging in at a next hop: AUTH PLAIN (RFC 4616) and LOGIN.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_smtp::client::Capabilities;
use skein_smtp::reply::Reply;
use skein_smtp::reply_class::{ReplyClass, Stage};

use crate::config::rule::Login;
use crate::smtp::session::{Session, SessionError, Stream};

/// Why we are not logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("it offers no AUTH mechanism that we know (PLAIN, LOGIN)")]
    NoMechanism,
    #[error("{0}")]
    Refused(Reply),
    #[error("{0}")]
    Session(#[from] SessionError),
}

/// The lines of a login. The first is sent, each of the others answers a 334.
fn lines(capabilities: &Capabilities, login: &Login) -> Option<Vec<String>> {
    let password = login.password.expose();
    if capabilities.has_auth("PLAIN") {
        let mut text = format!("\0{}\0", login.user).into_bytes();
        text.extend_from_slice(password);
        return Some(vec![format!("AUTH PLAIN {}\r\n", STANDARD.encode(text))]);
    }
    if capabilities.has_auth("LOGIN") {
        // What the challenges say varies between servers; their order does not.
        return Some(vec![
            "AUTH LOGIN\r\n".to_owned(),
            format!("{}\r\n", STANDARD.encode(&login.user)),
            format!("{}\r\n", STANDARD.encode(password)),
        ]);
    }
    None
}

pub async fn log_in<S: Stream>(
    session: &mut Session<S>,
    capabilities: &Capabilities,
    login: &Login,
    limit: Duration,
) -> Result<(), LoginError> {
    let lines = lines(capabilities, login).ok_or(LoginError::NoMechanism)?;
    let last = lines.len() - 1;
    for (number, line) in lines.iter().enumerate() {
        let reply = session.command(line, limit).await?;
        let goes_on = (300..400).contains(&reply.code);
        if ReplyClass::of(Stage::Auth, &reply).is_some() || goes_on != (number < last) {
            return Err(LoginError::Refused(reply));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_smtp::secret::Secret;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Logs in at a server that gives these replies, and returns what it was sent.
    async fn dialogue(mechanisms: &[&str], replies: &[&str]) -> (Result<(), LoginError>, String) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let replies: Vec<String> = replies.iter().map(|reply| format!("{reply}\r\n")).collect();
        let server = tokio::spawn(async move {
            let mut sent = Vec::new();
            for reply in replies {
                let mut bytes = [0; 1024];
                let count = theirs.read(&mut bytes).await.unwrap();
                sent.extend_from_slice(&bytes[..count]);
                theirs.write_all(reply.as_bytes()).await.unwrap();
            }
            String::from_utf8(sent).unwrap()
        });
        let capabilities = Capabilities {
            auth: mechanisms.iter().map(|name| (*name).to_owned()).collect(),
            ..Capabilities::default()
        };
        let login = Login {
            user: "user".into(),
            password: Secret::new("pass"),
            allow_plaintext: false,
        };
        let mut session = Session::new(ours);
        let result = log_in(&mut session, &capabilities, &login, LIMIT).await;
        drop(session);
        (result, server.await.unwrap())
    }

    #[tokio::test]
    async fn plain_is_preferred_and_takes_one_line() {
        let (result, sent) = dialogue(&["LOGIN", "PLAIN"], &["235 2.7.0 welcome"]).await;
        result.unwrap();
        assert_eq!(sent, "AUTH PLAIN AHVzZXIAcGFzcw==\r\n");
    }

    #[tokio::test]
    async fn login_answers_two_challenges_whatever_they_say() {
        let replies = ["334 VXNlcm5hbWU6", "334 anything", "235 welcome"];
        let (result, sent) = dialogue(&["LOGIN"], &replies).await;
        result.unwrap();
        assert_eq!(sent, "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n");
    }

    #[tokio::test]
    async fn refusals_and_odd_replies_end_the_login() {
        for replies in [
            &["535 5.7.8 wrong"][..],
            &["454 4.7.0 later"],
            &["334 "],
            &["421 closing"],
        ] {
            let (result, _) = dialogue(&["PLAIN"], replies).await;
            assert!(matches!(result, Err(LoginError::Refused(_))), "{replies:?}");
        }
        let (early, _) = dialogue(&["LOGIN"], &["235 already?"]).await;
        assert!(matches!(early, Err(LoginError::Refused(_))));
        let (none, _) = dialogue(&["CRAM-MD5"], &[]).await;
        assert!(matches!(none, Err(LoginError::NoMechanism)));
    }
}
