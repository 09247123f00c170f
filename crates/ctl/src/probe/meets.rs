//! What a delivery would meet at one address.

use serde::Serialize;

/// The text says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "meets", content = "why", rename_all = "snake_case")]
pub enum Meets {
    /// TLS with a certificate that is good for the host's name.
    Verified,
    /// TLS with a certificate that is not.
    Unverified(String),
    /// STARTTLS is not offered.
    Clear,
    /// STARTTLS is offered, and comes to nothing.
    BrokenTls(String),
    /// No session now: the reply.
    Defers(String),
    /// No session at all: the reply.
    Refuses(String),
    /// No connection, or no answer.
    Away(String),
}

impl Meets {
    /// Whether a delivery could say MAIL there, TLS not being required.
    pub fn is_open(&self) -> bool {
        matches!(
            self,
            Self::Verified | Self::Unverified(_) | Self::Clear | Self::BrokenTls(_)
        )
    }

    pub fn words(&self) -> String {
        match self {
            Self::Verified => {
                "a delivery goes under TLS, also where policy verifies the certificate".to_owned()
            }
            Self::Unverified(why) => format!(
                "a delivery goes under TLS; where policy verifies the certificate it waits: {why}"
            ),
            Self::Clear => "a delivery goes in the clear, because STARTTLS is not offered; where policy requires TLS it waits"
                .to_owned(),
            Self::BrokenTls(why) => format!(
                "STARTTLS is offered and fails: {why}; a delivery goes in the clear then, and where policy requires TLS it waits"
            ),
            Self::Defers(reply) => format!("no mail is taken now ({reply}); a delivery tries the next host, or later"),
            Self::Refuses(reply) => {
                format!("this address is refused a session ({reply}); a delivery from here tries the next host")
            }
            Self::Away(why) => format!("no session: {why}; a delivery tries the next host, or later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_told_with_its_reason() {
        for (meets, expected) in [
            (
                Meets::Verified,
                "also where policy verifies the certificate",
            ),
            (
                Meets::Unverified("its certificate has expired".into()),
                "waits: its certificate has expired",
            ),
            (Meets::Clear, "STARTTLS is not offered"),
            (
                Meets::BrokenTls("what it sends is not TLS".into()),
                "fails: what it sends is not TLS",
            ),
            (Meets::Defers("421 busy".into()), "(421 busy)"),
            (Meets::Refuses("554 no".into()), "(554 no)"),
            (
                Meets::Away("gave no answer in time".into()),
                "no session: gave no answer in time",
            ),
        ] {
            let words = meets.words();
            assert!(words.contains(expected), "{words}");
        }
    }
}
