use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;

/// What a reader gets of a message: each part's type and content, decoded, in order.
fn contents(message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let parsed = MessageParser::default().parse(message).expect("a message");
    let mut found = Vec::new();
    collect(&parsed, &mut found);
    found
}

fn collect(message: &mail_parser::Message<'_>, found: &mut Vec<(String, Vec<u8>)>) {
    for part in &message.parts {
        let kind = part
            .content_type()
            .map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
        // A conversion adds a type that is not said.
        let kind = kind.unwrap_or_else(|| "text/plain".to_owned());
        match &part.body {
            PartType::Multipart(parts) => found.push((kind, vec![parts.len() as u8])),
            PartType::Message(message) => {
                found.push((kind, Vec::new()));
                collect(message, found);
            }
            _ => found.push((kind, part.contents().to_vec())),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn each_kind_of_message_has_its_form() {
    for (message, expected) in [
        (
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nein gr\u{fc}ner Baum\r\n",
            Ok(
                "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nein gr=C3=BCner Baum\r\n",
            ),
        ),
        (
            "Subject: x\r\n\r\nein gr\u{fc}ner Baum",
            Ok(
                "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nein gr=C3=BCner Baum=\r\n",
            ),
        ),
        (
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nsee below\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: application/x-y\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{fc}\u{fc}\r\n--b--\r\n",
            Ok(
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\nsee below\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: application/x-y\r\nContent-Transfer-Encoding: base64\r\n\r\nw7zDvA==\r\n--b--\r\n",
            ),
        ),
        (
            "Content-Type: message/rfc822\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\nContent-Type: text/plain; charset=latin1\r\n\r\nein gr\u{fc}ner Baum\r\n",
            Ok(
                "Content-Type: message/rfc822\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\nContent-Type: text/plain; charset=latin1\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nein gr=C3=BCner Baum\r\n",
            ),
        ),
        // A message in a message in a multipart.
        (
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nMIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nein gr\u{fc}ner Baum\r\n--b--\r\n",
            Ok(
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nMIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nein gr=C3=BCner Baum\r\n--b--\r\n",
            ),
        ),
        // Nothing closes the last part.
        (
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nein gr\u{fc}ner Baum\r\n",
            Err(NotConvertible::Malformed),
        ),
        ("Subject: \u{fc}\r\n\r\nx\r\n", Err(NotConvertible::Header)),
        (
            "Subject: x\r\n\r\n\u{fc}\n",
            Err(NotConvertible::BareLineEnd),
        ),
        (
            "DKIM-Signature: v=1\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Signed),
        ),
        (
            "ARC-Seal: i=1\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Signed),
        ),
        (
            "Content-Type: Multipart/Signed; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n--b--\r\n",
            Err(NotConvertible::Signed),
        ),
        (
            "A: b\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\u{fc}\r\n",
            Err(NotConvertible::Signed),
        ),
        (
            "no header\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Malformed),
        ),
        (
            "Content-Type: text\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Malformed),
        ),
        (
            "Content-Type: multipart/mixed\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Malformed),
        ),
        (
            "Content-Transfer-Encoding: base64\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Malformed),
        ),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u{fc}\r\n--b\r\n\r\nx\r\n--b--\r\n",
            Err(NotConvertible::Malformed),
        ),
        (
            "Content-Type: message/partial\r\n\r\n\u{fc}\r\n",
            Err(NotConvertible::Malformed),
        ),
    ] {
        let converted = convert(message.as_bytes(), Signatures::Keep).map(|bytes| text(&bytes));
        assert_eq!(converted, expected.map(str::to_owned), "{message:?}");
    }
}

#[test]
fn a_copy_for_people_may_lose_its_signature() {
    let message = "DKIM-Signature: v=1\r\n\r\n\u{fc}\r\n";
    let copy = convert(message.as_bytes(), Signatures::MayBreak);
    assert!(copy.is_ok_and(|copy| Content::of(&copy).is_7bit()));
}

#[test]
fn what_is_nested_for_cost_is_refused() {
    let mut message = String::new();
    for _ in 0..=DEPTH_MAX + 1 {
        message.push_str("Content-Type: message/rfc822\r\n\r\n");
    }
    message.push_str("\r\n\u{fc}\r\n");
    let refused = convert(message.as_bytes(), Signatures::Keep);
    assert_eq!(refused, Err(NotConvertible::TooDeep));
}

#[test]
fn line_ends_are_made_whole() {
    for (message, expected) in [
        ("a\r\nb", "a\r\nb"),
        ("a\nb\rc\r\n", "a\r\nb\r\nc\r\n"),
        ("\n.\n\r\r\n", "\r\n.\r\n\r\n\r\n"),
        ("\r", "\r\n"),
    ] {
        let made = with_line_ends(message.as_bytes());
        assert_eq!(text(&made), expected, "{message:?}");
        assert!(!Content::of(&made).has_bare_line_end);
    }
}

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "[ -~]{0,60}",
        "[a-z\u{e4}\u{f6}\u{fc} ]{0,60}",
        "[\u{4e00}-\u{4fff}]{0,30}",
        "a{900,1200}",
        "(--b[0-9]|From |\\.|=|[ \t]{1,3}|\u{fc} )",
    ];
    (prop::collection::vec(line, 0..6), any::<bool>()).prop_map(|(lines, ends)| {
        let mut text = lines.join("\r\n");
        if ends {
            text.push_str("\r\n");
        }
        text.into_bytes()
    })
}

