//! What is to be known of a message's octets before it goes to a host, in one pass over any chunks.

use memchr::memchr2;

use crate::header::{HeaderScan, ScanState};

/// Octets of a line without its CRLF (RFC 5322 section 2.1.1).
pub const LINE_BYTES_MAX: usize = 998;

/// The octets of a message. Each extension of SMTP has a question of its own here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    pub bytes: u64,
    /// Some octet is 0x80 or above: a host needs 8BITMIME (RFC 6152).
    pub has_8bit: bool,
    /// One of the header is: only then can the content be a reason for SMTPUTF8 (RFC 6532).
    pub has_8bit_header: bool,
    /// Some octet is NUL, which text of any kind must not have (RFC 2045 section 2.7).
    pub has_nul: bool,
    /// A CR or LF is not part of a CRLF: no client may send it (RFC 5321 section 2.3.8).
    pub has_bare_line_end: bool,
    /// The last line has its CRLF; true for no line at all. Else DATA adds one, and only BDAT keeps the message as it is.
    pub ends_in_crlf: bool,
    /// The longest line, without its end.
    pub line_bytes_max: usize,
}

impl Content {
    /// Of a message that is in memory.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let mut scan = ContentScan::default();
        if message.is_ascii() {
            // Most are, and where their header ends makes no difference then.
            scan.header = None;
        }
        scan.push(message);
        scan.finish()
    }

    /// Whether it is 7bit data (RFC 2045 section 2.7), which needs no extension and no encoding.
    #[must_use]
    pub fn is_7bit(&self) -> bool {
        !self.has_8bit
            && !self.has_nul
            && !self.has_bare_line_end
            && self.line_bytes_max <= LINE_BYTES_MAX
    }
}

/// The scan. It keeps counters, never octets.
#[derive(Debug)]
pub struct ContentScan {
    /// None: there is no 8-bit octet that it could have.
    header: Option<HeaderScan>,
    found: Content,
    line_bytes: usize,
    is_after_cr: bool,
    /// The last octet ended a line, or there is none.
    has_open_line: bool,
}

impl Default for ContentScan {
    fn default() -> Self {
        Self {
            header: Some(HeaderScan::new()),
            found: Content::default(),
            line_bytes: 0,
            is_after_cr: false,
            has_open_line: false,
        }
    }
}

impl ContentScan {
    /// Takes the next octets.
    pub fn push(&mut self, chunk: &[u8]) {
        if let Some(header) = &mut self.header
            && header.state() == ScanState::Incomplete
        {
            header.push(chunk);
        }
        let found = &mut self.found;
        found.bytes += chunk.len() as u64;
        found.has_8bit |= !chunk.is_ascii();
        found.has_nul |= memchr::memchr(0, chunk).is_some();
        let mut rest = chunk;
        while !rest.is_empty() {
            if std::mem::take(&mut self.is_after_cr) {
                match rest.strip_prefix(b"\n") {
                    Some(after) => {
                        rest = after;
                        self.line_bytes = 0;
                        self.has_open_line = false;
                    }
                    None => found.has_bare_line_end = true,
                }
                continue;
            }
            let end = memchr2(b'\r', b'\n', rest);
            self.line_bytes += end.unwrap_or(rest.len());
            found.line_bytes_max = found.line_bytes_max.max(self.line_bytes);
            self.has_open_line = true;
            let Some(end) = end else { break };
            self.is_after_cr = rest[end] == b'\r';
            found.has_bare_line_end |= rest[end] == b'\n';
            rest = &rest[end + 1..];
        }
    }

    /// The message has ended.
    #[must_use]
    pub fn finish(mut self) -> Content {
        let in_header = |header: &mut HeaderScan| match header.finish() {
            ScanState::Complete => header.summary().has_8bit,
            // Beyond the limits, which intake refuses: it may have what the whole has.
            ScanState::Incomplete | ScanState::TooLarge(_) => self.found.has_8bit,
        };
        Content {
            has_8bit_header: self.header.as_mut().is_some_and(in_header),
            has_bare_line_end: self.found.has_bare_line_end || self.is_after_cr,
            ends_in_crlf: !self.has_open_line,
            ..self.found
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_question_has_its_answer() {
        let ok = Content {
            ends_in_crlf: true,
            ..Content::default()
        };
        let eight = |content| Content {
            has_8bit: true,
            ..content
        };
        for (message, bytes, line, expected) in [
            ("", 0, 0, ok),
            ("A: b\r\n\r\nc\r\n", 11, 4, ok),
            ("A: b\r\n\r\nc", 9, 4, Content::default()),
            ("A: b\r\n\r\n\u{fc}\r\n", 12, 4, eight(ok)),
            (
                "A: \u{fc}\r\n\r\nb\r\n",
                12,
                5,
                Content {
                    has_8bit_header: true,
                    ..eight(ok)
                },
            ),
            (
                "A: b\r\n\r\n\0\r\n",
                11,
                4,
                Content {
                    has_nul: true,
                    ..ok
                },
            ),
            (
                "A: b\r\n\r\nc\nd\r\n",
                13,
                4,
                Content {
                    has_bare_line_end: true,
                    ..ok
                },
            ),
            (
                "A: b\r\n\r\nc\r",
                10,
                4,
                Content {
                    has_bare_line_end: true,
                    ..Content::default()
                },
            ),
        ] {
            let content = Content::of(message.as_bytes());
            let expected = Content {
                bytes,
                line_bytes_max: content.line_bytes_max,
                ..expected
            };
            assert_eq!(content, expected, "{message:?}");
            assert_eq!(content.line_bytes_max, line, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            message in "[aA:\\r\\n \\x00\u{fc}]{0,60}",
            sizes in prop::collection::vec(1usize..7, 0..60),
        ) {
            let mut rest = message.as_bytes();
            let mut scan = ContentScan::default();
            for size in sizes {
                let (chunk, tail) = rest.split_at(size.min(rest.len()));
                scan.push(chunk);
                rest = tail;
            }
            scan.push(rest);
            prop_assert_eq!(scan.finish(), Content::of(message.as_bytes()));
        }
    }
}
