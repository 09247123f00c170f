#![expect(clippy::unwrap_used, reason = "tests")]
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;
use crate::content::LINE_BYTES_MAX;

fn dsn(text: &str, to: &str) -> Dsn {
    Dsn {
        host: "mx.test".into(),
        to: to.into(),
        message_id: "1@mx.test".into(),
        at_ms: 1_795_480_176_000,
        reporting_mta: "mx.test".into(),
        received_from_mta: Some("client.test".into()),
        arrival_ms: Some(1_795_480_000_000),
        envelope_id: Some("QQ314159".into()),
        recipients: vec![DsnRecipient {
            final_recipient: "user@example.com".into(),
            original_recipient: Some("rfc822;Other@example.com".into()),
            action: Action::Failed,
            status: (5, 1, 1),
            remote_mta: Some("mx.example.com".into()),
            diagnostic: Some(Diagnostic::Smtp(text.into())),
            last_attempt_ms: Some(1_795_480_100_000),
            will_retry_until_ms: None,
        }],
        original: OriginalContent::Headers(b"Subject: hello\r\n".to_vec()),
        boundary_seed: 7,
    }
}

/// The types of the three parts and their labels, with the whole report's first.
fn labels(report: &[u8]) -> Vec<(String, String)> {
    let message = MessageParser::default().parse(report).unwrap();
    let label = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type().unwrap();
        let kind = format!("{}/{}", kind.ctype(), kind.subtype().unwrap());
        let encoding = part.content_transfer_encoding().unwrap_or("none");
        (kind, encoding.to_owned())
    };
    message.parts.iter().map(label).collect()
}

/// The content of the part of this number, decoded.
fn part(report: &[u8], number: usize) -> Vec<u8> {
    let message = MessageParser::default().parse(report).unwrap();
    match &message.parts[number].body {
        PartType::Message(inner) => inner.raw_message.to_vec(),
        _ => message.parts[number].contents().to_vec(),
    }
}

