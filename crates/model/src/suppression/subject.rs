//! Addresses and domains as they are compared.

use std::net::{Ipv4Addr, Ipv6Addr};

use minicbor::{Decode, Encode};

/// RFC 5321 4.5.3.1.3, without the brackets of a path.
const ADDRESS_BYTES_MAX: usize = 254;
const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 1035 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// Of a subject as it is compared. A local part of 252 octets has half as many more in lower case at most, and a domain has up to
/// 255 as A-labels.
pub const SUBJECT_BYTES_MAX: usize = 640;

/// What is not mailed, as it is compared: the domain in lower case and as A-labels, the local part in lower case and without quotes.
///
/// RFC 5321 2.4 has local parts differ by case. No host that counts tells `Ann@` from `ann@`, and a list that did would mail people
/// who have unsubscribed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Subject {
    /// Divided at its last `@`.
    #[n(0)]
    Address(#[n(0)] String),
    /// All addresses at it, and none below it.
    #[n(1)]
    Domain(#[n(0)] String),
}

/// A subject, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub subject: Subject,
    /// With the local part as it was given; none if that says nothing more than the subject.
    pub spelling: Option<String>,
}

/// Why a text is neither an address nor a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubject {
    #[error("there is nothing where an address or a domain is to be")]
    Empty,
    #[error("an address has at most {ADDRESS_BYTES_MAX} octets, and this one {0}")]
    TooLong(usize),
    #[error("{0:?} has nothing like a local part before its @, such as ann in ann@example.com")]
    LocalPart(String),
    #[error("{0:?} is no domain such as example.com")]
    Domain(String),
    #[error("it has a control character")]
    Control,
    #[error("it is not in the form that addresses are compared in")]
    NotNormal,
}

impl Subject {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Address(text) | Self::Domain(text) => text,
        }
    }

    /// What stands behind the `@`, or all of a domain.
    pub fn domain(&self) -> &str {
        match self {
            Self::Address(text) => text.rsplit_once('@').map_or("", |(_, domain)| domain),
            Self::Domain(text) => text,
        }
    }

    /// Whether this may be kept. It asks for what no version of Unicode changes, since all replicas have to agree.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), BadSubject> {
        let text = self.as_str();
        if text.len() > SUBJECT_BYTES_MAX {
            return Err(BadSubject::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(BadSubject::Control);
        }
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let has_parts = matches!(self, Self::Domain(_)) || text.contains('@');
        match is_lower && has_parts && is_ascii_domain(self.domain()) {
            true => Ok(()),
            false => Err(BadSubject::NotNormal),
        }
    }
}

impl Written {
    /// Reads `ann@example.com` or `example.com`. Every address that SMTP lets in (RFC 5321 4.1.2, RFC 6531 3.3) is one here.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, BadSubject> {
        if text.is_empty() {
            return Err(BadSubject::Empty);
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(BadSubject::TooLong(text.len()));
        }
        if !text.contains('@') {
            return Ok(Self {
                subject: Subject::Domain(normal_domain(text)?),
                spelling: None,
            });
        }
        let (local, domain) = divide(text).ok_or_else(|| BadSubject::LocalPart(text.to_owned()))?;
        let domain = normal_domain(domain)?;
        let subject = format!("{}@{domain}", lower(&unquoted(local)));
        let spelling = format!("{local}@{domain}");
        Ok(Self {
            spelling: (spelling != subject).then_some(spelling),
            subject: Subject::Address(subject),
        })
    }

    /// As people are shown it; [`Written::parse`] reads it.
    pub fn as_str(&self) -> &str {
        self.spelling.as_deref().unwrap_or(self.subject.as_str())
    }
}

/// Letter by letter: what comes before and after decides nothing, so that the lower case of lower case is the same.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Local part and domain at the `@` that divides them, if the former is a dot-string or a quoted string.
fn divide(text: &str) -> Option<(&str, &str)> {
    let end = match text.strip_prefix('"') {
        Some(quoted) => 1 + quoted_end(quoted)?,
        None => text.find('@').filter(|end| is_dot_string(&text[..*end]))?,
    };
    let domain = text[end..].strip_prefix('@')?;
    Some((&text[..end], domain))
}

fn is_dot_string(local: &str) -> bool {
    let is_atext = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
    };
    local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// The index behind the closing quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b' '..=b'~' if is_escaped => is_escaped = false,
            _ if is_escaped => return None,
            b'"' => return Some(index + 1),
            b'\\' => is_escaped = true,
            0x7f | 0..=0x1f => return None,
            _ => {}
        }
    }
    None
}

fn unquoted(local: &str) -> String {
    let inner = local
        .strip_prefix('"')
        .and_then(|local| local.strip_suffix('"'));
    let Some(inner) = inner else {
        return local.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

fn normal_domain(domain: &str) -> Result<String, BadSubject> {
    let bad = || BadSubject::Domain(domain.to_owned());
    let name = domain.strip_suffix('.').unwrap_or(domain);
    let ascii = match name.is_ascii() {
        true => name.to_ascii_lowercase(),
        false if name.chars().any(|c| c.is_control() || c.is_whitespace()) => return Err(bad()),
        false => idna::domain_to_ascii(name).map_err(|_| bad())?,
    };
    match is_ascii_domain(&ascii) {
        true => Ok(ascii),
        false => Err(bad()),
    }
}

/// Labels of letters, digits, hyphens and underscores, which real names have; or an address literal.
fn is_ascii_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[') {
        return is_literal(literal);
    }
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= DOMAIN_BYTES_MAX && domain.split('.').all(is_label)
}

fn is_literal(after_bracket: &str) -> bool {
    let Some(inner) = after_bracket.strip_suffix(']') else {
        return false;
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}
