//! What a delivery would meet.

use serde::Serialize;

use super::look::Seen;

/// At one address; the text says why.
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
                "a delivery goes under TLS, also where policy requires TLS".to_owned()
            }
            Self::Unverified(why) => format!(
                "a delivery goes under opportunistic TLS; where policy requires TLS it waits, for {why}"
            ),
            Self::Clear => "a delivery goes in the clear, for STARTTLS is not offered; where policy requires TLS it waits"
                .to_owned(),
            Self::BrokenTls(why) => format!(
                "STARTTLS is offered and fails: {why}; a delivery goes in the clear then, and where policy requires TLS it waits"
            ),
            Self::Defers(reply) => format!("no mail is taken now ({reply}); a delivery tries the next host, or later"),
            Self::Refuses(reply) => {
                format!("this address is refused a session ({reply}); a delivery from here tries the next host")
            }
            Self::Away(why) => format!("it {why}; a delivery tries the next host, or later"),
        }
    }
}

/// All of it in one line, and whether a delivery finds a host. `missed` addresses were not looked at.
pub fn verdict(domain: &str, seen: &[Seen], missed: usize) -> (String, bool) {
    let open = seen.iter().filter(|one| one.meets.is_open()).count();
    let first = seen.iter().find(|one| one.meets.is_open());
    let more = match missed {
        0 => String::new(),
        count => format!("; {count} more were not looked at"),
    };
    let counted = format!("{open} of {} addresses open a session{more}", seen.len());
    match first {
        Some(first) => {
            let how = match first.meets {
                Meets::Verified => "under verified TLS",
                Meets::Unverified(_) => "under TLS that does not verify",
                _ => "in the clear",
            };
            let text = format!(
                "mail for {domain} goes to {} [{}] {how}: {counted}",
                first.host,
                first.address.ip()
            );
            (text, true)
        }
        None => (format!("mail for {domain} waits: {counted}"), false),
    }
}

/// What to do when no host is open, or when those that are have a fault.
pub fn todo(seen: &[Seen]) -> Option<&'static str> {
    let all = |is: fn(&Meets) -> bool| !seen.is_empty() && seen.iter().all(|one| is(&one.meets));
    if seen.iter().any(|one| one.meets.is_open()) {
        return None;
    }
    Some(if all(|meets| matches!(meets, Meets::Away(_))) {
        "many networks block port 25 outwards: try another domain, and see `skeinctl doctor --port-25 HOST`"
    } else if all(|meets| matches!(meets, Meets::Refuses(_))) {
        "the hosts may know this address for something: the replies say why, and senders have other addresses"
    } else {
        "try again later; the replies say why"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(host: &str, meets: Meets) -> Seen {
        Seen {
            host: host.to_owned(),
            preference: 10,
            address: ([192, 0, 2, 1], 25).into(),
            steps: Vec::new(),
            keywords: Vec::new(),
            tls: None,
            meets,
        }
    }

    #[test]
    fn the_first_open_host_decides_how_mail_goes() {
        let away = || Meets::Away("gave no answer in time".to_owned());
        let expired = || Meets::Unverified("its certificate has expired".to_owned());
        let no = || Meets::Refuses("554 5.7.1 no".to_owned());
        for (meets, missed, expected, is_open, todo_part) in [
            (
                vec![Meets::Verified],
                0,
                "mx0 [192.0.2.1] under verified TLS: 1 of 1",
                true,
                "",
            ),
            (
                vec![expired(), Meets::Verified],
                0,
                "mx0 [192.0.2.1] under TLS that does not verify: 2 of 2",
                true,
                "",
            ),
            (
                vec![away(), Meets::Clear],
                3,
                "mx1 [192.0.2.1] in the clear: 1 of 2 addresses open a session; 3 more",
                true,
                "",
            ),
            (
                vec![Meets::BrokenTls("x".to_owned())],
                0,
                "in the clear",
                true,
                "",
            ),
            (vec![away(), away()], 0, "waits: 0 of 2", false, "port 25"),
            (vec![no()], 0, "waits: 0 of 1", false, "replies say why"),
            (vec![no(), away()], 0, "waits: 0 of 2", false, "later"),
            (
                vec![],
                2,
                "waits: 0 of 0 addresses open a session; 2 more",
                false,
                "later",
            ),
        ] {
            let all: Vec<Seen> = meets
                .into_iter()
                .enumerate()
                .map(|(nth, meets)| seen(&format!("mx{nth}"), meets))
                .collect();
            let (text, found) = verdict("a.test", &all, missed);
            assert!(text.contains(expected) && found == is_open, "{text}");
            let told = todo(&all).unwrap_or_default();
            assert!(
                told.contains(todo_part) && told.is_empty() == is_open,
                "{told}"
            );
        }
    }

    #[test]
    fn each_address_is_told_with_its_reason() {
        for (meets, expected) in [
            (Meets::Verified, "also where policy requires TLS"),
            (
                Meets::Unverified("its certificate has expired".into()),
                "waits, for its certificate has expired",
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
                "it gave no answer in time",
            ),
        ] {
            let words = meets.words();
            assert!(words.contains(expected), "{words}");
        }
    }
}
