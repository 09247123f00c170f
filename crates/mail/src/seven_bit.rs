//! Messages as hosts without 8BITMIME take them (RFC 6152 section 3): the same content, with other transfer encodings.
//!
//! Pure: the same message gives the same octets, so retries to equal hosts are identical. The message and its new form are
//! in memory together, which is 2.5 times the message at most but for a few fields for each part; who calls bounds that.

use thiserror::Error;

use crate::content::Content;
use crate::encode::Encoding;
use crate::mime::{Entity, MediaType, Parts, media_type, transfer_encoding};

/// Parts within parts. Real mail stays below ten; what is deeper was made to cost.
const DEPTH_MAX: usize = 32;

/// Why there is no such form of a message. The texts go on with "the message cannot be converted: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotConvertible {
    /// Field bodies have no transfer encoding.
    #[error("its header, or that of a part, has characters that are not ASCII")]
    Header,
    /// The signature is over the encoded form.
    #[error("it is signed or encrypted, which another encoding would break")]
    Signed,
    /// Bare CR or LF.
    #[error("it has a CR or LF that ends no line")]
    BareLineEnd,
    /// Readers would differ on its structure, so it is not known what to keep.
    #[error("its MIME structure is malformed")]
    Malformed,
    /// More than 32 parts within parts.
    #[error("its parts are nested too deeply")]
    TooDeep,
}

/// What is to be done with a message that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// It has no other form.
    Keep,
    /// The copy is for people to read, as in a report.
    MayBreak,
}

/// Whether the message as it is was signed or encrypted: DKIM and ARC over the whole, S/MIME and OpenPGP over parts.
/// Where the structure is not clear the answer is yes: marks of a signature count anywhere in the text.
#[must_use]
pub fn is_signed(message: &[u8]) -> bool {
    let end = crate::header::header_block(message).len();
    let is_mark = |line: &[u8]| {
        FIELDS.iter().any(|name| {
            let is_it = |start: &[u8]| start.eq_ignore_ascii_case(name.as_bytes());
            line.get(..name.len()).is_some_and(is_it)
        })
    };
    message[..end].split(|byte| *byte == b'\n').any(is_mark)
        || MARKS.iter().any(|mark| holds(message, mark.as_bytes()))
}

const FIELDS: &[&str] = &[
    "dkim-signature",
    "domainkey-signature",
    "arc-seal",
    "arc-message-signature",
];

const MARKS: &[&str] = &[
    "multipart/signed",
    "multipart/encrypted",
    "application/pkcs7",
    "application/x-pkcs7",
    "application/pgp",
    "-----begin pgp",
];

/// `mark` is in lower case.
fn holds(text: &[u8], mark: &[u8]) -> bool {
    let first = mark[0];
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), text).any(|at| {
        let here = text.get(at..at + mark.len());
        here.is_some_and(|here| here.eq_ignore_ascii_case(mark))
    })
}

/// The message with each bare CR or LF made a CRLF, which is what `bare_newlines = "fix"` makes of it when it comes in.
/// At most twice as long.
#[must_use]
pub fn with_line_ends(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 16);
    let mut rest = message;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n");
        let is_whole = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if is_whole { 2 } else { 1 }..];
    }
    out.extend_from_slice(rest);
    out
}

/// The message with all content in 7bit data: parts that are not get an encoding of their own, and parts that hold others
/// the label that follows from it (RFC 2045 section 6.4). A part that is 7bit already stays as it is.
///
/// # Errors
/// There is no such form, or it would break a signature that is to be kept.
pub fn convert(message: &[u8], signatures: Signatures) -> Result<Vec<u8>, NotConvertible> {
    if Content::of(message).has_bare_line_end {
        return Err(NotConvertible::BareLineEnd);
    }
    if signatures == Signatures::Keep && is_signed(message) {
        return Err(NotConvertible::Signed);
    }
    let mut out = Vec::with_capacity(message.len() + message.len() / 3);
    let whole = EntityContext {
        default: MediaType::new("text", "plain"),
        depth: 0,
        is_message: true,
        // The last line of a message is a whole one.
        closes_line: true,
        signatures,
    };
    whole.convert(message, &mut out)?;
    Ok(out)
}

