//! Addresses in reports: with a type before them, in brackets, in sentences.

use crate::fold::decode_words;

/// Characters of an address (RFC 5321 4.5.3.1 with some room for prefixes).
const ADDRESS_CHARS_MAX: usize = 400;

/// Signs that stand around addresses in sentences.
const AROUND: [char; 20] = [
    '<', '>', '(', ')', '[', ']', '"', '\'', ',', ';', ':', '*', '=', '|', '{', '}', '`',
    '\u{201c}', '\u{201d}', '!',
];

/// What stands before addresses without a blank.
const PREFIXES: [&str; 9] = [
    "mailto:", "smtp:", "rfc822;", "to:", "address=", "addr=", "to=", "rcpt=", "email=",
];

/// The address of a field such as `rfc822; <user@example.net>`, of whatever type (RFC 3464 2.1.2, RFC 6533). None for those of
/// X.400.
pub(crate) fn of_field(value: &str) -> Option<String> {
    let value = decode_words(value);
    let (kind, address) = match value.split_once(';') {
        Some((kind, address)) if !kind.contains('@') => (kind.trim(), address),
        _ => ("", value.as_str()),
    };
    match kind.eq_ignore_ascii_case("utf-8") {
        true => in_text(&unicode(address)),
        false => in_text(address),
    }
}

/// Decodes `\x{e9}` (RFC 6533 section 3).
fn unicode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x{") {
        decoded.push_str(&rest[..at]);
        let hex = &rest[at + 3..];
        let end = hex.find('}').filter(|end| *end <= 6);
        let letter = end.and_then(|end| char::from_u32(u32::from_str_radix(&hex[..end], 16).ok()?));
        match (letter, end) {
            (Some(letter), Some(end)) => {
                decoded.push(letter);
                rest = &hex[end + 1..];
            }
            _ => {
                decoded.push_str("\\x{");
                rest = hex;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The first address of a text.
pub(crate) fn in_text(text: &str) -> Option<String> {
    text.split_whitespace().find_map(in_word)
}

/// The address in the first pair of angle brackets that has one.
pub(crate) fn in_angles(text: &str) -> Option<String> {
    text.split('<').skip(1).find_map(|inner| {
        let (address, _) = inner.split_once('>')?;
        in_word(address)
    })
}

/// The address that one word holds.
pub(crate) fn in_word(word: &str) -> Option<String> {
    let word = word.trim_matches(AROUND);
    let word = PREFIXES
        .iter()
        .find_map(|prefix| {
            let head = word.get(..prefix.len())?;
            head.eq_ignore_ascii_case(prefix)
                .then(|| &word[prefix.len()..])
        })
        .unwrap_or(word);
    // `<user@example.net>:text`.
    let word = word
        .split(['<', '>', ',', ';', '[', ']', '(', ')'])
        .find(|piece| piece.contains('@'))?;
    // The form of X.400 gateways.
    let word = word.rsplit("SMTP=").next().unwrap_or(word);
    let word = word.trim_end_matches(['.', ':', '!', '?', '"', '\'', '-']);
    let word = word.trim_matches(AROUND);
    is_address(word).then(|| word.to_owned())
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_domain = domain.split('.').all(|label| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    });
    let is_local = !local.is_empty()
        && !local
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "<>()[],;:\\".contains(c));
    text.len() <= ADDRESS_CHARS_MAX && is_local && is_domain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_whatever_stands_around() {
        for (text, address) in [
            ("rfc822;a@example.net", Some("a@example.net")),
            ("RFC822; <a@example.net>", Some("a@example.net")),
            ("<a@example.net>", Some("a@example.net")),
            (
                "rfc822 ; a+b=c@example.net (comment)",
                Some("a+b=c@example.net"),
            ),
            ("utf-8; \\x{e9}a@example.net", Some("éa@example.net")),
            ("utf-8; éa@exämple.net", Some("éa@exämple.net")),
            ("x400; /c=us/a=x/", None),
            ("rfc822;", None),
            ("a@", None),
            ("the address 'a@example.net'.", Some("a@example.net")),
            ("SMTP:a@example.net", Some("a@example.net")),
            ("Address=<a@example.net>,Code", Some("a@example.net")),
            ("mailto:a@example.net?", Some("a@example.net")),
            ("[SMTP:a@example.net]", Some("a@example.net")),
            ("a@example.net...User unknown", None),
        ] {
            assert_eq!(of_field(text).as_deref(), address, "{text}");
        }
    }
}
