//! The message: written here, or taken from a file, and brought into the form that goes over the wire.

use skein_mail::encode::{self, Encoding};
use skein_mail::trace::rfc5322_date;
use skein_smtp::line_ends::{LineEndGate, LineEnds};

/// Octets of a line without its CRLF (RFC 5322 2.1.1).
const LINE_MAX: usize = 998;

/// A field that the user gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: String,
}

/// # Errors
/// It is no field of a header (RFC 5322 2.2).
pub fn field(text: &str) -> Result<Field, String> {
    let example = "it is like 'X-Skein-Pool: bulk'";
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("has no colon; {example}"))?;
    let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(format!("has no name that can be; {example}"));
    }
    let value = value.trim();
    if value.chars().any(char::is_control) {
        return Err("has a control character, such as a line break".to_owned());
    }
    if name.len() + 2 + value.len() > LINE_MAX {
        return Err(format!("is longer than the {LINE_MAX} octets of a line"));
    }
    Ok(Field {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

#[derive(Debug)]
pub struct Draft<'a> {
    pub from: &'a str,
    pub to: &'a [String],
    pub subject: &'a str,
    pub body: &'a str,
    /// A field that is given stands in the place of the one of that name that would be written.
    pub fields: &'a [Field],
}

impl Draft<'_> {
    /// All octets are ASCII but those of addresses. `id` is the Message-ID without its brackets.
    pub fn write(&self, at_ms: u64, id: &str) -> Vec<u8> {
        let (encoding, body) = encoded(self.body);
        let own = [
            ("Date", rfc5322_date(at_ms)),
            ("Message-ID", format!("<{id}>")),
            ("From", self.from.to_owned()),
            ("To", self.to.join(",\r\n\t")),
            ("Subject", encode::unstructured(self.subject)),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("Content-Transfer-Encoding", encoding.to_owned()),
        ];
        let is_given = |name: &str| {
            let mut given = self.fields.iter();
            given.any(|field| field.name.eq_ignore_ascii_case(name))
        };
        let mut out = String::new();
        for (name, value) in own {
            if !is_given(name) {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        out.push_str(&lines(self.fields));
        out.push_str("\r\n");
        [out.into_bytes(), body].concat()
    }
}

/// A file's message, with more fields before its own. Its last line ends as DATA ends it.
pub fn of_file(content: Vec<u8>, fields: &[Field]) -> Vec<u8> {
    let content = in_lines(content);
    [lines(fields).into_bytes(), content].concat()
}

fn lines(fields: &[Field]) -> String {
    let lines = fields.iter().map(|field| {
        let value = encode::unstructured(&field.value);
        format!("{}: {value}\r\n", field.name)
    });
    lines.collect()
}

/// The body in lines that every host takes, and how that was done.
fn encoded(body: &str) -> (&'static str, Vec<u8>) {
    let body = in_lines(body.as_bytes().to_vec());
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    let is_long = body
        .split(|byte| *byte == b'\n')
        .any(|line| line.len() > LINE_MAX);
    if body.iter().all(is_plain) && !is_long {
        return ("7bit", body);
    }
    let encoding = Encoding::best_for(&body, true);
    let mut out = Vec::new();
    encoding.encode(&body, true, &mut out);
    (encoding.name(), out)
}

/// Every line ends with CRLF, the last one too.
fn in_lines(content: Vec<u8>) -> Vec<u8> {
    let mut content = LineEndGate::whole(LineEnds::Fix, content)
        .expect("line ends that are mended are not refused");
    if !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    content
}

/// What the library is given: it ends every message with a line break of its own, and doubles the dot at the beginning of
/// every line but the first one (RFC 5321 4.5.2).
pub fn for_wire(message: &[u8]) -> Vec<u8> {
    let message = message.strip_suffix(b"\r\n").unwrap_or(message);
    let dot: &[u8] = if message.starts_with(b".") { b"." } else { b"" };
    [dot, message].concat()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const AT_MS: u64 = 1_784_548_800_000;

    fn written(body: &str, fields: &[Field]) -> String {
        let draft = Draft {
            from: "ann@a.test",
            to: &["bob@b.test".to_owned(), "eve@b.test".to_owned()],
            subject: "gr\u{fc}n",
            body,
            fields,
        };
        String::from_utf8(draft.write(AT_MS, "1@a.test")).unwrap()
    }

    #[test]
    fn a_message_has_every_field_that_hosts_look_for() {
        let message = written("hello\nworld", &[]);
        assert_eq!(
            message,
            "Date: Mon, 20 Jul 2026 12:00:00 +0000\r\nMessage-ID: <1@a.test>\r\nFrom: ann@a.test\r\n\
             To: bob@b.test,\r\n\teve@b.test\r\nSubject: =?utf-8?B?Z3LDvG4=?=\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
             hello\r\nworld\r\n"
        );
    }

    #[test]
    fn a_field_that_is_given_replaces_the_one_that_would_be_written() {
        let fields = [
            field("subject: mine").unwrap(),
            field("X-Skein-Pool:bulk").unwrap(),
        ];
        let message = written("x", &fields);
        assert!(message.contains("subject: mine\r\nX-Skein-Pool: bulk\r\n\r\n"));
        assert!(!message.contains("Subject:"), "{message}");
    }

    #[test]
    fn bodies_go_in_lines_that_every_host_takes() {
        let long = "x".repeat(2000);
        for (body, encoding) in [
            ("", "7bit"),
            ("a\r\nb\nc\rd", "7bit"),
            ("gr\u{fc}n ist die Hoffnung", "quoted-printable"),
            ("\u{fc}\u{fc}\u{fc}", "base64"),
            (&long, "quoted-printable"),
            ("a\0b is here with many letters", "quoted-printable"),
        ] {
            let message = written(body, &[]);
            assert!(
                message.contains(&format!("Content-Transfer-Encoding: {encoding}\r\n")),
                "{body:?}: {message}"
            );
            assert!(message.is_ascii() && message.ends_with("\r\n"), "{body:?}");
            let lone = message.replace("\r\n", "");
            assert!(!lone.contains(['\r', '\n']), "{body:?}");
            assert!(message.lines().all(|line| line.len() <= LINE_MAX));
        }
    }

    #[test]
    fn fields_are_checked() {
        for (text, expected) in [
            ("no colon", "no colon"),
            (": x", "no name"),
            ("X y: z", "no name"),
            ("X: a\r\nBcc: b", "control character"),
            ("X: a\nBcc: b", "control character"),
        ] {
            let error = field(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        assert!(field(&format!("X: {}", "y".repeat(1000))).is_err());
    }

    #[test]
    fn a_files_message_keeps_its_octets_but_for_line_ends() {
        let fields = [field("X-A: 1").unwrap()];
        for content in [&b"Subject: x\n\n\xff.\n"[..], b"Subject: x\r\n\r\n\xff."] {
            let found = of_file(content.to_vec(), &fields);
            assert_eq!(found, b"X-A: 1\r\nSubject: x\r\n\r\n\xff.\r\n");
        }
    }

    #[test]
    fn the_library_gets_what_becomes_the_message_again() {
        for (message, expected) in [
            (&b"A: b\r\n\r\nx\r\n"[..], &b"A: b\r\n\r\nx"[..]),
            (b"A: b\r\n\r\nx", b"A: b\r\n\r\nx"),
            (b"A: b\r\n\r\n", b"A: b\r\n"),
            (b".\r\n", b".."),
            (b"..a\r\n\r\n", b"...a\r\n"),
            (b"", b""),
        ] {
            assert_eq!(for_wire(message), expected);
        }
    }
}
