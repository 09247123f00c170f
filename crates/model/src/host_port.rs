//! Where a node is reached: `host:port`, as files, commands and calls between nodes write it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A host and a port, as it was written: a DNS name or an IPv4 address, or an IPv6 address in brackets, then a port from
/// 1 to 65535. Every such text is an authority of a URI (RFC 3986 3.2).
///
/// Rows and the wire keep it as text. What is put there was parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    text: String,
    host_bytes: usize,
    port: u16,
}

/// A text that is no [`HostPort`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not like host:port: {why}")]
pub struct NotAHostPort {
    text: String,
    why: &'static str,
}

/// RFC 1035 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// What an error shows of a text.
const SHOWN_CHARS: usize = 100;

impl HostPort {
    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = &self.text[..self.host_bytes];
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        bare.unwrap_or(host)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HostPort {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        let parsed = parse(text).map_err(|why| NotAHostPort {
            text: text.chars().take(SHOWN_CHARS).collect(),
            why,
        });
        let (host_bytes, port) = parsed?;
        Ok(Self {
            text: text.to_owned(),
            host_bytes,
            port,
        })
    }
}

fn parse(text: &str) -> Result<(usize, u16), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
    if let Some(address) = host.strip_prefix('[') {
        let address = address
            .strip_suffix(']')
            .ok_or("a bracket is not closed before the port")?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| "what is in brackets is no IPv6 address")?;
    } else {
        is_host(host)?;
    }
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port > 0);
    Ok((host.len(), port.ok_or("a port is from 1 to 65535")?))
}

fn is_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("it has no host");
    }
    if host.contains(':') {
        return Err("an IPv6 address stands in brackets");
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
        return Err("a host is a DNS name or an IP address");
    }
    // RFC 3696 2: no top-level domain is a number, so this was to be an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    match last.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err("its host is no IPv4 address"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_and_a_port_are_read_and_nothing_else_is() {
        for (text, host, port) in [
            ("127.0.0.1:7000", "127.0.0.1", 7000),
            ("localhost:1", "localhost", 1),
            ("a.example.:65535", "a.example.", 65535),
            (
                "skein-0.skein_x.mail.svc:7000",
                "skein-0.skein_x.mail.svc",
                7000,
            ),
            ("[::1]:7000", "::1", 7000),
            ("[2001:db8::1]:7000", "2001:db8::1", 7000),
            ("xn--bcher-kva.example:25", "xn--bcher-kva.example", 25),
            ("1.example:25", "1.example", 25),
        ] {
            let read: HostPort = text.parse().unwrap();
            assert_eq!(
                (read.host(), read.port(), read.as_str()),
                (host, port, text)
            );
        }
        for (text, why) in [
            ("", "empty"),
            ("localhost", "no port"),
            (":7000", "no host"),
            ("a:", "port"),
            ("a:0", "port"),
            ("a:65536", "port"),
            ("a:+1", "port"),
            ("a:000001", "port"),
            ("a: 1", "port"),
            ("a:1 ", "port"),
            ("bad host:1", "DNS name"),
            (" a:1", "DNS name"),
            ("user@a:1", "DNS name"),
            ("http://a:1", "brackets"),
            ("a/b:1", "DNS name"),
            ("a?b:1", "DNS name"),
            ("a#:1", "DNS name"),
            ("a%20b:1", "DNS name"),
            ("a..b:1", "DNS name"),
            ("-a:1", "DNS name"),
            ("ä.example:1", "DNS name"),
            ("a\n:1", "DNS name"),
            ("10.0.0.256:1", "IPv4"),
            ("10.0.0:1", "IPv4"),
            ("::1:7000", "brackets"),
            ("[::1:7000", "bracket"),
            ("[a]:1", "IPv6"),
            ("[fe80::1%eth0]:1", "IPv6"),
            ("[]:1", "IPv6"),
        ] {
            let error = text.parse::<HostPort>().unwrap_err().to_string();
            assert!(
                error.contains("like host:port") && error.contains(why),
                "{error}"
            );
        }
        let long = format!("{}:1", "a".repeat(100_000));
        assert!(long.parse::<HostPort>().unwrap_err().to_string().len() < 300);
    }

    proptest! {
        /// What `http::uri::Authority` allows in a host, and no more.
        #[test]
        fn what_is_read_is_an_authority(text in "[a-z0-9.:@/ \\[\\]%_-]{0,12}:[0-9+ ]{0,6}") {
            if let Ok(read) = text.parse::<HostPort>() {
                prop_assert_eq!(read.to_string(), &text[..]);
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
                prop_assert!(text.chars().all(is_plain), "{text}");
                prop_assert!(read.port() > 0 && !read.host().is_empty());
            }
        }
    }
}
