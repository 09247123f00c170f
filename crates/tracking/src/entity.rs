//! Character references in the value of an attribute (HTML 13.2.5.72), as far as URLs have them.

use std::borrow::Cow;

/// Names that browsers read also without a semicolon, where no letter, digit or `=` follows.
const LEGACY: &[&str] = &[
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil",
    "ETH", "Eacute", "Ecirc", "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT",
    "Ntilde", "Oacute", "Ocirc", "Ograve", "Oslash", "Otilde", "Ouml", "QUOT", "REG", "THORN",
    "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute", "acirc", "acute", "aelig", "agrave",
    "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent", "copy", "curren", "deg",
    "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt",
    "iacute", "icirc", "iexcl", "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro",
    "middot", "nbsp", "not", "ntilde", "oacute", "ocirc", "ograve", "ordf", "ordm", "oslash",
    "otilde", "ouml", "para", "plusmn", "pound", "quot", "raquo", "reg", "sect", "shy", "sup1",
    "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc", "ugrave", "uml", "uuml",
    "yacute", "yen", "yuml",
];

/// The text with its references resolved. None if it has one that is resolved only by the whole table of names, or is an error:
/// then nobody knows what a client makes of it.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('&') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (c, length) = reference(&rest[at..])?;
        out.push(c);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// What the `&` that the text begins with stands for, and how long that is.
fn reference(text: &str) -> Option<(char, usize)> {
    let after = &text[1..];
    if let Some(number) = after.strip_prefix('#') {
        return numeric(number).map(|(c, length)| (c, length + 2));
    }
    let end = after.find(|c: char| !c.is_ascii_alphanumeric());
    let (name, next) = match end {
        Some(end) => (&after[..end], after[end..].chars().next()),
        None => (after, None),
    };
    let of_name = match name {
        "amp" | "AMP" => Some('&'),
        "lt" | "LT" => Some('<'),
        "gt" | "GT" => Some('>'),
        "quot" | "QUOT" => Some('"'),
        "apos" if next == Some(';') => Some('\''),
        _ => None,
    };
    match (next, of_name) {
        (Some(';'), Some(c)) => Some((c, name.len() + 2)),
        // An ampersand that stands for itself.
        (Some(';'), None) if name.is_empty() => Some(('&', 1)),
        (Some(';'), None) => None,
        (Some('='), _) => Some(('&', 1)),
        (_, Some(c)) => Some((c, name.len() + 1)),
        (_, None) if LEGACY.contains(&name) => None,
        (_, None) => Some(('&', 1)),
    }
}

fn numeric(text: &str) -> Option<(char, usize)> {
    let (digits, radix) = match text.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let length = end.unwrap_or(digits.len());
    // Browsers read one without a semicolon as well, and replace what is no character; both are errors.
    (digits[length..].starts_with(';') && length <= 8).then_some(())?;
    let number = u32::from_str_radix(&digits[..length], radix).ok()?;
    let is_plain = !matches!(number, 0 | 0x80..=0x9f);
    let c = char::from_u32(number).filter(|_| is_plain)?;
    Some((c, text.len() - digits.len() + length + 1))
}

/// Appends the text as the value of an attribute, whatever quotes are around it.
pub fn encode(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_resolved_as_browsers_do() {
        for (text, expected) in [
            ("a", Some("a")),
            ("a?b=1&amp;c=2", Some("a?b=1&c=2")),
            ("a?b=1&c=2", Some("a?b=1&c=2")),
            ("a?b=1&copy=2", Some("a?b=1&copy=2")),
            ("a?b=1&copy2", Some("a?b=1&copy2")),
            ("a?b=1&copy", None),
            ("a?b=1&copy;", None),
            ("a?b=1&nbsp;c", None),
            ("a?b=1&amp", Some("a?b=1&")),
            ("a?b=1&ampc=2", Some("a?b=1&ampc=2")),
            ("a?b=1&amp=2", Some("a?b=1&amp=2")),
            ("&#38;&#x26;&#X26;&lt;&gt;&quot;&apos;", Some("&&&<>\"'")),
            ("&&;&", Some("&&;&")),
            ("&#38", None),
            ("&#;", None),
            ("&#x;", None),
            ("&#0;", None),
            ("&#xd800;", None),
            ("&#150;", None),
            ("&#99999999999;", None),
            ("&unknown;", None),
            ("&amp;amp;", Some("&amp;")),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in ".{0,40}", any in "[&#;xa-z0-9=]{0,20}") {
            let mut out = Vec::new();
            encode(&text, &mut out);
            let out = String::from_utf8(out).expect("UTF-8");
            let decoded = decode(&out);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
            let _ = decode(&any);
        }
    }
}
