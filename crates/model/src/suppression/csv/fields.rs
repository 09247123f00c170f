//! A line and its fields (RFC 4180).

use std::borrow::Cow;

/// What a line is that is none of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A field begins with a quote and no other one ends it.
    Open,
    /// Something follows the closing quote of a field.
    Behind,
    /// A quote in a field that does not begin with one.
    Inside,
}

/// The fields of a line without its end.
///
/// # Errors
/// The number of the field that is malformed, from 0, and how.
pub(super) fn split(line: &str) -> Result<Vec<Cow<'_, str>>, (usize, Malformed)> {
    let (mut fields, mut rest) = (Vec::new(), line);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted),
            None => plain_field(rest),
        }
        .map_err(|malformed| (fields.len(), malformed))?;
        fields.push(field);
        match after {
            None => return Ok(fields),
            Some(after) => rest = after,
        }
    }
}

type Field<'l> = (Cow<'l, str>, Option<&'l str>);

/// The field, and what is behind its comma.
fn plain_field(text: &str) -> Result<Field<'_>, Malformed> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    match field.contains('"') {
        true => Err(Malformed::Inside),
        false => Ok((Cow::Borrowed(field), after)),
    }
}

fn quoted_field(text: &str) -> Result<Field<'_>, Malformed> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"').ok_or(Malformed::Open)?;
        field.push_str(part);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
            continue;
        }
        let field = Cow::Owned(field);
        return match after.strip_prefix(',') {
            Some(after) => Ok((field, Some(after))),
            None if after.is_empty() => Ok((field, None)),
            None => Err(Malformed::Behind),
        };
    }
}

/// Adds a field to a line, in quotes if it needs them.
pub(super) fn push(line: &mut String, field: &str) {
    let is_plain = !field.contains([',', '"', '\r', '\n'])
        && !field.starts_with(char::is_whitespace)
        && !field.ends_with(char::is_whitespace);
    if is_plain {
        line.push_str(field);
        return;
    }
    line.push('"');
    for (nth, part) in field.split('"').enumerate() {
        line.push_str(if nth == 0 { "" } else { "\"\"" });
        line.push_str(part);
    }
    line.push('"');
}
