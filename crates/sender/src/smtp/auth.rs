//! Logging in at a next hop, by the library mail-send.

mod dialogue;
#[cfg(test)]
mod tests;

use std::time::Duration;

use mail_send::{Credentials, SmtpClient};
use skein_smtp::client::Capabilities;
use skein_smtp::reply::Reply;
use skein_smtp::secret::Secret;
use smtp_proto::{AUTH_LOGIN, AUTH_OAUTHBEARER, AUTH_PLAIN, AUTH_XOAUTH2, EhloResponse};
use tokio::time::timeout;

use crate::config::login::{Login, Mechanism};
use crate::host::Host;
use crate::smtp::session::{Session, SessionError, Stream};
use dialogue::Dialogue;

/// Why we are not logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("it offers no AUTH mechanism that we can use here ({ours}), but {offered}")]
    NoMechanism { ours: String, offered: String },
    #[error("{0}")]
    Refused(Reply),
    #[error("{0}")]
    Session(#[from] SessionError),
}

/// Logs in within `limit`, whatever the host does, and gives the session back. After an error the connection is of no use.
///
/// # Errors
/// The host offers no mechanism that goes with the secret, refused it, or left the dialogue. None of them holds the secret.
pub async fn log_in<S: Stream>(
    session: Session<S>,
    host: &Host,
    capabilities: &Capabilities,
    login: &Login,
    secret: &Secret,
    limit: Duration,
) -> Result<Session<S>, LoginError> {
    let mechanism = login.choose(capabilities);
    let mechanism = mechanism.ok_or_else(|| no_mechanism(login, capabilities))?;
    if session.has_surplus() {
        return Err(ahead("EHLO").into());
    }
    let secret = String::from_utf8_lossy(secret.expose()).into_owned();
    let credentials = credentials(mechanism, host, &login.user, secret.clone());
    // The library tries all that it sees, and some that it cannot do.
    let only = EhloResponse {
        auth_mechanisms: bit(mechanism),
        ..EhloResponse::<String>::default()
    };
    let mut client = SmtpClient {
        stream: Dialogue::new(session.into_stream(), mechanism, secret),
        timeout: limit,
    };
    let done = timeout(limit, client.authenticate(&credentials, &only)).await;
    let error = match done {
        Ok(Ok(_)) => None,
        Ok(Err(mail_send::Error::Timeout)) | Err(_) => Some(SessionError::Timeout(limit).into()),
        Ok(Err(_)) => Some(client.stream.error()),
    };
    match error {
        Some(error) => Err(error),
        None if client.stream.has_surplus() => Err(ahead("AUTH").into()),
        None => Ok(Session::new(client.stream.into_stream())),
    }
}

fn no_mechanism(login: &Login, capabilities: &Capabilities) -> LoginError {
    let ours: Vec<&str> = login.usable().map(Mechanism::name).collect();
    LoginError::NoMechanism {
        ours: ours.join(", "),
        offered: match capabilities.auth.is_empty() {
            true => "none".to_owned(),
            false => capabilities.auth.join(", "),
        },
    }
}

/// What a host sends that it was not asked for would be taken for the reply to something else.
fn ahead(command: &str) -> SessionError {
    SessionError::Garbage(format!("octets follow the reply to {command}"))
}

fn bit(mechanism: Mechanism) -> u64 {
    match mechanism {
        Mechanism::Plain => AUTH_PLAIN,
        Mechanism::Login => AUTH_LOGIN,
        Mechanism::OAuthBearer => AUTH_OAUTHBEARER,
        Mechanism::XOAuth2 => AUTH_XOAUTH2,
    }
}

fn credentials(
    mechanism: Mechanism,
    host: &Host,
    user: &str,
    secret: String,
) -> Credentials<String> {
    match mechanism {
        Mechanism::Plain | Mechanism::Login => Credentials::new(user.to_owned(), secret),
        Mechanism::XOAuth2 => Credentials::new_xoauth2(user.to_owned(), secret),
        // The library's own form has no GS2 header, without which RFC 7628 section 3.1 has servers refuse it.
        Mechanism::OAuthBearer => {
            let user = user.replace('=', "=3D").replace(',', "=2C");
            let (name, port) = (host.name.trim_matches(['[', ']']), host.port);
            Credentials::new_oauth(format!(
                "n,a={user},\u{1}host={name}\u{1}port={port}\u{1}auth=Bearer {secret}\u{1}\u{1}"
            ))
        }
    }
}
