//! A message whose HTML is rewritten. What is no HTML of it stays as it is, octet by octet.

use std::borrow::Cow;

use memchr::memmem;
use skein_mail::encode::Encoding;
use skein_mail::mime::{
    Entity, MediaType, Parts, disposition, lines, media_type, transfer_encoding,
};

use crate::encoding::{from_base64, from_quoted_printable, is_utf8};
use crate::rewrite::{HTML_BYTES_MAX, Link, Mark, Options, PARTS_MAX, Untouched, rewrite};

/// Parts within parts; real mail has four.
const DEPTH_MAX: usize = 10;
/// RFC 5322 2.1.1.
const LINE_BYTES_MAX: usize = 998;

/// A message, whether or not anything of it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrittenMessage<'a> {
    pub message: Cow<'a, [u8]>,
    pub links: Vec<Link>,
    pub has_pixel: bool,
    /// Why nothing was changed, or else why one of its HTML parts was left.
    pub untouched: Option<Untouched>,
}

/// Rewrites each text/html part that is no attachment; the pixel goes into the first. A message that is signed, or that readers
/// would not agree on, is left as it is. The same input gives the same octets.
pub fn rewrite_message<'a>(
    message: &'a [u8],
    options: &Options<'_>,
    mut sign: impl FnMut(Mark<'_>) -> Option<String>,
) -> RewrittenMessage<'a> {
    let mut walk = Walk {
        options: *options,
        sign: &mut sign,
        out: Vec::new(),
        parts: 0,
        links: Vec::new(),
        has_pixel: false,
        is_changed: false,
        untouched: None,
    };
    let default = MediaType::new("text", "plain");
    let result = walk.entity(message, &default, 0);
    let untouched = result.err().or(walk.untouched);
    match result.is_ok() && walk.is_changed {
        true => RewrittenMessage {
            message: Cow::Owned(walk.out),
            links: walk.links,
            has_pixel: walk.has_pixel,
            untouched,
        },
        false => RewrittenMessage {
            message: Cow::Borrowed(message),
            links: Vec::new(),
            has_pixel: false,
            untouched: untouched.or(Some(Untouched::Nothing)),
        },
    }
}

struct Walk<'w> {
    options: Options<'w>,
    sign: &'w mut dyn FnMut(Mark<'_>) -> Option<String>,
    out: Vec<u8>,
    parts: usize,
    links: Vec<Link>,
    has_pixel: bool,
    is_changed: bool,
    untouched: Option<Untouched>,
}

/// What is used of an entity's fields.
struct Labels {
    media: MediaType,
    encoding: Transfer,
    is_attachment: bool,
    has_version: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transfer {
    Identity,
    QuotedPrintable,
    Base64,
    Unknown,
}

/// Fields of signatures over the whole.
const SIGNATURES: &[&str] = &[
    "dkim-signature",
    "domainkey-signature",
    "arc-seal",
    "arc-message-signature",
];

impl Labels {
    fn of(entity: &Entity<'_>, default: &MediaType) -> Result<Self, Untouched> {
        let (mut media, mut encoding) = (None, None);
        let (mut is_attachment, mut has_version) = (false, false);
        for field in entity.fields() {
            if SIGNATURES.iter().any(|name| field.is(name)) {
                return Err(Untouched::Signed);
            } else if field.is("content-type") {
                let value = media_type(field.value).ok_or(Untouched::Malformed)?;
                first(&mut media, value)?;
            } else if field.is("content-transfer-encoding") {
                let value = match transfer_encoding(field.value).as_str() {
                    "7bit" | "8bit" | "binary" => Transfer::Identity,
                    "quoted-printable" => Transfer::QuotedPrintable,
                    "base64" => Transfer::Base64,
                    _ => Transfer::Unknown,
                };
                first(&mut encoding, value)?;
            } else if field.is("content-disposition") {
                is_attachment |= disposition(field.value) != "inline";
            } else if field.is("mime-version") {
                has_version = true;
            }
        }
        Ok(Self {
            media: media.unwrap_or_else(|| default.clone()),
            encoding: encoding.unwrap_or(Transfer::Identity),
            is_attachment,
            has_version,
        })
    }

    fn is_sealed(&self) -> bool {
        let subtype = self.media.subtype.as_str();
        match self.media.kind.as_str() {
            "multipart" => matches!(subtype, "signed" | "encrypted"),
            "application" => ["pkcs7", "x-pkcs7", "pgp"]
                .iter()
                .any(|start| subtype.starts_with(start)),
            _ => false,
        }
    }
}

fn first<T>(place: &mut Option<T>, value: T) -> Result<(), Untouched> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Untouched::Malformed),
    }
}

