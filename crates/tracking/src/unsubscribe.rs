//! One-click unsubscribe (RFC 2369, RFC 8058): the fields of a message, and the request that follows.

use skein_mail::mime::{Entity, Parts, media_type};
use thiserror::Error;

/// The one value of List-Unsubscribe-Post.
pub const ONE_CLICK: &str = "List-Unsubscribe=One-Click";
/// Octets of a request's body. The form has thirty; boundaries and other fields have some hundred.
pub const BODY_BYTES_MAX: usize = 16 << 10;
/// Characters of a URI in the fields.
const URI_CHARS_MAX: usize = 900;

/// The values of the two fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    pub list_unsubscribe: String,
    pub list_unsubscribe_post: &'static str,
}

/// Why a URI does not go into the field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAUri {
    #[error(
        "the URL to unsubscribe at must begin with https:// and have no blanks, commas and angle brackets: {0}"
    )]
    Https(String),
    #[error(
        "the address to unsubscribe at must begin with mailto: and have no blanks, commas and angle brackets: {0}"
    )]
    Mailto(String),
}

/// What a message's fields are to be; None if its own are complete and stay. Those are: one List-Unsubscribe with exactly one https
/// URI, and one List-Unsubscribe-Post with its one value. Else both are to be replaced: mail systems take neither alone.
/// `unsubscribe` and `post`: the unfolded values of all fields of the two names. A mailto URI of the message's own is kept where there
/// is no other.
///
/// # Errors
/// A URI that is given is none.
pub fn fields(
    unsubscribe: &[String],
    post: &[String],
    https: &str,
    mailto: Option<&str>,
) -> Result<Option<Fields>, NotAUri> {
    if !is_uri(https, "https://") {
        return Err(NotAUri::Https(https.to_owned()));
    }
    if let Some(mailto) = mailto.filter(|mailto| !is_uri(mailto, "mailto:")) {
        return Err(NotAUri::Mailto(mailto.to_owned()));
    }
    let uris: Vec<&str> = unsubscribe.iter().flat_map(|value| uris(value)).collect();
    let of = |scheme: &'static str| uris.iter().copied().filter(move |uri| is_uri(uri, scheme));
    let is_post = |value: &String| value.trim() == ONE_CLICK;
    let is_complete = unsubscribe.len() == 1
        && of("https://").count() == 1
        && of("http://").count() == 0
        && post.len() == 1
        && post.iter().all(is_post);
    if is_complete {
        return Ok(None);
    }
    let mut value = format!("<{https}>");
    if let Some(mailto) = mailto.or_else(|| of("mailto:").next()) {
        // On a line of its own: each may be long.
        value.push_str(&format!(",\r\n <{mailto}>"));
    }
    Ok(Some(Fields {
        list_unsubscribe: value,
        list_unsubscribe_post: ONE_CLICK,
    }))
}

/// The URIs of List-Unsubscribe (RFC 2369 section 2): what stands in angle brackets, without blanks.
#[must_use]
pub fn uris(value: &str) -> Vec<&str> {
    let parts = value.split('<').skip(1);
    let inner = parts.filter_map(|part| part.split_once('>'));
    inner.map(|(uri, _)| uri.trim()).take(16).collect()
}

fn is_uri(uri: &str, scheme: &str) -> bool {
    let start = uri.get(..scheme.len());
    let is_char = |byte: u8| byte.is_ascii_graphic() && !b"<>,\"\\".contains(&byte);
    start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        && (scheme.len() + 1..=URI_CHARS_MAX).contains(&uri.len())
        && uri.bytes().all(is_char)
}

/// Whether the body of a POST asks for it: as a form, urlencoded or multipart (RFC 8058 section 3.1). Whatever else asks has not been
/// clicked in a mail program: then nothing changes.
#[must_use]
pub fn is_one_click(content_type: &str, body: &[u8]) -> bool {
    if body.len() > BODY_BYTES_MAX {
        return false;
    }
    let Some(media) = media_type(content_type.as_bytes()) else {
        return false;
    };
    match (media.kind.as_str(), media.subtype.as_str(), media.boundary) {
        ("application", "x-www-form-urlencoded", _) => {
            body.split(|byte| *byte == b'&').any(is_pair)
        }
        ("multipart", "form-data", Some(boundary)) => {
            let parts = Parts::split(body, &boundary);
            parts.is_some_and(|parts| parts.parts.iter().take(16).any(|(_, part)| is_part(part)))
        }
        _ => false,
    }
}

fn is_pair(pair: &[u8]) -> bool {
    let mut decoded = Vec::with_capacity(pair.len());
    let mut rest = pair.trim_ascii();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| {
            let digit = tail
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))?;
            u8::try_from(digit).ok()
        };
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded == ONE_CLICK.as_bytes()
}

fn is_part(part: &[u8]) -> bool {
    let Some((name, value)) = ONE_CLICK.split_once('=') else {
        return false;
    };
    let Some(entity) = Entity::parse(part) else {
        return false;
    };
    let (quoted, bare) = (format!("name=\"{name}\""), format!("name={name}"));
    let names_it = |disposition: &[u8]| {
        let text = String::from_utf8_lossy(disposition);
        let mut parameters = text.split(';').map(str::trim);
        parameters.next() == Some("form-data") && parameters.any(|one| one == quoted || one == bare)
    };
    let mut fields = entity.fields().into_iter();
    fields.any(|field| field.is("content-disposition") && names_it(field.value))
        && entity.body.trim_ascii() == value.as_bytes()
}

#[cfg(test)]
#[path = "unsubscribe_tests.rs"]
mod tests;