/// What an entity is in, as far as it bears on its form.
struct EntityContext {
    /// What it is without a Content-Type.
    default: MediaType,
    depth: usize,
    /// A message, not a part: MIME-Version belongs there.
    is_message: bool,
    closes_line: bool,
    signatures: Signatures,
}

/// What is used of an entity's fields.
struct Labels {
    media: MediaType,
    has_media: bool,
    has_version: bool,
    /// In lower case.
    encoding: Option<String>,
}

impl Labels {
    /// None if a field is there twice or cannot be read.
    fn of(entity: &Entity<'_>, default: &MediaType) -> Option<Self> {
        let mut media = None;
        let mut encoding = None;
        let mut has_version = false;
        for field in entity.fields() {
            if field.is("content-type") {
                let is_first = media.replace(media_type(field.value)?).is_none();
                is_first.then_some(())?;
            } else if field.is("content-transfer-encoding") {
                let value = transfer_encoding(field.value);
                let is_first = encoding.replace(value).is_none();
                is_first.then_some(())?;
            } else if field.is("mime-version") {
                has_version = true;
            }
        }
        Some(Self {
            has_media: media.is_some(),
            media: media.unwrap_or_else(|| default.clone()),
            has_version,
            encoding,
        })
    }

    /// The octets of the body are the content itself.
    fn is_identity(&self) -> bool {
        let encoding = self.encoding.as_deref();
        matches!(encoding, None | Some("7bit" | "8bit" | "binary"))
    }

    fn claims_more_than_7bit(&self) -> bool {
        matches!(self.encoding.as_deref(), Some("8bit" | "binary"))
    }
}

