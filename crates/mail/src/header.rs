//! A streaming scan of the message header (RFC 5322 section 2.2): it is fed the message in chunks as
//! they arrive and keeps a few counters, never the bytes.

use thiserror::Error;

/// A header block is at most this long, in bytes. Real ones stay below 64 KiB even after dozens of hops
/// with ARC and anti-spam reports; four times that leaves room and still bounds what others must parse.
pub const MAX_HEADER_BYTES: usize = 256 * 1024;

/// How urgent the message is; a word between the client and us, which goes no further.
pub const PRIORITY_FIELD: &str = "X-Skein-Priority";

/// The pool that the message is to go out through; goes no further either.
pub const POOL_FIELD: &str = "X-Skein-Pool";

/// The mailing that the message is of; goes no further.
pub const CAMPAIGN_FIELD: &str = "X-Skein-Campaign";

/// The trace that the message comes from (W3C Trace Context); what is within our client's systems goes no further.
pub const TRACEPARENT_FIELD: &str = "Traceparent";

/// With the value `No`, the sender asks for delivery whatever the recipients' domain demands of TLS (RFC 8689 3).
pub const TLS_REQUIRED_FIELD: &str = "TLS-Required";

/// A header has at most this many fields: ten times what long mailing-list paths produce.
pub const MAX_HEADER_FIELDS: u32 = 1000;

/// Long enough for each field name that is looked for, and one more byte to tell a longer name apart.
const NAME_BYTES: usize = 17;

/// How far the scan has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanState {
    /// The end of the header has not been seen.
    Incomplete,
    /// The summary is final.
    Complete,
    /// The header is beyond a limit; refuse the message.
    TooLarge(TooLarge),
}

/// The limit that a header went over. The text suits a `552 5.3.4` reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TooLarge {
    /// More than [`MAX_HEADER_BYTES`].
    #[error("message header is longer than {MAX_HEADER_BYTES} bytes")]
    Bytes,
    /// More than [`MAX_HEADER_FIELDS`].
    #[error("message header has more than {MAX_HEADER_FIELDS} fields")]
    Fields,
}

/// What ended the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderEnd {
    /// An empty line, as it should be.
    BlankLine,
    /// A line that is neither a field nor a continuation: the body begins with that line.
    NotAField,
    /// The message ended first.
    EndOfMessage,
}

/// What submission and relay need to know of a header. Offsets are in bytes from the start of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderSummary {
    /// Number of `Received` fields, for [`crate::trace::is_loop`].
    pub received_count: u32,
    /// A `Message-ID` field is present.
    pub has_message_id: bool,
    /// A `Date` field is present.
    pub has_date: bool,
    /// A `From` field is present.
    pub has_from: bool,
    /// Number of [`PRIORITY_FIELD`] fields.
    pub priority_count: u32,
    /// Number of [`POOL_FIELD`] fields.
    pub pool_count: u32,
    /// Number of [`CAMPAIGN_FIELD`] fields.
    pub campaign_count: u32,
    /// Number of [`TRACEPARENT_FIELD`] fields.
    pub traceparent_count: u32,
    /// Number of [`TLS_REQUIRED_FIELD`] fields.
    pub tls_required_count: u32,
    /// Some octet of the header is 0x80 or above (RFC 6532 header, or a broken client).
    pub has_8bit: bool,
    /// The header is valid UTF-8; true for plain ASCII.
    pub is_utf8: bool,
    /// Number of fields.
    pub field_count: u32,
    /// Length of the fields, without the blank line.
    pub fields_end: usize,
    /// Where the body begins; equals `fields_end` when there is no blank line.
    pub body_start: usize,
    /// What ended the header.
    pub end: HeaderEnd,
}

impl HeaderSummary {
    /// True when the message begins with body text: a caller that prepends header fields must put an empty
    /// line after them, or the first body line would be read as part of the header.
    #[must_use]
    pub fn needs_separator(&self) -> bool {
        self.end == HeaderEnd::NotAField && self.field_count == 0
    }

