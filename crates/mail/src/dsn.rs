//! Delivery status notifications (RFC 3461, 3464, 6522; RFC 6533 where addresses are not ASCII), all of them 7bit data.

use crate::content::Content;
use crate::encode::{self, Encoding};
use crate::header::header_block;
use crate::seven_bit::{self, Signatures};
use crate::trace::rfc5322_date;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
    Expanded,
}

impl Action {
    /// As a report has it (RFC 3464 2.3.3).
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

#[derive(Debug, Clone)]
pub enum OriginalContent {
    Headers(Vec<u8>),
    Full(Vec<u8>),
}

#[derive(Debug, Clone)]
pub enum Diagnostic {
    /// A host's reply.
    Smtp(String),
    /// Our own words.
    Local(String),
}

#[derive(Debug, Clone)]
pub struct DsnRecipient {
    pub final_recipient: String,
    /// ORCPT, decoded: `rfc822;user@example.com`.
    pub original_recipient: Option<String>,
    pub action: Action,
    pub status: (u8, u16, u16),
    pub remote_mta: Option<String>,
    pub diagnostic: Option<Diagnostic>,
    pub last_attempt_ms: Option<u64>,
    pub will_retry_until_ms: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Dsn {
    pub host: String,
    /// The return path of the original.
    pub to: String,
    /// Without angle brackets.
    pub message_id: String,
    pub at_ms: u64,
    pub reporting_mta: String,
    pub received_from_mta: Option<String>,
    pub arrival_ms: Option<u64>,
    pub envelope_id: Option<String>,
    pub recipients: Vec<DsnRecipient>,
    pub original: OriginalContent,
    pub boundary_seed: u64,
}

/// Octets of text in one line, which leaves room for a name and one encoded word within the 998 of RFC 5322 2.1.1.
const TEXT_BYTES_MAX: usize = 800;

/// Text as it may stand in one line: no control characters, and bounded.
fn line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().map(printable).collect();
    line.truncate(line.floor_char_boundary(TEXT_BYTES_MAX));
    line
}

/// The same where only ASCII may stand and nothing can be encoded.
fn ascii(text: &str) -> String {
    line(text).replace(|c: char| !c.is_ascii(), "?")
}

/// An address with its type as a report names it. Other letters have the form of RFC 6533 section 3 that needs no SMTPUTF8.
fn typed_address(address: &str) -> String {
    match address.is_ascii() {
        true => format!("rfc822; {}", line(address)),
        false => {
            let mut encoded = encode::utf8_address(address);
            encoded.truncate(TEXT_BYTES_MAX);
            format!("utf-8; {encoded}")
        }
    }
}

/// One part of a report: its label follows from its octets.
struct Part {
    kind: &'static str,
    encoding: &'static str,
    body: Vec<u8>,
}

impl Part {
    /// A part that may have an encoding.
    fn text(kind: &'static str, body: &[u8]) -> Self {
        if Content::of(body).is_7bit() {
            return Self::plain(kind, body.to_vec());
        }
        let mut encoded = Vec::new();
        Encoding::QuotedPrintable.encode(body, true, &mut encoded);
        Self {
            kind,
            encoding: Encoding::QuotedPrintable.name(),
            body: encoded,
        }
    }

    fn plain(kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            kind,
            encoding: "7bit",
            body,
        }
    }
}

impl OriginalContent {
    /// The message with what is not 7bit encoded; where that cannot be, its header.
    fn part(&self) -> Part {
        match self {
            Self::Headers(bytes) => Part::text("text/rfc822-headers", bytes),
            // A message in a report may be 7bit, 8bit or binary, and has no encoding of its own (RFC 2046 5.2.1).
            Self::Full(bytes) if Content::of(bytes).is_7bit() => {
                Part::plain("message/rfc822", bytes.clone())
            }
            Self::Full(bytes) => {
                let converted = seven_bit::convert(bytes, Signatures::MayBreak);
                match converted.ok().filter(|copy| Content::of(copy).is_7bit()) {
                    Some(copy) => Part::plain("message/rfc822", copy),
                    None => Part::text("text/rfc822-headers", header_block(bytes)),
                }
            }
        }
    }
}

impl Dsn {
    /// Whether the report must be sent with SMTPUTF8. Its content never needs it; the address that it goes to may.
    pub fn needs_smtputf8(&self) -> bool {
        !self.to.is_ascii()
    }