/// A part with its header, of some depth.
fn entity() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![
        "",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n",
    ]);
    let one =
        (kinds, leaf()).prop_map(|(fields, body)| [fields.as_bytes(), b"\r\n", &body].concat());
    one.prop_recursive(3, 12, 4, |inner| {
        let many = (prop::collection::vec(inner.clone(), 1..4), 0u32..1_000_000).prop_map(
            |(parts, number)| {
                let mut out = format!(
                    "Content-Type: multipart/mixed; boundary=\"=_{number}\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                )
                .into_bytes();
                for part in parts {
                    out.extend_from_slice(format!("--=_{number}\r\n").as_bytes());
                    out.extend_from_slice(&part);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(format!("--=_{number}--\r\n").as_bytes());
                out
            },
        );
        // `mail_parser` 0.11.9 loses its place where a message is all that another message
        // holds, within a multipart; that shape is in the table above.
        let message = inner
            .prop_filter("not a message in a message", |part| {
                !part.starts_with(b"Content-Type: message/rfc822")
            })
            .prop_map(|part| {
                [
                    &b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\n"[..],
                    &part,
                ]
                .concat()
            });
        prop_oneof![many, message]
    })
}

proptest! {
    #[test]
    fn the_content_stays_the_same(part in entity()) {
        let message = [&b"Subject: x\r\nMIME-Version: 1.0\r\n"[..], &part].concat();
        let converted = convert(&message, Signatures::Keep).expect("it is well formed");
        prop_assert!(Content::of(&converted).is_7bit(), "{}", text(&converted));
        prop_assert!(converted.len() <= message.len() * 3 / 2 + 4096);
        prop_assert_eq!(&convert(&message, Signatures::Keep).expect("again"), &converted);
        let labels = text(&converted).to_ascii_lowercase();
        prop_assert!(!labels.contains("content-transfer-encoding: 8bit"));
        prop_assert!(!labels.contains("content-transfer-encoding: binary"));
        prop_assert_eq!(contents(&message), contents(&converted), "{}", text(&converted));
    }

    #[test]
    fn any_bytes_are_converted_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        head in "(Content-Type: multipart/mixed; boundary=b\r\n|MIME-Version: 1.0\r\n|)(\r\n--b\r\n|\r\n|)",
    ) {
        let message = [head.as_bytes(), &bytes].concat();
        if let Ok(converted) = convert(&message, Signatures::Keep) {
            prop_assert!(converted.is_ascii());
        }
        let _ = convert(&with_line_ends(&message), Signatures::MayBreak);
    }
}
