//! Whose a message says that it is: the domains of `From` and `Sender` (RFC 5322 3.6.2), and of those who sent it again (3.6.6).
//!
//! Readers of mail differ in how they take a malformed field apart. A check of who may send as whom must not depend on that:
//! what stands after any `@` outside a quoted string counts, in comments too, so no reader can find an author whose domain was
//! not looked at.

use std::iter::Peekable;
use std::str::Chars;

use thiserror::Error;

use crate::field::field_values;

/// Why nobody can say whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unclear {
    /// RFC 5322 3.6 asks for one.
    #[error("the header has no From")]
    Missing,
    /// Readers show the first or the last.
    #[error("the header has more than one {0}")]
    Repeated(&'static str),
    /// No domain, an open quote, or control characters.
    #[error("the header's {0} cannot be read")]
    Unreadable(&'static str),
}

/// The domains of the authors, and of who sent it for them or once more, as they are written, in the order of the fields.
/// `header`: the fields without the empty line.
///
/// # Errors
/// Nobody can say whose it is.
pub fn author_domains(header: &[u8]) -> Result<Vec<String>, Unclear> {
    let mut found = match one(header, "From")? {
        Some(domains) => domains,
        None => return Err(Unclear::Missing),
    };
    found.extend(one(header, "Sender")?.unwrap_or_default());
    // There is a block of these for each time that it was sent again, and no reader tells which is whose.
    for name in ["Resent-From", "Resent-Sender"] {
        for value in field_values(header, name) {
            let again = domains(&value).filter(|again| !again.is_empty());
            found.extend(again.ok_or(Unclear::Unreadable(name))?);
        }
    }
    Ok(found)
}

fn one(header: &[u8], name: &'static str) -> Result<Option<Vec<String>>, Unclear> {
    let values = field_values(header, name);
    match values.as_slice() {
        [] => Ok(None),
        [value] => {
            let found = domains(value).filter(|found| !found.is_empty());
            found.map(Some).ok_or(Unclear::Unreadable(name))
        }
        _ => Err(Unclear::Repeated(name)),
    }
}

/// What stands after each `@` outside of quoted strings; none if the value cannot be read.
fn domains(value: &str) -> Option<Vec<String>> {
    if value.chars().any(|c| c.is_control() && !is_blank(c)) {
        return None;
    }
    let mut found = Vec::new();
    let mut chars = value.chars().peekable();
    let (mut comments, mut is_quoted) = (0usize, false);
    let mut one = Entry::default();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_quoted || comments > 0 => drop(chars.next()),
            '\\' => return None,
            '"' if comments == 0 => {
                one.goes_on()?;
                is_quoted = !is_quoted;
            }
            _ if is_quoted => one.is_odd |= "<>@,;:()".contains(c),
            '(' => comments += 1,
            ')' => comments = comments.checked_sub(1)?,
            '@' if comments > 0 => found.push(domain_after(&mut chars)?),
            _ if comments > 0 || is_blank(c) => {}
            ',' | ';' => std::mem::take(&mut one).ends()?,
            // The name of a group.
            ':' if one.angle == Angle::None && !one.has_domain => one = Entry::default(),
            ':' => return None,
            '<' if one.angle == Angle::None => {
                // What was quoted before it is the name that is shown.
                one = Entry {
                    angle: Angle::Open,
                    has_text: true,
                    ..Entry::default()
                };
            }
            '<' => return None,
            '>' if one.angle == Angle::Open && one.has_domain => one.angle = Angle::Closed,
            '>' => return None,
            '@' => {
                one.goes_on()?;
                one.has_domain = true;
                found.push(domain_after(&mut chars)?);
            }
            _ => one.goes_on()?,
        }
    }
    one.ends()?;
    (!is_quoted && comments == 0).then_some(found)
}

/// What was seen of one entry of the list, outside of comments.
#[derive(Debug, Default)]
struct Entry {
    angle: Angle,
    has_text: bool,
    has_domain: bool,
    /// A quoted part of its address has signs that addresses are taken apart by.
    is_odd: bool,
}

impl Entry {
    /// There is more of it; none behind its address.
    fn goes_on(&mut self) -> Option<()> {
        self.has_text = true;
        (self.angle != Angle::Closed && !self.has_domain).then_some(())
    }

    /// An entry without an address is one for some readers, such as a quoted string, and none for others.
    fn ends(self) -> Option<()> {
        let is_whole =
            self.angle != Angle::Open && self.has_domain == self.has_text && !self.is_odd;
        is_whole.then_some(())
    }
}

/// Where an entry is, as to an address in angle brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Angle {
    #[default]
    None,
    Open,
    Closed,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// None: there is an address literal, a comment within the address, or nothing, which is no domain of anybody.