    /// The message with CRLF line ends; the same for the same input. It is 7bit data throughout: whatever host it goes to
    /// takes it, and a DSN that is refused has no return path.
    pub fn build(&self) -> Vec<u8> {
        let (subject, intro) = self.words();
        let parts = [
            Part::text("text/plain; charset=utf-8", self.text(intro).as_bytes()),
            Part::plain("message/delivery-status", self.status_fields().into_bytes()),
            self.original.part(),
        ];
        let boundary = self.boundary(&parts);
        let mut out = self.header(subject, &boundary).into_bytes();
        for Part {
            kind,
            encoding,
            body,
        } in &parts
        {
            let head = format!(
                "--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(body);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        out
    }

    fn header(&self, subject: &str, boundary: &str) -> String {
        // An address that no ASCII can write stands in the name of an empty group (RFC 6857 3.1.8).
        let to = match self.to.is_ascii() {
            true => format!("<{}>", line(&self.to)),
            false => format!("{} :;", encode::words(&line(&self.to))),
        };
        let host = ascii(&self.host);
        let date = rfc5322_date(self.at_ms);
        let id = ascii(&self.message_id);
        format!(
            "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\nTo: {to}\r\nSubject: {subject}\r\n\
             Date: {date}\r\nMessage-ID: <{id}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n"
        )
    }

    /// What people read.
    fn text(&self, intro: &str) -> String {
        let host = line(&self.host);
        let mut out = format!("This is the mail system at {host}.\r\n\r\n{intro}\r\n");
        for recipient in &self.recipients {
            out.push_str(&format!("\r\n<{}>\r\n", line(&recipient.final_recipient)));
            if let Some(Diagnostic::Smtp(text) | Diagnostic::Local(text)) = &recipient.diagnostic {
                let who = match (&recipient.diagnostic, &recipient.remote_mta) {
                    (Some(Diagnostic::Smtp(_)), Some(host)) => format!("{host} said: "),
                    _ => String::new(),
                };
                out.push_str(&format!("    {}\r\n", line(&format!("{who}{text}"))));
            }
        }
        out
    }

    fn status_fields(&self) -> String {
        let mut out = String::new();
        let mut field = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\r\n"));
        field(
            "Reporting-MTA",
            &format!("dns; {}", ascii(&self.reporting_mta)),
        );
        // The name that a client gave itself is left out where it is none.
        let is_plain = |text: &&String| text.is_ascii() && !text.is_empty();
        if let Some(envid) = self.envelope_id.as_ref().filter(is_plain) {
            field("Original-Envelope-Id", &line(envid));
        }
        if let Some(host) = self.received_from_mta.as_ref().filter(is_plain) {
            field("Received-From-MTA", &format!("dns; {}", line(host)));
        }
        if let Some(at) = self.arrival_ms {
            field("Arrival-Date", &rfc5322_date(at));
        }
        out.push_str("\r\n");
        for recipient in &self.recipients {
            recipient.status_fields(&mut out);
            out.push_str("\r\n");
        }
        out
    }

    fn words(&self) -> (&'static str, &'static str) {
        let all = |action: Action| {
            self.recipients
                .iter()
                .all(|recipient| recipient.action == action)
        };
        if all(Action::Delayed) {
            let intro = "Your message could not be delivered yet. You need not send it again: it is tried for longer.";
            ("Delivery delayed", intro)
        } else if self
            .recipients
            .iter()
            .any(|recipient| recipient.action == Action::Failed)
        {
            let intro = "Your message could not be delivered to the recipients below. It is not tried again.";
            ("Undelivered mail returned to sender", intro)
        } else {
            (
                "Delivery report",
                "Your message was handed on for the recipients below.",
            )
        }
    }

    /// A boundary that no part contains.
    fn boundary(&self, parts: &[Part]) -> String {
        (0u64..)
            .map(|n| format!("=_skein_{:016x}_{n}", self.boundary_seed))
            .find(|boundary| {
                let finder = memchr::memmem::Finder::new(boundary);
                parts.iter().all(|part| finder.find(&part.body).is_none())
            })
            .expect("a finite text cannot hold all boundaries")
    }
}

impl DsnRecipient {
    fn status_fields(&self, out: &mut String) {
        let mut field = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\r\n"));
        let original = self.original_recipient.as_deref();
        if let Some((kind, address)) = original.and_then(|original| original.split_once(';')) {
            // A type that is neither of the two is private, and so is its meaning.
            let typed = match kind.to_ascii_lowercase().as_str() {
                "rfc822" | "utf-8" => typed_address(address),
                _ => format!("{}; {}", ascii(kind), ascii(address)),
            };
            field("Original-Recipient", &typed);
        }
        field("Final-Recipient", &typed_address(&self.final_recipient));
        field("Action", self.action.word());
        let (class, subject, detail) = self.status;
        field("Status", &format!("{class}.{subject}.{detail}"));
        if let Some(host) = self.remote_mta.as_ref().filter(|host| host.is_ascii()) {
            field("Remote-MTA", &format!("dns; {}", line(host)));
        }
        let diagnostic = |kind: &str, text: &str| {
            let text = encode::unstructured(&line(text));
            format!("{kind}; {text}")
        };
        match &self.diagnostic {
            Some(Diagnostic::Smtp(text)) => field("Diagnostic-Code", &diagnostic("smtp", text)),
            Some(Diagnostic::Local(text)) => field("Diagnostic-Code", &diagnostic("X-Skein", text)),
            None => {}
        }
        if let Some(at) = self.last_attempt_ms {
            field("Last-Attempt-Date", &rfc5322_date(at));
        }
        if let Some(at) = self.will_retry_until_ms {
            field("Will-Retry-Until", &rfc5322_date(at));
        }
    }
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
