//! Complaints of people who got mail: ARF (RFC 5965), and what some send in its place.

use std::net::IpAddr;

use mail_auth::report::Feedback;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};
use skein_attribution::{Attributed, Keys, Refused};
use skein_mail::field::field_values;
use skein_model::UnixMs;

use crate::key::{clipped, clipped_lower, seconds};
use crate::tokens::{Place, TokenText, Tokens, attribute};

/// Octets of a message that are read: a report, and the header of the message that it is about.
const READ_BYTES_MAX: usize = 1 << 20;
/// Octets of a header that came back.
const HEADER_BYTES_MAX: usize = 256 << 10;
/// Octets of a report's own fields.
const FIELDS_BYTES_MAX: usize = 64 << 10;
/// Addresses, and names of domains, that are kept.
const NAMES_MAX: usize = 16;

/// What is said of the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Abuse,
    Fraud,
    Virus,
    /// It is no spam after all (RFC 6430): what followed from a complaint is undone.
    NotSpam,
    /// Not of a person: a check failed (RFC 6591).
    AuthFailure,
    /// The person wants no more of it.
    OptOut,
    OptOutList,
    Miscategorized,
    /// Nothing, or a word that nobody registered. It is a complaint.
    Other,
}

impl Kind {
    fn of(word: &str) -> Self {
        const WORDS: &[(&str, Kind)] = &[
            ("abuse", Kind::Abuse),
            ("fraud", Kind::Fraud),
            ("virus", Kind::Virus),
            ("not-spam", Kind::NotSpam),
            ("auth-failure", Kind::AuthFailure),
            ("opt-out", Kind::OptOut),
            ("opt-out-list", Kind::OptOutList),
            ("miscategorized", Kind::Miscategorized),
        ];
        let known = WORDS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        known.map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// One report. All texts are those of the reporter, clipped; only a token that verifies says whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub kind: Kind,
    /// Feedback-Type as it stands there; empty if there is none.
    pub word: String,
    pub user_agent: Option<String>,
    pub original_mail_from: Option<String>,
    /// Without those that the reporter took out.
    pub original_rcpt_to: Vec<String>,
    pub source_ip: Option<IpAddr>,
    pub arrival: Option<UnixMs>,
    pub reported_domains: Vec<String>,
    /// How many the report stands for.
    pub incidents: u32,
    /// In the order of trust.
    pub tokens: Vec<TokenText>,
}

impl Complaint {
    /// What the first token that verifies says.
    ///
    /// # Errors
    /// None does: why the last one does not, or [`Refused::Malformed`] if there is none.
    pub fn attribute(&self, keys: &Keys, now: UnixMs) -> Result<Attributed, Refused> {
        attribute(&self.tokens, keys, now)
    }
}

/// Reads a complaint. None if the message is none.
#[must_use]
pub fn read(message: &[u8]) -> Option<Complaint> {
    let raw = &message[..READ_BYTES_MAX.min(message.len())];
    let message = MessageParser::new().parse(raw)?;
    let fields = message.parts.iter().find(|part| is_feedback(part));
    let originals = originals(&message, raw);
    let original = originals.first().map(Vec::as_slice).unwrap_or_default();
    let mut complaint = match fields {
        Some(part) => of_fields(part.contents()),
        None if is_apple(header(raw)) => empty(Kind::OptOut, "X-Apple-Unsubscribe"),
        // What Microsoft sent before it sent ARF.
        None if !field_values(original, ORIGINAL_RECIPIENT).is_empty() => empty(Kind::Abuse, ""),
        None => return None,
    };
    let recipients = field_values(original, ORIGINAL_RECIPIENT);
    add_addresses(&mut complaint.original_rcpt_to, &recipients);
    complaint.tokens = tokens(&message, header(raw), &originals, &complaint);
    Some(complaint)
}

/// Of Microsoft's reports until 2026.
const ORIGINAL_RECIPIENT: &str = "X-HmXmrOriginalRecipient";

fn is_feedback(part: &MessagePart<'_>) -> bool {
    part.is_content_type("message", "feedback-report")
        && !matches!(part.body, PartType::Multipart(_) | PartType::Message(_))
}

fn is_apple(header: &[u8]) -> bool {
    let values = field_values(header, "X-Apple-Unsubscribe");
    values
        .iter()
        .any(|value| value.eq_ignore_ascii_case("true"))
}

fn empty(kind: Kind, word: &str) -> Complaint {
    Complaint {
        kind,
        word: word.to_owned(),
        user_agent: None,
        original_mail_from: None,
        original_rcpt_to: Vec::new(),
        source_ip: None,
        arrival: None,
        reported_domains: Vec::new(),
        incidents: 1,
        tokens: Vec::new(),
    }
}

/// Reads the fields of a report. The library reads no report whose type it does not know, so it is told one that it knows.
fn of_fields(fields: &[u8]) -> Complaint {
    let fields = &fields[..FIELDS_BYTES_MAX.min(fields.len())];
    let word = field_values(fields, "Feedback-Type")
        .first()
        .map(|word| clipped(word));
    let word = word.unwrap_or_default();
    let mut told = b"Feedback-Type: other\r\n".to_vec();
    let mut is_taken = false;
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            is_taken = name.trim_ascii().eq_ignore_ascii_case(b"feedback-type");
        }
        if !is_taken {
            told.extend_from_slice(line);
        }
    }
    told.extend_from_slice(b"\r\n");
    let mut complaint = empty(Kind::of(&word), "");
    complaint.word = word;
    let Some(feedback) = Feedback::parse_arf(&told) else {
        return complaint;
    };
    complaint.user_agent = feedback.user_agent.as_deref().map(clipped);
    let mut from = Vec::new();
    add_addresses(&mut from, &field_values(fields, "Original-Mail-From"));
    complaint.original_mail_from = from.into_iter().next();
    for name in ["Original-Rcpt-To", "Removal-Recipient"] {
        add_addresses(&mut complaint.original_rcpt_to, &field_values(fields, name));
    }
    complaint.source_ip = feedback.source_ip;
    let arrival = feedback.arrival_date.and_then(|at| u64::try_from(at).ok());
    complaint.arrival = arrival.map(seconds);
    let domains = feedback.reported_domain.iter().take(NAMES_MAX);
    complaint.reported_domains = domains.map(|domain| clipped_lower(domain)).collect();
    complaint.incidents = feedback.incidents.max(1);
    complaint
}

