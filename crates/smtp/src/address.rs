//! Mailbox addresses as SMTP carries them (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// RFC 5321 section 4.5.3.1.2, octets. The total limit is always met first.
pub const DOMAIN_MAX: usize = 255;
/// A path has 256 octets with its brackets (RFC 5321 section 4.5.3.1.3). A local part may take up what the domain leaves:
/// bounce and list addresses with encoded recipients pass the 64 octets of section 4.5.3.1.1, which are what everybody has
/// to support and not what anybody may refuse.
pub const ADDRESS_MAX: usize = 254;
/// A DNS label (RFC 1035 section 2.3.4).
const LABEL_MAX: usize = 63;

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@` outside quotes.
    #[error("address has no domain")]
    NoDomain,
    /// Neither a dot-string nor a quoted string.
    #[error("local part is malformed")]
    LocalPart,
    /// Not a domain name, not an address literal, or not a valid international name.
    #[error("domain is malformed")]
    Domain,
    /// One of the limits of RFC 5321 section 4.5.3.1.
    #[error("address is too long")]
    TooLong,
    /// A byte above 0x7e while SMTPUTF8 is not in use.
    #[error("address is not ASCII and SMTPUTF8 was not requested")]
    NeedsSmtpUtf8,
}

/// A checked mailbox `local@domain`, kept in the spelling it came in: quotes stay quotes.
/// It never holds CR, LF, NUL or unbalanced quotes, so it can be written between `<` and `>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Box<str>,
    /// Index of the `@` that divides local part and domain.
    at: usize,
}

impl Address {
    /// Parses a mailbox without its angle brackets. Non-ASCII is accepted only with `smtputf8`.
    pub fn parse(text: &str, smtputf8: bool) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_MAX {
            return Err(AddressError::TooLong);
        }
        if !smtputf8 && !text.is_ascii() {
            return Err(AddressError::NeedsSmtpUtf8);
        }
        let at = local_part_end(text.as_bytes())?;
        if text.as_bytes().get(at) != Some(&b'@') {
            return Err(AddressError::NoDomain);
        }
        check_domain(&text[at + 1..])?;
        Ok(Self {
            text: text.into(),
            at,
        })
    }

    /// Builds a mailbox from a local part without quotes; quotes are added where the grammar needs them.
    pub fn from_parts(local: &str, domain: &str) -> Result<Self, AddressError> {
        let plain = local_part_end(local.as_bytes()).is_ok_and(|end| end == local.len());
        if plain && !local.starts_with('"') {
            return Self::parse(&format!("{local}@{domain}"), true);
        }
        let mut quoted = String::with_capacity(local.len() + domain.len() + 8);
        quoted.push('"');
        for c in local.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push_str("\"@");
        quoted.push_str(domain);
        Self::parse(&quoted, true)
    }

    /// `local@domain`, quoted where it was quoted.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as written, with its quotes.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The local part without quotes: the same mailbox has the same, however it is written (RFC 5321 section 4.1.2).
    pub fn unquoted_local_part(&self) -> Cow<'_, str> {
        let local = self.local_part();
        let inner = local
            .strip_prefix('"')
            .and_then(|local| local.strip_suffix('"'));
        let Some(inner) = inner else {
            return Cow::Borrowed(local);
        };
        let mut plain = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            plain.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        Cow::Owned(plain)
    }

    /// The domain as written: a name (perhaps with U-labels) or an address literal in brackets.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The domain for routing: lower-case A-labels. A literal comes back as it is, in lower case.
    pub fn routing_domain(&self) -> String {
        let domain = self.domain();
        if domain.is_ascii() {
            return domain.to_ascii_lowercase();
        }
        // `parse` ran the same conversion, so the fallback is never taken.
        idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
    }

    /// True for `user@[192.0.2.1]` and `user@[IPv6:...]`.
    pub fn is_literal(&self) -> bool {
        self.domain().starts_with('[')
    }

    /// True when every byte is ASCII, so that SMTPUTF8 is not needed.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The same mailbox with A-labels, for peers without SMTPUTF8. `None` when the local part itself is not ASCII,
    /// or when the A-label form would exceed the length limits.
    pub fn to_ascii(&self) -> Option<Self> {
        if self.is_ascii() {
            return Some(self.clone());
        }
        if !self.local_part().is_ascii() {
            return None;
        }
        let text = format!("{}@{}", self.local_part(), self.routing_domain());
        Self::parse(&text, false).ok()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Parses with UTF-8 allowed; the dialogue decides whether the peer may use it.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, true)
    }
}

