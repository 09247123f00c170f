//! What came back of the message that a report is about, and whether that was a report itself.

use skein_mail::field::field_values;

use crate::fold::cut;
use crate::inbound::found::Returned;
use crate::inbound::lines::Lines;
use crate::inbound::parts::{Part, media_of, split_header};

/// Octets of a header that came back: as many as are searched for tokens.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Addresses that an answer was sent to.
const TO_MAX: usize = 16;

/// The places of an answer. `text_end`: the line of its text behind which a message may follow.
pub(crate) fn returned(
    header: &[u8],
    parts: &[Part<'_>],
    lines: &Lines<'_>,
    text_end: usize,
) -> Returned {
    let back = parts.iter().find(|part| part.is_returned());
    let back = match back {
        Some(part) => header_of(part),
        None => in_text(lines, text_end),
    };
    let first = |name| field_values(back.as_bytes(), name).into_iter().next();
    let referred = || {
        let ids = ["In-Reply-To", "References", "X-Original-Message-ID"];
        ids.iter()
            .find_map(|name| field_values(header, name).into_iter().next())
    };
    Returned {
        to: to(header),
        return_path: first("Return-Path").map(|value| value.trim_matches(['<', '>']).to_owned()),
        message_id: first("Message-ID").or_else(referred),
        header: back,
    }
}

fn header_of(part: &Part<'_>) -> String {
    let octets = part.octets();
    let octets = octets.trim_ascii_start();
    let whole = match part.media.subtype.ends_with("headers") || part.media.kind == "text" {
        true => octets,
        false => split_header(octets).0,
    };
    // A message without any field that can be read is taken as it is.
    let header = if whole.is_empty() { octets } else { whole };
    let header = String::from_utf8_lossy(&header[..HEADER_BYTES_MAX.min(header.len())]);
    cut(&header, HEADER_BYTES_MAX).to_owned()
}

/// What follows a report in its text, without the marks and blanks that some put before each line.
fn in_text(lines: &Lines<'_>, end: usize) -> String {
    let mut header = String::new();
    for line in lines.raw.iter().skip(end) {
        if header.len() + line.len() > HEADER_BYTES_MAX {
            break;
        }
        header.push_str(line.strip_prefix("> ").unwrap_or(line));
        header.push_str("\r\n");
    }
    header
}

/// Whom an answer was sent to, by its header.
fn to(header: &[u8]) -> Vec<String> {
    let names = [
        "Delivered-To",
        "X-Original-To",
        "Envelope-To",
        "X-Delivered-To",
        "To",
    ];
    let values = names.iter().flat_map(|name| field_values(header, name));
    let mut found: Vec<String> = Vec::new();
    for value in values {
        for address in value.split(',').filter_map(crate::address::in_text) {
            if found.len() < TO_MAX && !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// Whether what came back was a report: it had no return path, or is one by its type.
pub(crate) fn was_report(header: &str) -> bool {
    let header = header.as_bytes();
    let first = |name| field_values(header, name).into_iter().next();
    let media = media_of(header);
    let is_typed = media.kind == "multipart"
        && media.subtype == "report"
        && first("Content-Type")
            .is_some_and(|value| value.to_ascii_lowercase().contains("delivery-status"));
    first("Return-Path").is_some_and(|path| path == "<>") || is_typed
}
