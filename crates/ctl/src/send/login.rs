//! Which mechanism a login uses.

use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN};

use super::problem::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Login,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// As the library knows it.
    pub fn bit(self) -> u64 {
        match self {
            Self::Plain => AUTH_PLAIN,
            Self::Login => AUTH_LOGIN,
        }
    }
}

/// The first of PLAIN and LOGIN that is offered. The others either need code that this program does not have (the library
/// would begin CRAM-MD5 and DIGEST-MD5 all the same, and break off in the middle) or another secret than a password.
///
/// # Errors
/// None is offered, or the password would go over the wire in the clear.
pub fn choose(
    offered: &[String],
    is_encrypted: bool,
    allows_plaintext: bool,
) -> Result<Mechanism, Problem> {
    if !is_encrypted && !allows_plaintext {
        return Err(Problem::new(
            "the connection is not encrypted, and the password would be readable on the way",
            "use --tls starttls or --tls implicit, or --allow-plaintext-auth if nobody can listen",
        ));
    }
    let has = |mechanism: &Mechanism| offered.iter().any(|one| one == mechanism.name());
    let known = [Mechanism::Plain, Mechanism::Login];
    if let Some(mechanism) = known.into_iter().find(has) {
        return Ok(mechanism);
    }
    Err(match (offered, is_encrypted) {
        ([], false) => Problem::new(
            "the server offers no logins without TLS",
            "use --tls starttls or --tls implicit",
        ),
        ([], true) => Problem::new(
            "the server offers no logins",
            "leave --user out, or give the node a [[smtp.user]] and --via a port of its listeners",
        ),
        (offered, _) => Problem::new(
            format!(
                "the server offers logins by {} only, and skeinctl knows PLAIN and LOGIN",
                offered.join(", ")
            ),
            "have the server offer PLAIN, which is safe under TLS",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mechanism_is_one_that_is_offered_and_that_we_can_do() {
        use Mechanism::{Login, Plain};
        let tls_first = "not encrypted";
        for (offered, is_encrypted, allows, expected) in [
            ("PLAIN LOGIN", true, false, Ok(Plain)),
            ("LOGIN CRAM-MD5 PLAIN", true, false, Ok(Plain)),
            ("CRAM-MD5 LOGIN", true, false, Ok(Login)),
            (
                "CRAM-MD5 DIGEST-MD5",
                true,
                false,
                Err("CRAM-MD5, DIGEST-MD5 only"),
            ),
            ("XOAUTH2 SCRAM-SHA-256", true, false, Err("PLAIN and LOGIN")),
            ("", true, false, Err("[[smtp.user]]")),
            ("", false, true, Err("no logins without TLS")),
            ("PLAIN", false, false, Err(tls_first)),
            ("", false, false, Err(tls_first)),
            ("PLAIN", false, true, Ok(Plain)),
        ] {
            let words: Vec<String> = offered.split_whitespace().map(str::to_owned).collect();
            let found = choose(&words, is_encrypted, allows);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{offered}"),
                (Err(found), Err(part)) => {
                    let found = found.to_string();
                    assert!(found.contains(part), "{offered}: {found}");
                }
                (found, _) => panic!("{offered} {is_encrypted} {allows}: {found:?}"),
            }
        }
    }
}