impl EntityContext {
    fn convert(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotConvertible> {
        if self.depth > DEPTH_MAX {
            return Err(NotConvertible::TooDeep);
        }
        let is_7bit = Content::of(bytes).is_7bit();
        let converted = out.len();
        let result = match Entity::parse(bytes) {
            Some(entity) => self.convert_entity(&entity, is_7bit, out),
            None => Err(NotConvertible::Malformed),
        };
        if result == Err(NotConvertible::Signed) && is_7bit {
            // It stays as it is, and needs nothing.
            out.truncate(converted);
            out.extend_from_slice(bytes);
            return Ok(());
        }
        result
    }

    fn convert_entity(
        &self,
        entity: &Entity<'_>,
        is_7bit: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NotConvertible> {
        if !entity.fields.is_ascii() {
            return Err(NotConvertible::Header);
        }
        if !entity.fields.is_empty() && !entity.fields.ends_with(b"\r\n") {
            // It ends in the middle of a field.
            return Err(NotConvertible::Malformed);
        }
        let labels = Labels::of(entity, &self.default).ok_or(NotConvertible::Malformed)?;
        let media = &labels.media;
        let is_sealed = matches!(media.subtype.as_str(), "signed" | "encrypted");
        match media.kind.as_str() {
            "multipart" if is_sealed && self.signatures == Signatures::Keep => {
                Err(NotConvertible::Signed)
            }
            "multipart" => self.convert_parts(entity, &labels, out),
            "message" if media.subtype == "rfc822" => self.convert_message(entity, &labels, out),
            // Others of its kind must be 7bit (RFC 2046 section 5.2), but for those that may be encoded (RFC 6532, 6533).
            "message" if !media.subtype.starts_with("global") && !is_7bit => {
                Err(NotConvertible::Malformed)
            }
            _ => self.convert_leaf(entity, &labels, out),
        }
    }

    fn convert_parts(
        &self,
        entity: &Entity<'_>,
        labels: &Labels,
        out: &mut Vec<u8>,
    ) -> Result<(), NotConvertible> {
        let boundary = labels.media.boundary.as_deref();
        let boundary = boundary.ok_or(NotConvertible::Malformed)?;
        let parts = Parts::split(entity.body, boundary).ok_or(NotConvertible::Malformed)?;
        // Preamble and epilogue are no content, and have no encoding.
        let around = parts.preamble.is_ascii() && parts.rest.is_ascii();
        // Of a part that nothing closes, readers differ on where it ends and whether they decode it.
        let is_closed = !parts.rest.is_empty();
        if !around || !is_closed || !labels.is_identity() {
            return Err(NotConvertible::Malformed);
        }
        self.write_fields(entity, labels, None, out);
        out.extend_from_slice(parts.preamble);
        let default = match labels.media.subtype.as_str() {
            "digest" => MediaType::new("message", "rfc822"),
            _ => MediaType::new("text", "plain"),
        };
        for (number, (line, part)) in parts.parts.iter().enumerate() {
            if number > 0 {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(line);
            let context = Self {
                default: default.clone(),
                depth: self.depth + 1,
                is_message: false,
                closes_line: false,
                signatures: self.signatures,
            };
            context.convert(part, out)?;
        }
        out.extend_from_slice(parts.rest);
        Ok(())
    }

    fn convert_message(
        &self,
        entity: &Entity<'_>,
        labels: &Labels,
        out: &mut Vec<u8>,
    ) -> Result<(), NotConvertible> {
        if !labels.is_identity() {
            return Err(NotConvertible::Malformed);
        }
        self.write_fields(entity, labels, None, out);
        let context = Self {
            default: MediaType::new("text", "plain"),
            depth: self.depth + 1,
            is_message: true,
            closes_line: self.closes_line,
            signatures: self.signatures,
        };
        context.convert(entity.body, out)
    }

    fn convert_leaf(
        &self,
        entity: &Entity<'_>,
        labels: &Labels,
        out: &mut Vec<u8>,
    ) -> Result<(), NotConvertible> {
        let content = Content::of(entity.body);
        if content.is_7bit() || !labels.is_identity() {
            // An encoded body has its lines already; other octets in it mean nothing.
            if content.has_8bit {
                return Err(NotConvertible::Malformed);
            }
            self.write_fields(entity, labels, None, out);
            out.extend_from_slice(entity.body);
            return Ok(());
        }
        let encoding = Encoding::best_for(entity.body, labels.media.kind == "text");
        self.write_fields(entity, labels, Some(encoding), out);
        encoding.encode(entity.body, self.closes_line, out);
        Ok(())
    }

    /// The fields with the label of the encoding, or with that of 7bit data where they claim more.
    fn write_fields(
        &self,
        entity: &Entity<'_>,
        labels: &Labels,
        encoding: Option<Encoding>,
        out: &mut Vec<u8>,
    ) {
        let label = match encoding {
            Some(encoding) => Some(encoding.name()),
            None => labels.claims_more_than_7bit().then_some("7bit"),
        };
        let mut line = label.map(|label| format!("Content-Transfer-Encoding: {label}\r\n"));
        let is_changed = line.is_some();
        for field in entity.fields() {
            match line.take_if(|_| field.is("content-transfer-encoding")) {
                Some(line) => out.extend_from_slice(line.as_bytes()),
                None => out.extend_from_slice(field.raw),
            }
        }
        if is_changed && self.is_message {
            self.add_meaning(entity, labels, encoding.is_some(), out);
        }
        if let Some(line) = line {
            out.extend_from_slice(line.as_bytes());
        }
        if entity.has_blank {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Adds what a message lacks for its label to mean something. The letters of one without Content-Type are not
    /// named; RFC 1428 has a name for that.
    fn add_meaning(
        &self,
        entity: &Entity<'_>,
        labels: &Labels,
        is_encoded: bool,
        out: &mut Vec<u8>,
    ) {
        if !labels.has_version {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        if !labels.has_media && is_encoded {
            let charset = match std::str::from_utf8(entity.body) {
                Ok(_) => "utf-8",
                Err(_) => "unknown-8bit",
            };
            let field = format!("Content-Type: text/plain; charset={charset}\r\n");
            out.extend_from_slice(field.as_bytes());
        }
    }
}

#[cfg(test)]
#[path = "seven_bit_tests.rs"]
mod tests;
