//! How we log in at a next hop (RFC 4954). Pure.

use std::path::PathBuf;

use skein_smtp::client::Capabilities;
use skein_smtp::secret::Secret;

/// A SASL mechanism that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// As Outlook and old servers have it; never standardised.
    Login,
    /// RFC 7628.
    OAuthBearer,
    /// What Gmail and Microsoft 365 had before RFC 7628, and the latter has alone.
    XOAuth2,
}

impl Mechanism {
    /// The better one first, of those that take the same kind of secret.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Login, Self::OAuthBearer, Self::XOAuth2];

    /// As servers offer it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
        }
    }

    /// In upper or lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let is_it = |one: &Self| one.name().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(is_it)
    }

    /// An OAuth bearer token is sent, not a password.
    pub fn takes_token(self) -> bool {
        matches!(self, Self::OAuthBearer | Self::XOAuth2)
    }
}

/// What shows that we are who we say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginSecret {
    Password(Secret),
    /// A file with an OAuth bearer token (RFC 6750) that another program renews; read again at each login.
    TokenFile(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub secret: LoginSecret,
    /// None: the first of [`Mechanism::ALL`] that is offered and takes such a secret.
    pub mechanism: Option<Mechanism>,
    /// Send the secret over a connection without TLS.
    pub allow_plaintext: bool,
}

impl Login {
    /// None: the host offers nothing that goes with what we have.
    pub fn choose(&self, offered: &Capabilities) -> Option<Mechanism> {
        self.usable()
            .find(|mechanism| offered.has_auth(mechanism.name()))
    }

    /// What we could do, the better one first.
    pub fn usable(&self) -> impl Iterator<Item = Mechanism> {
        let has_token = matches!(self.secret, LoginSecret::TokenFile(_));
        let only = self.mechanism;
        Mechanism::ALL.into_iter().filter(move |mechanism| {
            mechanism.takes_token() == has_token && only.is_none_or(|only| only == *mechanism)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_mechanism_is_one_that_is_offered_and_goes_with_the_secret() {
        use Mechanism::{Login as LogIn, OAuthBearer, Plain, XOAuth2};
        let password = || LoginSecret::Password(Secret::new("p"));
        let token = || LoginSecret::TokenFile("/t".into());
        for (offered, secret, only, expected) in [
            ("LOGIN PLAIN", password(), None, Some(Plain)),
            ("CRAM-MD5 login", password(), None, Some(LogIn)),
            ("PLAIN LOGIN", password(), Some(LogIn), Some(LogIn)),
            ("PLAIN", password(), Some(LogIn), None),
            ("CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256", password(), None, None),
            ("XOAUTH2 OAUTHBEARER", password(), None, None),
            ("", password(), None, None),
            (
                "PLAIN XOAUTH2 OAUTHBEARER",
                token(),
                None,
                Some(OAuthBearer),
            ),
            ("LOGIN PLAIN XOAUTH2", token(), None, Some(XOAuth2)),
            ("XOAUTH2 OAUTHBEARER", token(), Some(XOAuth2), Some(XOAuth2)),
            ("OAUTHBEARER", token(), Some(XOAuth2), None),
            ("PLAIN LOGIN", token(), None, None),
            ("XOAUTH", token(), None, None),
        ] {
            let capabilities = Capabilities {
                auth: offered.split_whitespace().map(str::to_owned).collect(),
                ..Capabilities::default()
            };
            let login = Login {
                user: "u".into(),
                secret,
                mechanism: only,
                allow_plaintext: false,
            };
            assert_eq!(login.choose(&capabilities), expected, "{offered} {login:?}");
        }
    }

    #[test]
    fn mechanisms_are_read_as_they_are_named() {
        for mechanism in Mechanism::ALL {
            let name = mechanism.name();
            assert_eq!(Mechanism::parse(name), Some(mechanism));
            assert_eq!(Mechanism::parse(&name.to_lowercase()), Some(mechanism));
        }
        assert_eq!(Mechanism::parse("CRAM-MD5"), None);
    }
}
