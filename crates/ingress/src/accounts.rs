//! Who hands in mail, and whose mail it is: users of the node's configuration, credentials of the policy, and networks. Pure:
//! time is an argument.

use std::net::IpAddr;
use std::sync::Arc;

use skein_credential::Verifier;
use skein_model::UnixMs;
use skein_policy::{Credential, Policy};

use crate::config::{Config, User};

/// As what a client has logged in.
#[derive(Debug, Clone)]
pub enum Account {
    /// Of the node's own configuration.
    User(User),
    /// Of the policy, with the secret that let it in.
    Credential(Arc<Credential>, Verifier),
    /// Of the policy, by the certificate that the client showed.
    Certificate(Arc<Credential>),
}

/// Who a client says that it is, before its password was looked at.
#[derive(Debug, Clone)]
pub enum Claim {
    User(User),
    Credential(Arc<Credential>),
}

impl Claim {
    /// None: nobody of this name may log in from there now. A user of the node's configuration comes before a credential.
    pub fn of(
        config: &Config,
        policy: &Policy,
        user: &str,
        client: IpAddr,
        at: UnixMs,
    ) -> Option<Self> {
        if let Some(user) = config.user(user) {
            return Some(Self::User(user.clone()));
        }
        let credential = policy.credential_of_user(user)?;
        is_good(credential, client, at).then(|| Self::Credential(Arc::clone(credential)))
    }
}

impl Account {
    /// Of the holder of a certificate with these names; the first counts that a good credential has.
    pub fn of_certificate(
        policy: &Policy,
        names: &[String],
        client: IpAddr,
        at: UnixMs,
    ) -> Option<Self> {
        let credentials = names
            .iter()
            .filter_map(|name| policy.credential_of_certificate(name));
        let mut good = credentials.filter(|credential| is_good(credential, client, at));
        good.next().cloned().map(Self::Certificate)
    }

    pub fn user(&self) -> &str {
        match self {
            Self::User(user) => &user.name,
            Self::Credential(credential, _) | Self::Certificate(credential) => &credential.user,
        }
    }

    pub fn tenant(&self) -> &str {
        match self {
            Self::User(user) => &user.tenant,
            Self::Credential(credential, _) | Self::Certificate(credential) => &credential.tenant,
        }
    }

    /// The same account as it is now; none if the client could not log in again with what it gave. Certificates are looked at
    /// anew instead.
    pub fn now(
        &self,
        config: &Config,
        policy: &Policy,
        client: IpAddr,
        at: UnixMs,
    ) -> Option<Self> {
        match (self, Claim::of(config, policy, self.user(), client, at)?) {
            (Self::User(user), Claim::User(now)) => {
                (now.password == user.password).then_some(Self::User(now))
            }
            (Self::Credential(_, secret), Claim::Credential(now)) => now
                .secrets
                .contains(secret)
                .then(|| Self::Credential(now, secret.clone())),
            _ => None,
        }
    }
}

/// Whose mail comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub tenant: Arc<str>,
    /// By name; none: of no credential of the policy.
    pub credential: Option<Arc<str>>,
}

impl Owner {
    pub fn of(account: &Account) -> Self {
        match account {
            Account::User(user) => Self {
                tenant: user.tenant.as_str().into(),
                credential: None,
            },
            Account::Credential(credential, _) | Account::Certificate(credential) => {
                Self::of_credential(credential)
            }
        }
    }

    fn of_credential(credential: &Credential) -> Self {
        Self {
            tenant: Arc::clone(&credential.tenant),
            credential: Some(Arc::clone(&credential.name)),
        }
    }
}

/// Whose mail a client hands in that has not logged in; none for strangers. The policy's networks are the more special ones.
pub fn owner_of_client(
    config: &Config,
    policy: &Policy,
    client: IpAddr,
    at: UnixMs,
) -> Option<Owner> {
    let credential = policy.credential_of_client(client);
    match credential.filter(|one| is_good(one, client, at)) {
        Some(credential) => Some(Owner::of_credential(credential)),
        None => config.may_relay(client).then(|| Owner {
            tenant: config.relay_tenant.as_str().into(),
            credential: None,
        }),
    }
}

