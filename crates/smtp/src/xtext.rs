//! xtext (RFC 3461 section 4) and the typed original recipient that uses it.

use std::fmt::Write;

/// Longest ORCPT value in its encoded form (RFC 3461 section 4.2).
const ORCPT_MAX: usize = 500;

/// Why an xtext value was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XtextError {
    /// A character that xtext must encode, or a `+` without two upper-case hex digits.
    #[error("value is not valid xtext")]
    Encoding,
    /// The decoded value holds something else than printable ASCII (or UTF-8 where allowed).
    #[error("decoded value is not printable")]
    NotPrintable,
    /// Longer than the RFC permits.
    #[error("value is too long")]
    TooLong,
    /// ORCPT without `type;`, or a type that is not an atom.
    #[error("original recipient has no address type")]
    NoType,
}

/// Encodes printable ASCII so that it can be a parameter value: `+`, `=`, space and others become `+XX`.
pub fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if (b'!'..=b'~').contains(&byte) && byte != b'+' && byte != b'=' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "+{byte:02X}");
        }
    }
}

/// Decodes xtext into printable ASCII. Control characters and bytes above 0x7e are refused,
/// because the value is later written into headers of delivery reports.
pub fn decode(text: &str) -> Result<String, XtextError> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'+' => {
                let high = bytes.next().and_then(hex).ok_or(XtextError::Encoding)?;
                let low = bytes.next().and_then(hex).ok_or(XtextError::Encoding)?;
                high << 4 | low
            }
            b'=' => return Err(XtextError::Encoding),
            b'!'..=b'~' => byte,
            _ => return Err(XtextError::Encoding),
        };
        if !(b' '..=b'~').contains(&decoded) {
            return Err(XtextError::NotPrintable);
        }
        out.push(char::from(decoded));
    }
    Ok(out)
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// ORCPT: the recipient as the first sender wrote it, with its address type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Orcpt {
    kind: String,
    address: String,
}

impl Orcpt {
    /// From parts that are already decoded, as a submission or a stored message has them.
    pub fn new(kind: &str, address: &str) -> Result<Self, XtextError> {
        let utf8 = kind.eq_ignore_ascii_case("utf-8");
        if kind.is_empty() || !kind.bytes().all(is_type_char) {
            return Err(XtextError::NoType);
        }
        if !address.chars().all(|c| printable(c, utf8)) {
            return Err(XtextError::NotPrintable);
        }
        let value = Self {
            kind: kind.to_ascii_lowercase(),
            address: address.to_owned(),
        };
        if value.to_param().len() > ORCPT_MAX {
            return Err(XtextError::TooLong);
        }
        Ok(value)
    }

    /// Parses the parameter value `type;address`. `utf-8;` takes RFC 6533's three encodings:
    /// plain UTF-8, `\x{HEX}` and ASCII.
    pub fn parse(value: &str) -> Result<Self, XtextError> {
        if value.len() > ORCPT_MAX {
            return Err(XtextError::TooLong);
        }
        let (kind, encoded) = value.split_once(';').ok_or(XtextError::NoType)?;
        let address = if kind.eq_ignore_ascii_case("utf-8") {
            decode_utf8(encoded)?
        } else {
            decode(encoded)?
        };
        if address.is_empty() {
            return Err(XtextError::Encoding);
        }
        Self::new(kind, &address)
    }

    /// The address type in lower case: `rfc822`, `utf-8` or another atom.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The decoded address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The parameter value to send. Always ASCII, so it is right with and without SMTPUTF8.
    pub fn to_param(&self) -> String {
        let mut out = format!("{};", self.kind);
        if self.kind == "utf-8" {
            encode_utf8(&self.address, &mut out);
        } else {
            encode(&self.address, &mut out);
        }
        out
    }
}

fn is_type_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn printable(c: char, utf8: bool) -> bool {
    if c.is_ascii() {
        !c.is_ascii_control()
    } else {
        utf8 && !c.is_control()
    }
}

/// utf-8-addr-xtext of RFC 6533 section 3.
fn encode_utf8(text: &str, out: &mut String) {
    for c in text.chars() {
        if ('!'..='~').contains(&c) && !matches!(c, '+' | '=' | '\\') {
            out.push(c);
        } else {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
}

fn decode_utf8(text: &str) -> Result<String, XtextError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let body = rest.strip_prefix("\\x{").ok_or(XtextError::Encoding)?;
            let (digits, after) = body.split_once('}').ok_or(XtextError::Encoding)?;
            if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| hex(b).is_some()) {
                return Err(XtextError::Encoding);
            }
            let code = u32::from_str_radix(digits, 16).map_err(|_| XtextError::Encoding)?;
            out.push(char::from_u32(code).ok_or(XtextError::Encoding)?);
            rest = after;
        } else {
            if matches!(c, '+' | '=' | ' ') {
                return Err(XtextError::Encoding);
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn xtext_table() {
        for (encoded, decoded) in [
            ("abc", Ok("abc")),
            ("a+2Bb+3D+20", Ok("a+b= ")),
            ("a+2bb", Err(XtextError::Encoding)),
            ("a+2", Err(XtextError::Encoding)),
            ("a=b", Err(XtextError::Encoding)),
            ("a b", Err(XtextError::Encoding)),
            ("a+0D+0A", Err(XtextError::NotPrintable)),
            ("+C3+A4", Err(XtextError::NotPrintable)),
        ] {
            assert_eq!(decode(encoded), decoded.map(str::to_owned), "{encoded}");
        }
    }

    #[test]
    fn orcpt_table() {
        for (value, kind, address) in [
            ("rfc822;a+2Bb@x.test", "rfc822", "a+b@x.test"),
            ("RFC822;a@x.test", "rfc822", "a@x.test"),
            ("utf-8;j\\x{F6}rg@x.test", "utf-8", "jörg@x.test"),
            ("utf-8;jörg@x.test", "utf-8", "jörg@x.test"),
            ("x400;something", "x400", "something"),
        ] {
            let orcpt = Orcpt::parse(value).unwrap();
            assert_eq!((orcpt.kind(), orcpt.address()), (kind, address), "{value}");
            assert_eq!(Orcpt::parse(&orcpt.to_param()).unwrap(), orcpt, "{value}");
        }
        let long = format!("rfc822;{}", "a".repeat(500));
        for bad in [
            "a@x.test",
            ";a",
            "rfc822;",
            "rfc822;ä@x",
            "r c;a",
            "utf-8;a\\x{110000}",
            "utf-8;\\x{D}",
            "rfc822;+0A",
            &long,
        ] {
            assert!(Orcpt::parse(bad).is_err(), "{bad}");
        }
    }
}