fn domain_after(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    while chars.next_if(|c| is_blank(*c)).is_some() {}
    let mut domain = String::new();
    while let Some(c) = chars.next_if(|c| !is_blank(*c) && !"<>()[]@,;:\"\\".contains(*c)) {
        domain.push(c);
    }
    while chars.next_if(|c| is_blank(*c)).is_some() {}
    // What goes on behind blanks is one domain for some readers (RFC 5322 4.4) and two words for others.
    let ends = chars.peek().is_none_or(|c| "<>(),;:".contains(*c));
    (!domain.is_empty() && ends).then_some(domain)
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    use super::*;

    fn of(header: &str) -> Result<Vec<String>, Unclear> {
        author_domains(header.as_bytes())
    }

    #[test]
    fn authors_are_found_however_they_are_written() {
        let cases: [(&str, &[&str]); 14] = [
            ("From: a@b.example", &["b.example"]),
            ("from : A <a@b.example>", &["b.example"]),
            ("From: =?utf-8?q?J=C3=B6rg?= <a@b.example>", &["b.example"]),
            (
                "From: \"Doe, John\" <a@b.example>, c@d.example",
                &["b.example", "d.example"],
            ),
            ("From: John Q. Public\r\n <a@b.example>", &["b.example"]),
            ("From: \"x@bank.example\" <a@b.example>", &["b.example"]),
            ("From: \"x\\\"@bank.example\" <a@b.example>", &["b.example"]),
            (
                "From: x@bank.example <a@b.example>",
                &["bank.example", "b.example"],
            ),
            (
                "From: a@b.example (x@bank.example)",
                &["b.example", "bank.example"],
            ),
            (
                "From: team: a@b.example, c@d.example;",
                &["b.example", "d.example"],
            ),
            ("From: a @ b.example", &["b.example"]),
            ("From: jörg@bücher.example", &["bücher.example"]),
            (
                "From: a@b.example\r\nSender: x@y.example",
                &["b.example", "y.example"],
            ),
            (
                "Resent-From: x@one.example\r\nresent-from : y@two.example\r\nResent-Sender: z@c.example\r\nFrom: a@b.example",
                &["b.example", "one.example", "two.example", "c.example"],
            ),
        ];
        for (header, expected) in cases {
            assert_eq!(of(header).as_deref(), Ok(&owned(expected)[..]), "{header}");
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn what_nobody_can_tell_is_refused() {
        let from = |what| Err(Unclear::Unreadable(what));
        let cases = [
            ("Subject: x", Err(Unclear::Missing)),
            (
                "From: a@b.example\r\nFrom: c@d.example",
                Err(Unclear::Repeated("From")),
            ),
            (
                "From: a@b.example\r\nSender: a@b.example\r\nSender: c@d.example",
                Err(Unclear::Repeated("Sender")),
            ),
            ("From:", from("From")),
            ("From: somebody", from("From")),
            ("From: \"a@b.example", from("From")),
            ("From: (a@b.example", from("From")),
            ("From: a@b.example)", from("From")),
            ("From: <a@b.example", from("From")),
            ("From: <<a@b.example>>", from("From")),
            ("From: a@b.example>", from("From")),
            ("From: <@bank.example:a@b.example>", from("From")),
            ("From: <a@b.example,>", from("From")),
            ("From: <\"<x@bank.example>\"a@b.example>", from("From")),
            ("From: \"x@bank.example\"@b.example", from("From")),
            ("From: <a@b.example(x).evil.example>", from("From")),
            ("From: a@b.example@evil.example", from("From")),
            ("From: \"x@bank.example\"(<a@b.example>)", from("From")),
            ("From: Doe, John <a@b.example>", from("From")),
            ("From: \"x@bank.example\", a@b.example", from("From")),
            ("From: <a@b.example> <c@d.example>", from("From")),
            ("From: <a@b.example> c@d.example", from("From")),
            ("From: a@b.example <>", from("From")),
            ("From: a@b.example\\", from("From")),
            ("From: a@[192.0.2.1]", from("From")),
            ("From: a@(x)b.example", from("From")),
            ("From: a@b.example .evil.example", from("From")),
            ("From: a@b.example evil.example", from("From")),
            ("From: a@b.example\"x\"", from("From")),
            ("From: a@b.example\u{0}", from("From")),
            ("From: a@b.example\r\nSender: x", from("Sender")),
            ("From: a@b.example\r\nResent-From: x", from("Resent-From")),
            ("From: a@b.example\r\nResent-Sender:", from("Resent-Sender")),
        ];
        for (header, expected) in cases {
            assert_eq!(of(header), expected, "{header:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Whatever address another reader finds, its domain was looked at.
        #[test]
        fn no_other_reader_finds_another_domain(
            parts in proptest::collection::vec("[a-c]|@|<|>|,|;|:|\\(|\\)|\"| |\\.|\\\\|\r\n |x@y\\.example|<a@b\\.example>", 0..14),
        ) {
            let message = format!("From: {}\r\n\r\n", parts.concat());
            let Ok(found) = of(message.trim_end()) else { return Ok(()) };
            let parsed = MessageParser::default().parse(message.as_bytes());
            let from = parsed.as_ref().and_then(|parsed| parsed.from());
            for address in from.iter().flat_map(|from| from.iter()).filter_map(|one| one.address()) {
                if let Some((_, domain)) = address.rsplit_once('@') {
                    let domain = domain.trim();
                    prop_assert!(domain.is_empty() || found.iter().any(|one| one == domain), "{:?} of {:?}, not in {:?}", domain, message, found);
                }
            }
        }

        #[test]
        fn any_header_is_read_or_refused(header: Vec<u8>) {
            let _ = author_domains(&header);
        }
    }
}