fn is_good(credential: &Credential, client: IpAddr, at: UnixMs) -> bool {
    !credential.has_expired(at.0) && credential.is_good_from(client)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_credential::{GeneratedSecret, SecretKind};
    use skein_policy::Source;

    use super::*;
    use crate::config::tests::config;

    const AT: UnixMs = UnixMs(1_800_000_000_000);

    fn verifier(nth: u8) -> Verifier {
        let secret = GeneratedSecret::from_random(SecretKind::Smtp, [nth; 32]);
        Verifier::of_secret(&secret, [nth; 16])
    }

    fn policy(keys: &str) -> Policy {
        let text = format!("kind: credential\nname: app\ntenant: t\n{keys}\n");
        let name = "p.yaml";
        Policy::parse(&[Source { name, text: &text }]).unwrap()
    }

    fn login(nth: &[u8], keys: &str) -> Policy {
        let secrets: Vec<String> = nth.iter().map(|nth| verifier(*nth).to_string()).collect();
        policy(&format!("secret: ['{}']\n{keys}", secrets.join("', '")))
    }

    fn from(client: &str) -> IpAddr {
        client.parse().unwrap()
    }

    #[test]
    fn a_login_holds_as_long_as_the_client_could_log_in_again() {
        let config = config();
        let before = login(&[1], "");
        let client = from("192.0.2.1");
        let Some(Claim::Credential(credential)) = Claim::of(&config, &before, "app", client, AT)
        else {
            panic!("it is there");
        };
        let account = Account::Credential(credential, verifier(1));
        assert_eq!((account.user(), account.tenant()), ("app", "t"));
        for (now, holds) in [
            (login(&[1], ""), true),
            (login(&[1, 2], ""), true),
            (login(&[2], ""), false),
            (login(&[1], "networks: [192.0.2.0/24]"), true),
            (login(&[1], "networks: [192.0.3.0/24]"), false),
            (login(&[1], "expires: 2100-01-01T00:00:00Z"), true),
            (login(&[1], "expires: 2026-01-01T00:00:00Z"), false),
            (policy("networks: [192.0.2.0/24]"), false),
            (login(&[1], "user: other"), false),
        ] {
            let again = account.now(&config, &now, client, AT);
            assert_eq!(
                again.is_some(),
                holds,
                "{:?}",
                now.get(skein_policy::Kind::Credential, "app")
            );
        }
        // What is the client's is read anew.
        let moved = login(&[1], "")
            .get(skein_policy::Kind::Credential, "app")
            .unwrap();
        let moved = moved.replace("tenant: t", "tenant: u");
        let moved = Policy::parse(&[Source {
            name: "p.yaml",
            text: &moved,
        }])
        .unwrap();
        let again = account.now(&config, &moved, client, AT).unwrap();
        assert_eq!(again.tenant(), "u");
    }

    #[test]
    fn users_of_the_configuration_come_first_and_hold_as_long_as_their_password() {
        let mut config = config();
        config.users.push(User {
            name: "app".into(),
            password: "one".into(),
            tenant: "own".into(),
        });
        let policy = login(&[1], "");
        let client = from("192.0.2.1");
        let Some(Claim::User(user)) = Claim::of(&config, &policy, "app", client, AT) else {
            panic!("it is there");
        };
        let account = Account::User(user);
        assert!(account.now(&config, &policy, client, AT).is_some());
        config.users[0].password = "two".into();
        assert!(account.now(&config, &policy, client, AT).is_none());
        config.users.clear();
        assert!(account.now(&config, &policy, client, AT).is_none());
        assert!(Claim::of(&config, &policy, "nobody", client, AT).is_none());
    }

    #[test]
    fn a_certificate_has_the_credential_that_names_it_while_that_is_good() {
        let keys = "certificate: [app.a.test, CN=App]\nnetworks: [192.0.2.0/24]\nexpires: 2100-01-01T00:00:00Z";
        let policy = policy(keys);
        let of = |names: &[&str], client: &str, at| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let account = Account::of_certificate(&policy, &names, from(client), at)?;
            Some((account.user().to_owned(), account.tenant().to_owned()))
        };
        let app = Some(("app".to_owned(), "t".to_owned()));
        for (names, client, at, expected) in [
            (&["app.a.test"][..], "192.0.2.1", AT, &app),
            (&["other.test", "CN=App"], "192.0.2.1", AT, &app),
            (&["other.test", "CN=Other"], "192.0.2.1", AT, &None),
            (&[], "192.0.2.1", AT, &None),
            (&["app.a.test"], "192.0.3.1", AT, &None),
            (&["app.a.test"], "192.0.2.1", UnixMs(u64::MAX), &None),
        ] {
            assert_eq!(&of(names, client, at), expected, "{names:?}");
        }
    }

    #[test]
    fn a_client_without_a_login_has_the_tenant_of_its_network() {
        let mut config = config();
        config.relay_networks = vec!["10.0.0.0/8".parse().unwrap()];
        config.relay_tenant = "relay".into();
        let policy =
            policy("networks: [10.1.0.0/16, 203.0.113.0/24]\nexpires: 2100-01-01T00:00:00Z");
        let of = |client: &str, at| {
            owner_of_client(&config, &policy, from(client), at).map(|owner| owner.tenant)
        };
        assert_eq!(of("10.1.0.1", AT).as_deref(), Some("t"));
        assert_eq!(of("203.0.113.1", AT).as_deref(), Some("t"));
        assert_eq!(of("10.2.0.1", AT).as_deref(), Some("relay"));
        assert_eq!(of("198.51.100.1", AT), None);
        // When it has ended, the node's own configuration says.
        let later = UnixMs(u64::MAX);
        assert_eq!(of("10.1.0.1", later).as_deref(), Some("relay"));
        assert_eq!(of("203.0.113.1", later), None);
    }
}
