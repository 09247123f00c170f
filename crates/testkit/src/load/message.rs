use std::sync::Arc;
use std::time::Duration;

use crate::sink::Tail;

/// The header that names a test message; the oracle finds it in deliveries and in DSNs.
pub const TEST_ID_HEADER: &str = "X-Test-Id";

/// The header that says how many bytes were injected: delivered ones may have headers in front.
pub const TEST_BYTES_HEADER: &str = "X-Test-Bytes";

/// The first occurrence of a field at a line start, in the head or in an attached message.
pub(crate) fn header(message: &[u8], name: &str) -> Option<String> {
    message
        .split(|byte| *byte == b'\n')
        .find_map(|line| field(line, name))
}

/// The value if the line is this field.
pub(crate) fn field(line: &[u8], name: &str) -> Option<String> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found
        .eq_ignore_ascii_case(name.as_bytes())
        .then(|| String::from_utf8_lossy(value).trim().to_owned())
}

/// What the client was told about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx after the dot.
    Acked { reply: String },
    /// A negative reply; code 0 if it never got as far as the dot.
    Refused { code: u16, reply: String },
    /// The connection ended between the dot and the reply: it may have been taken or not.
    Unknown,
}

/// One message that was offered.
#[derive(Debug, Clone)]
pub struct Injected {
    pub id: String,
    /// The return path; empty for `<>`.
    pub sender: String,
    /// The recipients whose RCPT was accepted (all of them if the message was never offered).
    pub recipients: Vec<String>,
    pub outcome: Outcome,
    /// When the outcome was known, in milliseconds since the Unix epoch; 0 before.
    pub answered_at_ms: u64,
    /// From the end mark to its reply.
    pub waited: Duration,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// Made again when needed, so that a long run does not keep all its bytes.
    /// `to` is kept apart from the recipients, some of which a server may refuse.
    Generated {
        to: String,
        bytes: usize,
    },
    Given(Arc<[u8]>),
}

impl Injected {
    /// A message whose bytes follow from its id and size.
    pub fn generated(id: &str, sender: &str, recipients: Vec<String>, bytes: usize) -> Self {
        let to = recipients
            .first()
            .map_or("nobody", String::as_str)
            .to_owned();
        Self::new(id, sender, recipients, Content::Generated { to, bytes })
    }

    /// A message with given bytes, which must carry the `X-Test-Id` header with this id.
    pub fn given(id: &str, sender: &str, recipients: Vec<String>, data: &[u8]) -> Self {
        Self::new(id, sender, recipients, Content::Given(data.into()))
    }

    fn new(id: &str, sender: &str, recipients: Vec<String>, content: Content) -> Self {
        Self {
            id: id.to_owned(),
            sender: sender.to_owned(),
            recipients,
            outcome: Outcome::Refused {
                code: 0,
                reply: "not offered yet".to_owned(),
            },
            answered_at_ms: 0,
            waited: Duration::ZERO,
            content,
        }
    }

    pub fn acked(&self) -> bool {
        matches!(self.outcome, Outcome::Acked { .. })
    }

    /// The node's id of the message, from `queued as <id>` in the reply to the dot.
    pub fn queued_as(&self) -> Option<&str> {
        let Outcome::Acked { reply } = &self.outcome else {
            return None;
        };
        let (_, id) = reply.split_once("queued as ")?;
        id.split_whitespace().next()
    }

    /// DATA cannot carry a last line without CRLF, so a missing one may have been added.
    pub(crate) fn is_end_of(&self, arrived: &[u8]) -> bool {
        let mut data = self.data();
        if arrived.ends_with(&data) && (data.ends_with(b"\r\n") || !arrived.ends_with(b"\r\n")) {
            return true;
        }
        data.extend_from_slice(b"\r\n");
        arrived.ends_with(&data)
    }

    /// The same by the hash of the end.
    pub(crate) fn has_tail(&self, tail: &Tail) -> bool {
        let data = self.data();
        *tail == Tail::of(&data, data.len() as u64)
    }

    /// The message bytes, not dot-stuffed.
    pub fn data(&self) -> Vec<u8> {
        match &self.content {
            Content::Given(data) => data.to_vec(),
            Content::Generated { to, bytes } => self.generate(to, *bytes),
        }
    }

    fn generate(&self, to: &str, bytes: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes);
        let mut line = 0_u64;
        let head = self.head(to, "0000000000");
        while head.len() + text.len() < bytes {
            // Some lines begin with a dot, so that stuffing is always tested.
            let dot = if line.is_multiple_of(7) { "." } else { "" };
            let id = &self.id;
            let next = format!("{dot}line {line} of {id} abcdefghijklmnopqrstuvwxyz0123456789\r\n");
            text.extend_from_slice(next.as_bytes());
            line += 1;
        }
        let total = format!("{:010}", head.len() + text.len());
        let mut data = self.head(to, &total).into_bytes();
        data.append(&mut text);
        data
    }

    /// The size is ten digits, so that it does not change the size.
    fn head(&self, to: &str, size: &str) -> String {
        let (sender, id) = (&self.sender, &self.id);
        format!(
            "From: <{sender}>\r\nTo: <{to}>\r\nSubject: test message {id}\r\n\
             Date: Mon, 06 Jul 2026 12:00:00 +0000\r\nMessage-ID: <{id}@load.skein.test>\r\n\
             {TEST_ID_HEADER}: {id}\r\n{TEST_BYTES_HEADER}: {size}\r\n\r\n"
        )
    }

    /// The bytes for DATA: dots stuffed, a final CRLF, the end mark.
    pub(super) fn wire(&self) -> Vec<u8> {
        let data = self.data();
        let mut wire = Vec::with_capacity(data.len() + data.len() / 50 + 8);
        let mut at_line_start = true;
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            if at_line_start && line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
            at_line_start = line.ends_with(b"\r\n");
        }
        if !data.is_empty() && !data.ends_with(b"\r\n") {
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }
}