/// Where reports go: a mailbox, or nowhere (`<>`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum ReversePath {
    /// `MAIL FROM:<>`: the message is itself a report and must not cause one.
    #[default]
    Null,
    /// The return path.
    Address(Address),
}

impl ReversePath {
    /// Parses the text between the brackets; empty means the null path.
    pub fn parse(text: &str, smtputf8: bool) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Ok(Self::Null);
        }
        Address::parse(text, smtputf8).map(Self::Address)
    }

    /// The mailbox, unless this is the null path.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }

    /// True for `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl From<Address> for ReversePath {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// Index after the local part, which is a dot-string or one quoted string.
fn local_part_end(bytes: &[u8]) -> Result<usize, AddressError> {
    if bytes.first() == Some(&b'"') {
        return quoted_end(bytes);
    }
    let mut atom_bytes = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if atom_bytes == 0 => return Err(AddressError::LocalPart),
            b'.' => atom_bytes = 0,
            b'@' if atom_bytes == 0 => return Err(AddressError::LocalPart),
            b'@' => return Ok(index),
            _ if is_atext(byte) => atom_bytes += 1,
            _ => return Err(AddressError::LocalPart),
        }
    }
    if atom_bytes == 0 {
        return Err(AddressError::LocalPart);
    }
    Ok(bytes.len())
}

fn quoted_end(bytes: &[u8]) -> Result<usize, AddressError> {
    let mut index = 1;
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'"' => return Ok(index + 1),
            b'\\' => match bytes.get(index + 1) {
                Some(b' '..=b'~') => index += 2,
                _ => return Err(AddressError::LocalPart),
            },
            0x7f | 0..=0x1f => return Err(AddressError::LocalPart),
            _ => index += 1,
        }
    }
    Err(AddressError::LocalPart)
}

/// Checks a domain name or an address literal. Also used for EHLO arguments.
pub(crate) fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    if let Some(literal) = domain.strip_prefix('[') {
        let inner = literal.strip_suffix(']').ok_or(AddressError::Domain)?;
        let good = match inner.get(..5) {
            Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
                Ipv6Addr::from_str(&inner[5..]).is_ok()
            }
            _ => Ipv4Addr::from_str(inner).is_ok(),
        };
        return if good {
            Ok(())
        } else {
            Err(AddressError::Domain)
        };
    }
    if domain.is_ascii() {
        return check_ascii_name(domain);
    }
    // IDNA may map odd characters to ASCII ones, so the result has to pass the ASCII rules as well.
    let ascii = idna::domain_to_ascii(domain).map_err(|_| AddressError::Domain)?;
    if domain.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(AddressError::Domain);
    }
    check_ascii_name(&ascii)
}

/// A host name with A-labels, if it is one; else as it is.
pub fn ascii_name(name: &str) -> Cow<'_, str> {
    let is_international = !name.is_ascii() && check_domain(name).is_ok();
    match is_international.then(|| idna::domain_to_ascii(name)) {
        Some(Ok(ascii)) => Cow::Owned(ascii),
        _ => Cow::Borrowed(name),
    }
}

/// Letters, digits, hyphens inside a label; underscores too, because real host names have them.
fn check_ascii_name(name: &str) -> Result<(), AddressError> {
    if name.len() > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    let good = name.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    if good {
        Ok(())
    } else {
        Err(AddressError::Domain)
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
