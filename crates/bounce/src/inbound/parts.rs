//! The parts of a message, as far as reports need them, of whatever has the look of MIME.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use skein_mail::field::field_values;
use skein_mail::mime::{MediaType, Parts, media_type, transfer_encoding};

use crate::fold::text_of;
use crate::inbound::html::text_of_html;

/// Octets of a message that are read. Reports with whole messages in them are longer; what counts stands before those.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Parts of a message: a report has three, one per recipient in rare ones.
pub(crate) const PARTS_MAX: usize = 100;
/// Parts within parts; each level costs one pass over the octets.
const DEPTH_MAX: usize = 10;
/// Octets of a header.
const HEADER_BYTES_MAX: usize = 256 << 10;

/// A part that has no others, or a message within.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    pub media: MediaType,
    pub header: &'a [u8],
    pub body: &'a [u8],
}

impl Part<'_> {
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.media.kind == kind && self.media.subtype == subtype
    }

    /// A message that came back, or the header of one.
    pub fn is_returned(&self) -> bool {
        let subtype = self.media.subtype.as_str();
        match self.media.kind.as_str() {
            "message" => matches!(
                subtype,
                "rfc822" | "global" | "rfc822-headers" | "global-headers" | "news"
            ),
            "text" => matches!(subtype, "rfc822-headers" | "rfc822-header"),
            _ => false,
        }
    }

    pub fn is_text(&self) -> bool {
        self.media.kind == "text" && !self.is_returned()
    }

    /// The octets without their transfer encoding. What is malformed stays as it is.
    pub fn octets(&self) -> Vec<u8> {
        let encoding = field_values(self.header, "Content-Transfer-Encoding");
        let encoding = encoding
            .first()
            .map(|value| transfer_encoding(value.as_bytes()));
        let decoded = match encoding.as_deref() {
            Some("base64") => base64_decode(self.body),
            Some("quoted-printable") => quoted_printable_decode(self.body),
            _ => None,
        };
        decoded.unwrap_or_else(|| self.body.to_vec())
    }

    /// As text for people, whatever it was.
    pub fn text(&self) -> String {
        let charset = self.media.charset.as_deref().unwrap_or_default();
        let text = text_of(&self.octets(), charset);
        match self.media.subtype == "html" {
            true => text_of_html(&text),
            false => text,
        }
    }
}

/// The message with CRLF at each line end, and no more of it than is read.
pub(crate) fn with_crlf(message: &[u8]) -> Vec<u8> {
    let message = &message[..MESSAGE_BYTES_MAX.min(message.len())];
    let mut out = Vec::with_capacity(message.len() + message.len() / 16);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// Divides a message with CRLF into header and body. Empty lines and a line of a mailbox file may stand before; without any field
/// all is body.
pub(crate) fn split_header(message: &[u8]) -> (&[u8], &[u8]) {
    let mut start = message.len() - message.trim_ascii_start().len();
    let mut rest = &message[start..];
    if rest.starts_with(b"From ") || rest.starts_with(b">From ") {
        let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        start += line;
        rest = &message[start..];
    }
    let is_field = rest
        .split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| {
            let colon = memchr::memchr(b':', line).unwrap_or_default();
            let name = line[..colon].trim_ascii_end();
            !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
        });
    if !is_field {
        return (&[], rest);
    }
    let end = memchr::memmem::find(rest, b"\r\n\r\n");
    let end = end.map_or(rest.len(), |at| at + 2);
    let header = &rest[..end.min(HEADER_BYTES_MAX)];
    (header, rest.get(end + 2..).unwrap_or_default())
}

/// The parts of a message in their order, without those of messages within it.
pub(crate) fn parts(message: &[u8]) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    walk(message, 0, &mut found);
    found
}

fn walk<'a>(entity: &'a [u8], depth: usize, found: &mut Vec<Part<'a>>) {
    if found.len() >= PARTS_MAX || depth > DEPTH_MAX {
        return;
    }
    // A part may begin with its empty line; a message may not.
    let (header, body) = match entity.strip_prefix(b"\r\n") {
        Some(body) if depth > 0 => (&entity[..0], body),
        _ => split_header(entity),
    };
    let media = media_of(header);
    if media.kind == "multipart"
        && let Some(boundary) = &media.boundary
        && let Some(inner) = Parts::split(body, boundary)
    {
        for (_, part) in inner.parts {
            walk(part, depth + 1, found);
        }
        return;
    }
    found.push(Part {
        media,
        header,
        body,
    });
}

/// The media type of a header; `text/plain` if it has none. Many write one that is malformed.
pub(crate) fn media_of(header: &[u8]) -> MediaType {
    let values = field_values(header, "Content-Type");
    let Some(value) = values.first() else {
        return MediaType::new("text", "plain");
    };
    media_type(value.as_bytes()).unwrap_or_else(|| malformed(value))
}

fn malformed(value: &str) -> MediaType {
    let lower = value.to_ascii_lowercase();
    let name = lower.split([';', ' ']).next().unwrap_or_default();
    let (kind, subtype) = name.split_once('/').unwrap_or(("text", "plain"));
    let mut media = MediaType::new(kind, subtype);
    let after = |name: &str| {
        let at = lower.find(name)? + name.len();
        let rest = value.get(at..)?.trim_start_matches([' ', '"']);
        let end = rest.find(['"', ';']).unwrap_or(rest.len());
        Some(rest[..end].trim().to_owned()).filter(|text| !text.is_empty())
    };
    media.boundary = after("boundary=");
    media.charset = after("charset=");
    media
}