impl Walk<'_> {
    fn entity(&mut self, bytes: &[u8], default: &MediaType, depth: usize) -> Result<(), Untouched> {
        self.parts += 1;
        if self.parts > PARTS_MAX || depth > DEPTH_MAX {
            return Err(Untouched::TooManyParts);
        }
        let entity = Entity::parse(bytes).ok_or(Untouched::Malformed)?;
        let labels = Labels::of(&entity, default)?;
        if labels.is_sealed() {
            return Err(Untouched::Signed);
        }
        let is_text = labels.media.kind == "text" && !labels.is_attachment;
        // Of a text that is signed inline, and of what stands beside it.
        if is_text && memmem::find(entity.body, b"-----BEGIN PGP").is_some() {
            return Err(Untouched::Signed);
        }
        match labels.media.kind.as_str() {
            // Reports are read by programs.
            "multipart" if labels.media.subtype != "report" => {
                self.multipart(bytes, &entity, &labels, depth)
            }
            "text" if is_text && labels.media.subtype == "html" && entity.has_blank => {
                self.html(bytes, &entity, &labels, depth)
            }
            _ => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn multipart(
        &mut self,
        bytes: &[u8],
        entity: &Entity<'_>,
        labels: &Labels,
        depth: usize,
    ) -> Result<(), Untouched> {
        let boundary = labels.media.boundary.as_deref();
        let boundary = boundary.ok_or(Untouched::Malformed)?;
        let parts = Parts::split(entity.body, boundary).ok_or(Untouched::Malformed)?;
        // Of a part that nothing closes, readers differ on where it ends.
        if parts.rest.is_empty() || labels.encoding != Transfer::Identity {
            return Err(Untouched::Malformed);
        }
        let default = match labels.media.subtype.as_str() {
            "digest" => MediaType::new("message", "rfc822"),
            _ => MediaType::new("text", "plain"),
        };
        self.out
            .extend_from_slice(&bytes[..bytes.len() - entity.body.len()]);
        self.out.extend_from_slice(parts.preamble);
        for (number, (line, part)) in parts.parts.iter().enumerate() {
            if number > 0 {
                self.out.extend_from_slice(b"\r\n");
            }
            self.out.extend_from_slice(line);
            self.entity(part, &default, depth + 1)?;
        }
        self.out.extend_from_slice(parts.rest);
        Ok(())
    }

    fn html(
        &mut self,
        bytes: &[u8],
        entity: &Entity<'_>,
        labels: &Labels,
        depth: usize,
    ) -> Result<(), Untouched> {
        match self.rewritten(entity, labels) {
            Ok(html) => self.write(bytes, entity, labels, &html, depth == 0),
            Err(why) => {
                self.untouched.get_or_insert(why);
                self.out.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn rewritten(&mut self, entity: &Entity<'_>, labels: &Labels) -> Result<Vec<u8>, Untouched> {
        let is_utf8 = is_utf8(labels.media.charset.as_deref()).ok_or(Untouched::Charset)?;
        // Encoded, it may have three times as many.
        if entity.body.len() > 3 * HTML_BYTES_MAX {
            return Err(Untouched::TooLarge);
        }
        let decoded = match labels.encoding {
            Transfer::Identity => Some(Cow::Borrowed(entity.body)),
            Transfer::QuotedPrintable => from_quoted_printable(entity.body).map(Cow::Owned),
            Transfer::Base64 => from_base64(entity.body).map(Cow::Owned),
            Transfer::Unknown => None,
        };
        let html = decoded.ok_or(Untouched::Encoding)?;
        if memmem::find(&html, b"-----BEGIN PGP").is_some() {
            return Err(Untouched::Signed);
        }
        // UTF-16 that does not say so.
        if memchr::memchr(0, &html).is_some() {
            return Err(Untouched::Charset);
        }
        let options = Options {
            opens: self.options.opens && !self.has_pixel,
            ..self.options
        };
        let first_link = u16::try_from(self.links.len()).unwrap_or(u16::MAX);
        let done = rewrite(&html, &options, is_utf8, first_link, &mut *self.sign)?;
        self.links.extend(done.links);
        self.has_pixel |= done.has_pixel;
        self.is_changed = true;
        Ok(done.html)
    }

    /// A part that has no encoding keeps none while its lines are short enough.
    fn write(
        &mut self,
        bytes: &[u8],
        entity: &Entity<'_>,
        labels: &Labels,
        html: &[u8],
        is_message: bool,
    ) {
        let header = &bytes[..bytes.len() - entity.body.len()];
        let is_short = || lines(html).all(|line| line.len() <= LINE_BYTES_MAX + 2);
        match labels.encoding {
            Transfer::Identity if is_short() => {
                self.out.extend_from_slice(header);
                self.out.extend_from_slice(html);
                // The last line of a message is a whole one.
                if is_message && entity.body.ends_with(b"\r\n") && !html.ends_with(b"\r\n") {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            Transfer::Base64 => {
                self.out.extend_from_slice(header);
                Encoding::Base64.encode(html, is_message, &mut self.out);
                if !is_message && entity.body.ends_with(b"\r\n") {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            Transfer::QuotedPrintable => {
                self.out.extend_from_slice(header);
                Encoding::QuotedPrintable.encode(html, is_message, &mut self.out);
            }
            Transfer::Identity | Transfer::Unknown => {
                self.quoted_header(entity, labels, is_message);
                Encoding::QuotedPrintable.encode(html, is_message, &mut self.out);
            }
        }
    }

    /// The fields with the label of quoted-printable.
    fn quoted_header(&mut self, entity: &Entity<'_>, labels: &Labels, is_message: bool) {
        for field in entity.fields() {
            if !field.is("content-transfer-encoding") {
                self.out.extend_from_slice(field.raw);
            }
        }
        if is_message && !labels.has_version {
            self.out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        self.out
            .extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