    /// The same header after so many of its fields were taken out, which had so many bytes.
    #[must_use]
    pub fn without_fields(self, count: usize, bytes: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            field_count: self.field_count.saturating_sub(count),
            fields_end: self.fields_end.saturating_sub(bytes),
            body_start: self.body_start.saturating_sub(bytes),
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// A CR at the start of a line: a LF makes it the blank line.
    BlankCr,
    Name,
    /// Blanks between the name and its colon (RFC 5322 section 4.5 allows them).
    NameBlank,
    Value,
}

/// The scan. Feed it with [`push`](Self::push) until it is no longer [`ScanState::Incomplete`], or
/// call [`finish`](Self::finish) at the end of the message.
#[derive(Debug, Clone)]
pub struct HeaderScan {
    state: ScanState,
    at: At,
    /// Octets consumed so far.
    offset: usize,
    line_start: usize,
    name: [u8; NAME_BYTES],
    name_len: usize,
    /// Octets 0x80 and above are judged when their line turns out to be part of the header.
    utf8: Utf8Check,
    utf8_line_start: Utf8Check,
    summary: HeaderSummary,
}

impl Default for HeaderScan {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderScan {
    /// A scan that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: ScanState::Incomplete,
            at: At::LineStart,
            offset: 0,
            line_start: 0,
            name: [0; NAME_BYTES],
            name_len: 0,
            utf8: Utf8Check::default(),
            utf8_line_start: Utf8Check::default(),
            summary: HeaderSummary {
                received_count: 0,
                has_message_id: false,
                has_date: false,
                has_from: false,
                priority_count: 0,
                pool_count: 0,
                campaign_count: 0,
                traceparent_count: 0,
                tls_required_count: 0,
                has_8bit: false,
                is_utf8: true,
                field_count: 0,
                fields_end: 0,
                body_start: 0,
                end: HeaderEnd::EndOfMessage,
            },
        }
    }

    /// How far the scan has come.
    #[must_use]
    pub fn state(&self) -> ScanState {
        self.state
    }

    /// What was seen; final once the state is [`ScanState::Complete`].
    #[must_use]
    pub fn summary(&self) -> HeaderSummary {
        self.summary
    }

    /// Takes the next bytes of the message. Bytes after the end of the header are ignored.
    pub fn push(&mut self, chunk: &[u8]) -> ScanState {
        for &byte in chunk {
            if self.state != ScanState::Incomplete {
                break;
            }
            self.step(byte);
        }
        self.state
    }

    /// Says that the message has ended. The answer is never [`ScanState::Incomplete`].
    pub fn finish(&mut self) -> ScanState {
        if self.state == ScanState::Incomplete {
            match self.at {
                // A last line without a colon is body text, whatever follows.
                At::Name | At::NameBlank | At::BlankCr => self.end_not_a_field(),
                At::LineStart | At::Value => {
                    self.complete(HeaderEnd::EndOfMessage, self.offset, self.offset)
                }
            }
        }
        self.state
    }

    fn step(&mut self, byte: u8) {
        self.utf8.push(byte);
        match self.at {
            At::LineStart => self.line_start(byte),
            At::BlankCr => match byte {
                b'\n' => self.complete(HeaderEnd::BlankLine, self.line_start, self.offset + 1),
                _ => self.end_not_a_field(),
            },
            At::Name => match byte {
                b':' => self.field(),
                b' ' | b'\t' => self.at = At::NameBlank,
                0x21..=0x7e => self.name_byte(byte),
                _ => self.end_not_a_field(),
            },
            At::NameBlank => match byte {
                b':' => self.field(),
                b' ' | b'\t' => {}
                _ => self.end_not_a_field(),
            },
            At::Value => {
                if byte == b'\n' {
                    self.at = At::LineStart;
                }
            }
        }
        self.offset += 1;
        if self.state == ScanState::Incomplete && self.offset > MAX_HEADER_BYTES {
            self.state = ScanState::TooLarge(TooLarge::Bytes);
        }
    }

