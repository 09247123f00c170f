//! Replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463, RFC 2034), both to send and as received.

mod receiver;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Write as _;

pub use receiver::{ReplyError, ReplyReceiver};

/// Octets of text put into one reply line, so that code, enhanced code and CRLF stay within the 512 octets of
/// RFC 5321 section 4.5.3.1.5. Longer text goes on in another line of the same reply.
const TEXT_PER_LINE: usize = 480;

/// An enhanced status code such as `5.1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Enhanced {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 1 address, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    pub subject: u16,
    /// The detail within the subject.
    pub detail: u16,
}

impl Enhanced {
    /// From its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self {
            class,
            subject,
            detail,
        }
    }

    /// Parses exactly `class.subject.detail`; the class must be 2, 4 or 5 and the others have at most three digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let subject = three_digits(parts.next()?)?;
        let detail = three_digits(parts.next()?)?;
        parts
            .next()
            .is_none()
            .then_some(Self::new(class, subject, detail))
    }
}

fn three_digits(text: &str) -> Option<u16> {
    let fits = matches!(text.len(), 1..=3) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

impl From<(u8, u16, u16)> for Enhanced {
    fn from((class, subject, detail): (u8, u16, u16)) -> Self {
        Self::new(class, subject, detail)
    }
}

impl From<Enhanced> for (u8, u16, u16) {
    fn from(value: Enhanced) -> Self {
        (value.class, value.subject, value.detail)
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One reply. The text may have several lines, separated by `\n`, without codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reply {
    /// The three-digit code, 200 to 599.
    pub code: u16,
    /// The enhanced code, repeated on each line when written.
    pub enhanced: Option<Enhanced>,
    /// The text for people, or for EHLO the keywords.
    pub text: String,
}

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: impl Into<Enhanced>, text: impl Into<String>) -> Self {
        Self {
            code,
            enhanced: Some(enhanced.into()),
            text: text.into(),
        }
    }

    /// A reply that carries no enhanced code: greeting, EHLO, 354 and AUTH challenges.
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            enhanced: None,
            text: text.into(),
        }
    }

    /// Appends the reply as bytes. Control characters in the text become spaces, so text that quotes
    /// a peer cannot forge a second reply.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut pieces = self.text.split('\n').flat_map(Pieces).peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let separator = if last { ' ' } else { '-' };
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{}{separator}", self.code);
            if let Some(enhanced) = self.enhanced {
                let _ = write!(out, "{enhanced} ");
            }
            out.extend(
                piece
                    .bytes()
                    .map(|b| if b.is_ascii_control() { b' ' } else { b }),
            );
            out.extend_from_slice(b"\r\n");
        }
    }

    /// 2xx or 3xx: go on.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// 4xx: may work later.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5xx: will not work as it is.
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

/// One line, for logs and for the Diagnostic-Code of a delivery report.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.split('\n').filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// Cuts a line into pieces of at most [`TEXT_PER_LINE`] octets, at least one even when the line is empty.
struct Pieces<'a>(&'a str);

impl<'a> IntoIterator for Pieces<'a> {
    type Item = &'a str;
    type IntoIter = std::vec::IntoIter<&'a str>;

    fn into_iter(self) -> Self::IntoIter {
        let mut rest = self.0;
        let mut pieces = Vec::with_capacity(1);
        while rest.len() > TEXT_PER_LINE {
            let mut cut = TEXT_PER_LINE;
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (piece, tail) = rest.split_at(cut);
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        pieces.into_iter()
    }
}
