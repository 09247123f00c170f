//! Reads replies from a byte stream: any chunking, several replies at once, within limits.

use super::{Enhanced, Reply};

/// Longest reply line. RFC 5321 says 512 octets; real servers exceed it with links and explanations.
const LINE_MAX: usize = 4096;
/// Lines in one reply. The largest EHLO answers have about thirty.
const LINES_MAX: usize = 128;
/// Octets in one reply, all lines together.
const REPLY_MAX: usize = 64 * 1024;
/// Octets waiting to be parsed. A peer that sends more than a few whole replies ahead is not speaking SMTP.
const BUFFER_MAX: usize = 4 * REPLY_MAX;
/// Octets of a line quoted in an error.
const EXCERPT: usize = 120;

/// Why the peer's bytes are not a reply. The connection is of no use afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that does not start with a code from 200 to 599 followed by space, hyphen or its end.
    #[error("peer sent a line that is not a reply: \"{0}\"")]
    Malformed(String),
    /// A line above 4096 octets.
    #[error("peer sent a reply line of more than {LINE_MAX} octets")]
    LineTooLong,
    /// A reply above 128 lines or 64 KiB.
    #[error("peer sent a reply of more than {LINES_MAX} lines or {REPLY_MAX} octets")]
    ReplyTooLong,
    /// More than 256 KiB pushed without having been taken out as replies.
    #[error("peer sent more than {BUFFER_MAX} octets ahead")]
    TooFarAhead,
}

/// Collects bytes and gives out whole replies. Lives as long as the connection: bytes after a reply are kept
/// for the next one, which pipelining depends on.
#[derive(Debug, Default)]
pub struct ReplyReceiver {
    buffer: Vec<u8>,
    /// Start of the first line not yet parsed.
    start: usize,
    /// Everything before this offset is known to hold no line end after `start`.
    scanned: usize,
    lines: usize,
    reply_bytes: usize,
    enhanced: Option<Enhanced>,
    text: String,
    failed: Option<ReplyError>,
}

impl ReplyReceiver {
    /// An empty receiver.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes read from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.buffer.len() - self.start + bytes.len() > BUFFER_MAX {
            self.failed = Some(ReplyError::TooFarAhead);
            return;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole reply, `None` when more bytes are needed. An error is final: every later call returns it again.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end at None, here None means not yet"
    )]
    pub fn next(&mut self) -> Result<Option<Reply>, ReplyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.parse();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        self.compact();
        result
    }

    /// Whether bytes have been received that belong to no reply given out yet. Must be false before TLS starts
    /// and before a new transaction: such bytes were sent unasked.
    pub fn has_surplus(&self) -> bool {
        self.start < self.buffer.len() || self.lines > 0 || self.failed.is_some()
    }

    fn parse(&mut self) -> Result<Option<Reply>, ReplyError> {
        while let Some(length) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let end = self.scanned + length;
            let from = self.start;
            self.start = end + 1;
            self.scanned = end + 1;
            if end - from > LINE_MAX {
                return Err(ReplyError::LineTooLong);
            }
            if let Some(reply) = self.line(from, end)? {
                return Ok(Some(reply));
            }
        }
        self.scanned = self.buffer.len();
        if self.scanned - self.start > LINE_MAX {
            return Err(ReplyError::LineTooLong);
        }
        Ok(None)
    }

    fn line(&mut self, from: usize, end: usize) -> Result<Option<Reply>, ReplyError> {
        let line = &self.buffer[from..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines += 1;
        self.reply_bytes += end + 1 - from;
        if self.lines > LINES_MAX || self.reply_bytes > REPLY_MAX {
            return Err(ReplyError::ReplyTooLong);
        }
        let (code, last, text) = split(line).ok_or_else(|| malformed(line))?;
        let text = String::from_utf8_lossy(text);
        let (enhanced, text) = split_enhanced(code, &text);
        if self.lines == 1 {
            self.enhanced = enhanced;
        } else {
            self.text.push('\n');
            self.enhanced = self.enhanced.or(enhanced);
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        self.text.extend(text.chars().map(printable));
        if !last {
            return Ok(None);
        }
        self.lines = 0;
        self.reply_bytes = 0;
        // Where lines disagree on the code, the last one counts, as with most clients.
        Ok(Some(Reply {
            code,
            enhanced: self.enhanced.take(),
            text: std::mem::take(&mut self.text),
        }))
    }

    /// Drops parsed bytes once they are the larger half, so that each byte is moved at most once on average.
    fn compact(&mut self) {
        if self.start * 2 > self.buffer.len() {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
    }
}

/// Code, whether it is the last line of the reply, and the text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !(b'2'..=b'5').contains(&digits[0]) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// Takes the enhanced code off the text. One whose class contradicts the reply code stays in the text,
/// because RFC 2034 section 4 requires the two to agree.
fn split_enhanced(code: u16, text: &str) -> (Option<Enhanced>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match Enhanced::parse(word) {
        Some(enhanced) if u16::from(enhanced.class) == code / 100 => (Some(enhanced), rest),
        _ => (None, text),
    }
}

fn malformed(line: &[u8]) -> ReplyError {
    let excerpt = &line[..line.len().min(EXCERPT)];
    let printable = |c: char| if c.is_control() { '?' } else { c };
    let text = String::from_utf8_lossy(excerpt);
    ReplyError::Malformed(text.chars().map(printable).collect())
}