    fn line_start(&mut self, byte: u8) {
        self.line_start = self.offset;
        self.summary.fields_end = self.offset;
        self.utf8_line_start = self.utf8_line_start.before_line(self.utf8, byte);
        match byte {
            b'\r' => self.at = At::BlankCr,
            b'\n' => self.complete(HeaderEnd::BlankLine, self.offset, self.offset + 1),
            b' ' | b'\t' if self.summary.field_count > 0 => self.at = At::Value,
            0x21..=0x7e if byte != b':' => {
                self.name_len = 0;
                self.name_byte(byte);
                self.at = At::Name;
            }
            _ => self.end_not_a_field(),
        }
    }

    fn name_byte(&mut self, byte: u8) {
        if let Some(slot) = self.name.get_mut(self.name_len) {
            *slot = byte.to_ascii_lowercase();
            self.name_len += 1;
        }
    }

    fn field(&mut self) {
        self.at = At::Value;
        self.summary.field_count += 1;
        if self.summary.field_count > MAX_HEADER_FIELDS {
            self.state = ScanState::TooLarge(TooLarge::Fields);
            return;
        }
        match &self.name[..self.name_len] {
            b"received" => self.summary.received_count += 1,
            b"message-id" => self.summary.has_message_id = true,
            b"date" => self.summary.has_date = true,
            b"from" => self.summary.has_from = true,
            b"x-skein-priority" => self.summary.priority_count += 1,
            b"x-skein-pool" => self.summary.pool_count += 1,
            b"x-skein-campaign" => self.summary.campaign_count += 1,
            b"traceparent" => self.summary.traceparent_count += 1,
            b"tls-required" => self.summary.tls_required_count += 1,
            _ => {}
        }
    }

    fn end_not_a_field(&mut self) {
        self.complete(HeaderEnd::NotAField, self.line_start, self.line_start);
    }

    fn complete(&mut self, end: HeaderEnd, fields_end: usize, body_start: usize) {
        let seen = match end {
            HeaderEnd::NotAField => self.utf8_line_start,
            HeaderEnd::BlankLine | HeaderEnd::EndOfMessage => self.utf8,
        };
        self.summary.fields_end = fields_end;
        self.summary.body_start = body_start;
        self.summary.end = end;
        self.summary.has_8bit = seen.any;
        self.summary.is_utf8 = seen.is_valid();
        self.state = ScanState::Complete;
    }
}

/// UTF-8 validity of a stream of octets (RFC 3629: no overlong forms, no surrogates).
#[derive(Debug, Clone, Copy, Default)]
struct Utf8Check {
    any: bool,
    broken: bool,
    /// Continuation octets still to come.
    pending: u8,
    /// Bounds of the next continuation octet.
    low: u8,
    high: u8,
}

impl Utf8Check {
    fn push(&mut self, byte: u8) {
        if self.pending > 0 {
            self.broken |= byte < self.low || byte > self.high;
            self.any |= byte >= 0x80;
            self.pending -= 1;
            (self.low, self.high) = (0x80, 0xbf);
            return;
        }
        if byte < 0x80 {
            return;
        }
        self.any = true;
        (self.pending, self.low, self.high) = match byte {
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => {
                self.broken = true;
                (0, 0, 0)
            }
        };
    }

    /// The state before the line that `first` (already pushed into `now`) begins.
    fn before_line(self, now: Self, first: u8) -> Self {
        if first < 0x80 {
            now
        } else {
            // The line begins with an octet that no field name has: keep what was true before it.
            Self {
                any: self.any,
                ..self
            }
        }
    }

    fn is_valid(self) -> bool {
        !self.broken && self.pending == 0
    }
}

/// The header fields of a complete message, without the blank line: what a notification returns as
/// `text/rfc822-headers`. A header beyond [`MAX_HEADER_BYTES`] is cut at the end of a line.
#[must_use]
pub fn header_block(message: &[u8]) -> &[u8] {
    let window = &message[..message.len().min(MAX_HEADER_BYTES)];
    let mut scan = HeaderScan::new();
    scan.push(window);
    if window.len() < message.len() && scan.state() == ScanState::Incomplete {
        let cut = window
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        return &window[..cut];
    }
    scan.finish();
    &window[..scan.summary().fields_end]
}

/// True when some octet is 0x80 or above, so that the message needs `BODY=8BITMIME` (RFC 6152).
#[must_use]
pub fn has_8bit(bytes: &[u8]) -> bool {
    !bytes.is_ascii()
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