/// Adds addresses, each once. What has no `@` was taken out by the reporter.
fn add_addresses(to: &mut Vec<String>, values: &[String]) {
    for value in values {
        let value = match value.split_once(';') {
            Some((kind, address)) if kind.trim().eq_ignore_ascii_case("rfc822") => address,
            _ => value,
        };
        let address = clipped(value.trim().trim_matches(['<', '>']));
        let is_redacted = !address.contains('@') || address.to_lowercase().contains("redacted");
        if !is_redacted && to.len() < NAMES_MAX && !to.contains(&address) {
            to.push(address);
        }
    }
}

/// The headers of messages that came back, whole or without their bodies.
fn originals(message: &Message<'_>, raw: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for part in &message.parts {
        let whole = match &part.body {
            PartType::Message(inner) => match &inner.raw_message {
                // A message within that was encoded has octets of its own.
                std::borrow::Cow::Owned(decoded) => decoded.as_slice(),
                std::borrow::Cow::Borrowed(_) => {
                    let range = part.offset_body as usize..part.offset_end as usize;
                    raw.get(range).unwrap_or_default()
                }
            },
            PartType::Multipart(_) => continue,
            _ if part.is_content_type("text", "rfc822-headers") => part.contents(),
            _ if part.is_content_type("message", "rfc822-headers") => part.contents(),
            _ => continue,
        };
        found.push(header(whole).to_vec());
        if found.len() == NAMES_MAX {
            break;
        }
    }
    found
}

/// What stands before the first empty line.
fn header(message: &[u8]) -> &[u8] {
    let mut end = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let is_blank = line.trim_ascii().is_empty();
        // Some reporters put an empty line before the header.
        if (is_blank && end > 0 && !message[..end].trim_ascii().is_empty())
            || end > HEADER_BYTES_MAX
        {
            break;
        }
        end += line.len();
    }
    message[..end.min(HEADER_BYTES_MAX)].trim_ascii_start()
}

fn tokens(
    message: &Message<'_>,
    report: &[u8],
    originals: &[Vec<u8>],
    complaint: &Complaint,
) -> Vec<TokenText> {
    let mut tokens = Tokens::default();
    for (name, place) in [
        ("X-Skein-Ref", Place::Reference),
        ("Return-Path", Place::ReturnPath),
        ("Message-ID", Place::MessageId),
        ("List-Unsubscribe", Place::ListUnsubscribe),
    ] {
        for value in originals
            .iter()
            .flat_map(|header| field_values(header, name))
        {
            tokens.add(place, &value);
        }
        if let (Place::ReturnPath, Some(from)) = (place, &complaint.original_mail_from) {
            tokens.add(place, from);
        }
    }
    for header in originals {
        tokens.add(Place::OtherField, &String::from_utf8_lossy(header));
    }
    for name in ["To", "Subject", "In-Reply-To", "References"] {
        for value in field_values(report, name) {
            tokens.add(Place::Report, &value);
        }
    }
    for part in message.parts.iter().take(NAMES_MAX) {
        if let PartType::Text(text) = &part.body {
            tokens.add(Place::Text, text);
        }
    }
    tokens.finish()
}

#[cfg(test)]
#[path = "complaint_tests.rs"]
mod tests;
