//! URLs of webhooks, in a grammar that all clients read the same way.
//!
//! Clients differ in what they make of blanks, backslashes, percent signs in hosts, full-width digits and numbers such as
//! `0x7f.1`; what is checked is then not what is connected to. Nothing of the sort is taken here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// RFC 9110 4.1 wants 8000 octets; no receiver needs a tenth.
pub const URL_BYTES_MAX: usize = 1024;
/// RFC 1035 2.3.4, without the dot at the end.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

const FORM: &str = "must be a URL such as https://hooks.example.com/skein";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In lower case. No resolver takes it for an address.
    Name(String),
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            Self::Address(v4) => v4.fmt(f),
        }
    }
}

/// `https://host[:port]/path?query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub is_https: bool,
    pub host: Host,
    pub port: u16,
    /// With the query, as it goes into the request.
    pub path: String,
}

impl Url {
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Those that RFC 3986 has no place for: some clients drop or translate them.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if text.len() > URL_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(format!("{FORM}, of up to {URL_BYTES_MAX} plain characters"));
        }
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(FORM.into()),
        };
        if text.contains('#') {
            return Err("has a fragment (#), which no receiver sees: leave it out".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = host_and_port(authority)?;
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Self {
            is_https,
            host,
            port: port.unwrap_or(usual_port(is_https)),
            path,
        })
    }

    /// The value of the Host field (RFC 9110 7.2).
    #[must_use]
    pub fn host_field(&self) -> String {
        match self.port == usual_port(self.is_https) {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host_field(), self.path)
    }
}

fn usual_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

fn host_and_port(authority: &str) -> Result<(Host, Option<u16>), String> {
    if authority.contains('@') {
        return Err(
            "has a user, which is no way to log in here: the signature is; leave it out".into(),
        );
    }
    let bracketed = authority.strip_prefix('[');
    let (host, after) = match bracketed {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or(FORM)?;
            let address: Ipv6Addr = inside.parse().map_err(
                |_| "has an IPv6 address that is none: such as [2001:db8::1], without a zone",
            )?;
            (Host::Address(address.into()), after)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, after) = authority.split_at(end);
            (name_or_address(host)?, after)
        }
    };
    let port = match after {
        "" => None,
        after => Some(after.strip_prefix(':').and_then(port).ok_or_else(|| {
            "has a port that is none: 1 to 65535, such as https://hooks.example.com:8443/skein"
                .to_owned()
        })?),
    };
    Ok((host, port))
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_number)
}

fn name_or_address(text: &str) -> Result<Host, String> {
    // RFC 6943 3.1.1: four decimal numbers without zeros in front, and no other form.
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(v4.into()));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    // inet_aton takes fewer parts, octal and hexadecimal numbers; no top-level domain is one (RFC 3696 2).
    if is_number(last) {
        return Err(
            "has an address in a form of its own: write it as 192.0.2.1, or name a host".into(),
        );
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.ends_with('.') && text.len() > 1 {
        return Err("has a dot behind the host's name: leave it out".into());
    }
    match text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label) {
        true => Ok(Host::Name(text.to_ascii_lowercase())),
        false => Err(format!("{FORM}; names in other letters as xn--...")),
    }
}

/// Whether a client could take a label for a number (WHATWG URL 3.5, ends in a number).
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
