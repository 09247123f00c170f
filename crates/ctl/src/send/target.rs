//! Where a message is handed in, and whether the connection is encrypted.

use std::fmt;

use clap::ValueEnum;

use super::problem::Problem;

/// TLS from the first byte (RFC 8314 3.3).
const SUBMISSIONS_PORT: u16 = 465;
/// Where users log in (RFC 6409).
const SUBMISSION_PORT: u16 = 587;
const RELAY_PORT: u16 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// TLS from the first byte at port 465; elsewhere STARTTLS where it is offered.
    Auto,
    /// STARTTLS, or nothing is sent.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// No TLS, whatever is offered.
    None,
}

impl TlsMode {
    pub fn is_implicit(self, port: u16) -> bool {
        self == Self::Implicit || (self == Self::Auto && port == SUBMISSIONS_PORT)
    }

    /// Whether STARTTLS comes next.
    ///
    /// # Errors
    /// It must, and the host does not offer it.
    pub fn starts_tls(self, is_offered: bool) -> Result<bool, Problem> {
        match (self, is_offered) {
            (Self::Starttls, false) => Err(Problem::new(
                "the server does not offer STARTTLS",
                "give the node a certificate ([smtp.tls] of its configuration), use --tls implicit at a port with TLS from \
                 the first byte, or --tls none to send without",
            )),
            (Self::Auto | Self::Starttls, is_offered) => Ok(is_offered),
            (Self::Implicit | Self::None, _) => Ok(false),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

impl Target {
    /// `HOST`, `HOST:PORT`, `[IPv6]:PORT` or an IPv6 address.
    ///
    /// # Errors
    /// What is wrong with it, and what it should be like.
    pub fn parse(via: &str, tls: TlsMode, logs_in: bool) -> Result<Self, Problem> {
        let wrong = |what: &str| {
            Problem::new(
                format!("--via {via:?} {what}"),
                "it is like 127.0.0.1:2525, mail.example.com or [2001:db8::1]:25",
            )
        };
        let usual = match (tls, logs_in) {
            (TlsMode::Implicit, _) => SUBMISSIONS_PORT,
            (_, true) => SUBMISSION_PORT,
            (_, false) => RELAY_PORT,
        };
        let (host, port) = match via.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("has no ]"))?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':').ok_or_else(|| wrong("has no port"))?),
                };
                (host, port)
            }
            None if via.matches(':').count() > 1 => (via, None),
            None => match via.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (via, None),
            },
        };
        let port = match port {
            None => usual,
            Some(text) => {
                let port = text.parse().ok().filter(|port| *port > 0);
                port.ok_or_else(|| wrong("has no port that can be"))?
            }
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong("has no host that can be"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port() {
        use TlsMode::{Auto, Implicit, None as Plain};
        for (via, tls, logs_in, expected) in [
            ("127.0.0.1:2525", Auto, false, "127.0.0.1:2525"),
            ("mail.example.com", Auto, false, "mail.example.com:25"),
            ("mail.example.com", Auto, true, "mail.example.com:587"),
            ("mail.example.com", Implicit, true, "mail.example.com:465"),
            ("mail.example.com", Plain, false, "mail.example.com:25"),
            ("[2001:db8::1]:26", Auto, false, "[2001:db8::1]:26"),
            ("[2001:db8::1]", Auto, false, "[2001:db8::1]:25"),
            ("2001:db8::1", Auto, false, "[2001:db8::1]:25"),
        ] {
            let found = Target::parse(via, tls, logs_in).map(|target| target.to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{via}");
        }
        for (via, expected) in [
            ("", "no host"),
            (":25", "no host"),
            ("a b:25", "no host"),
            ("http://host:25", "no host"),
            ("host:", "no port"),
            ("host:0", "no port"),
            ("host:99999", "no port"),
            ("[::1", "no ]"),
            ("[::1]25", "no port"),
        ] {
            let found = Target::parse(via, Auto, false).map_err(|problem| problem.to_string());
            let problem = found.err().unwrap_or_default();
            assert!(problem.contains(expected), "{via}: {problem}");
        }
    }

    #[test]
    fn tls_begins_as_asked_and_as_offered() {
        use TlsMode::{Auto, Implicit, None as Plain, Starttls};
        for (mode, port, implicit, offered, not_offered) in [
            (Auto, 25, false, Some(true), Some(false)),
            (Auto, 465, true, Some(true), Some(false)),
            (Starttls, 465, false, Some(true), None),
            (Implicit, 25, true, Some(false), Some(false)),
            (Plain, 465, false, Some(false), Some(false)),
        ] {
            assert_eq!(mode.is_implicit(port), implicit, "{mode:?}");
            assert_eq!(mode.starts_tls(true).ok(), offered, "{mode:?}");
            assert_eq!(mode.starts_tls(false).ok(), not_offered, "{mode:?}");
        }
    }
}