#[test]
fn a_report_says_who_and_why() {
    let bytes = dsn("550 5.1.1 no such user", "a@b.test").build();
    let message = MessageParser::default().parse(&bytes).unwrap();
    assert_eq!(
        message.subject(),
        Some("Undelivered mail returned to sender")
    );
    assert_eq!(message.attachment_count(), 2);
    let text = String::from_utf8(bytes).unwrap();
    for part in [
        "report-type=delivery-status",
        "Final-Recipient: rfc822; user@example.com\r\n",
        "Original-Recipient: rfc822; Other@example.com\r\n",
        "Action: failed\r\nStatus: 5.1.1\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
        "Original-Envelope-Id: QQ314159\r\n",
        "mx.example.com said: 550 5.1.1 no such user",
        "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: hello\r\n",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn other_letters_are_encoded_where_they_stand() {
    let mut dsn = dsn("550 5.1.1 kein Gr\u{fc}n hier", "\u{fc}@b.test");
    dsn.recipients[0].final_recipient = "\u{fc}ser@b\u{fc}cher.test".into();
    dsn.recipients[0].original_recipient = Some("utf-8;\u{4f60}@b.test".into());
    dsn.received_from_mta = Some("\u{fc}.test".into());
    dsn.original = OriginalContent::Headers("Subject: gr\u{fc}n\r\n".into());
    assert!(dsn.needs_smtputf8());
    let bytes = dsn.build();
    let text = String::from_utf8(bytes.clone()).unwrap();
    for part in [
        "To: =?utf-8?B?w7xAYi50ZXN0?= :;\r\n",
        "Final-Recipient: utf-8; \\x{FC}ser@b\\x{FC}cher.test\r\n",
        "Original-Recipient: utf-8; \\x{4F60}@b.test\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 kein =?utf-8?B?R3LDvG4=?= hier\r\n",
        "Subject: gr=C3=BCn\r\n",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("Received-From-MTA"), "{text}");
    let read = String::from_utf8(part(&bytes, 1)).unwrap();
    assert!(read.contains("550 5.1.1 kein Gr\u{fc}n hier"), "{read}");
}

/// RFC 2045 6.4: a message in a report may have no encoding of its own, so its parts have.
#[test]
fn a_returned_message_has_its_form_by_its_octets() {
    let full = |message: &str| {
        let mut dsn = dsn("550 no", "a@b.test");
        dsn.original = OriginalContent::Full(message.into());
        let bytes = dsn.build();
        (labels(&bytes).remove(3), String::from_utf8(bytes).unwrap())
    };
    for (message, kind, encoding, has) in [
        (
            "A: b\r\n\r\nplain\r\n",
            "message/rfc822",
            "7bit",
            "\r\n\r\nplain\r\n",
        ),
        (
            "A: b\r\n\r\nein gr\u{fc}ner Baum\r\n",
            "message/rfc822",
            "7bit",
            "quoted-printable\r\n\r\nein gr=C3=BCner Baum\r\n",
        ),
        (
            "DKIM-Signature: v=1\r\n\r\nein gr\u{fc}ner Baum\r\n",
            "message/rfc822",
            "7bit",
            "gr=C3=BCner",
        ),
        (
            "Subject: gr\u{fc}n\r\n\r\ntext\r\n",
            "text/rfc822-headers",
            "quoted-printable",
            "Subject: gr=C3=BCn\r\n",
        ),
        (
            "A: b\r\n\r\nbare\n.\n",
            "text/rfc822-headers",
            "7bit",
            "A: b\r\n",
        ),
    ] {
        let (label, text) = full(message);
        assert_eq!(
            (label.0.as_str(), label.1.as_str()),
            (kind, encoding),
            "{message:?}"
        );
        assert!(text.contains(has), "{has} is missing in {text}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,60}",
        "\\PC{0,40}[\\r\\n\\x00]{0,3}\\PC{0,1500}",
        "a{900,2000}",
        prop::collection::vec(any::<u8>(), 0..200)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(vec![
        "",
        "Subject: x\r\n\r\n",
        "Subject: gr\u{fc}n\r\n\r\n",
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n",
        "X: =_skein_0000000000000007_0\r\n\r\n",
    ]);
    let bytes = prop::collection::vec(
        prop_oneof![
            any::<u8>(),
            Just(b'\r'),
            Just(b'\n'),
            Just(b'-'),
            Just(b'a')
        ],
        0..400,
    );
    let text = any_text().prop_map(String::into_bytes);
    (header, prop_oneof![bytes, text])
        .prop_map(|(header, body)| [header.as_bytes(), &body].concat())
}

proptest! {
    #[test]
    fn any_report_is_7bit_and_labelled_so(
        (reply, address, to) in (any_text(), any_text(), any_text()),
        (orcpt, helo, host) in (any_text(), any_text(), any_text()),
        message in any_message(),
        is_full in any::<bool>(),
    ) {
        let mut dsn = dsn(&reply, &to);
        dsn.received_from_mta = Some(helo.clone());
        dsn.envelope_id = Some(helo);
        dsn.recipients[0].final_recipient = address;
        dsn.recipients[0].original_recipient = Some(orcpt);
        dsn.recipients[0].remote_mta = Some(host);
        let mut local = dsn.recipients[0].clone();
        local.diagnostic = Some(Diagnostic::Local(reply));
        dsn.recipients.push(local);
        dsn.original = match is_full {
            true => OriginalContent::Full(message),
            false => OriginalContent::Headers(header_block(&message).to_vec()),
        };
        let report = dsn.build();
        let seen = Content::of(&report);
        prop_assert!(seen.is_7bit() && seen.line_bytes_max <= LINE_BYTES_MAX, "{:?}", seen);
        let labels = labels(&report);
        prop_assert_eq!(labels.len(), 4, "{:?}", labels);
        let expected = ["multipart/report", "text/plain", "message/delivery-status"];
        for (label, expected) in labels.iter().zip(expected) {
            prop_assert_eq!(&label.0, expected);
        }
        for (kind, encoding) in &labels {
            let is_composite = kind.starts_with("message/") || kind.starts_with("multipart/");
            let allowed: &[&str] = if is_composite { &["7bit"] } else { &["7bit", "quoted-printable"] };
            prop_assert!(allowed.contains(&encoding.as_str()), "{} is {}", kind, encoding);
        }
        let last = labels.last().map(|label| label.0.as_str());
        prop_assert!(matches!(last, Some("message/rfc822" | "text/rfc822-headers")));
        prop_assert_eq!(&dsn.build(), &report);
    }
}
