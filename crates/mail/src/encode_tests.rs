use proptest::prelude::*;

use super::*;
use crate::content::Content;

fn encoded(encoding: Encoding, content: &[u8], closes_line: bool) -> String {
    let mut out = Vec::new();
    encoding.encode(content, closes_line, &mut out);
    String::from_utf8(out).expect("both encodings are ASCII")
}

/// RFC 2045 section 6.7, strictly.
fn decode_quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'=' {
            out.push(byte);
            continue;
        }
        let two = [bytes.next(), bytes.next()].map(|byte| byte.expect("two more"));
        if two != *b"\r\n" {
            let hex = std::str::from_utf8(&two).expect("ASCII");
            out.push(u8::from_str_radix(hex, 16).expect("hexadecimal"));
        }
    }
    out
}

fn decode(encoding: Encoding, text: &str) -> Vec<u8> {
    match encoding {
        Encoding::QuotedPrintable => decode_quoted_printable(text),
        Encoding::Base64 => STANDARD.decode(text.replace("\r\n", "")).expect("base64"),
    }
}

#[test]
fn quoted_printable_table() {
    let long = "a".repeat(80);
    let broken = format!("{}=\r\n{}", "a".repeat(75), "a".repeat(5));
    for (content, closes_line, expected) in [
        ("gr\u{fc}n\r\n", true, "gr=C3=BCn\r\n"),
        ("a=b", false, "a=3Db"),
        ("a=b", true, "a=3Db=\r\n"),
        ("end \r\n\t\r\n", true, "end=20\r\n=09\r\n"),
        ("end ", false, "end=20"),
        ("From me\r\nFrom", true, "=46rom me\r\nFrom=\r\n"),
        ("bare\rends\n", false, "bare=0Dends=0A"),
        (&long, false, &broken),
        ("", true, ""),
    ] {
        let text = encoded(Encoding::QuotedPrintable, content.as_bytes(), closes_line);
        assert_eq!(text, expected, "{content:?}");
    }
}

#[test]
fn text_of_a_few_other_letters_stays_readable() {
    for (content, is_text, expected) in [
        ("ein gr\u{fc}ner Baum\r\n", true, Encoding::QuotedPrintable),
        ("\u{4f60}\u{597d}\u{4e16}\u{754c}", true, Encoding::Base64),
        ("a gr\u{fc}n", false, Encoding::Base64),
    ] {
        assert_eq!(Encoding::best_for(content.as_bytes(), is_text), expected);
    }
}

#[test]
fn fields_keep_what_is_ascii() {
    for (text, expected) in [
        ("550 no such user", "550 no such user"),
        (
            "550 kein Gr\u{fc}n hier",
            "550 kein =?utf-8?B?R3LDvG4=?= hier",
        ),
        ("\u{fc}", "=?utf-8?B?w7w=?="),
    ] {
        assert_eq!(unstructured(text), expected);
    }
}

#[test]
fn addresses_of_other_letters_have_an_ascii_form() {
    for (address, expected) in [
        ("\u{fc}ser@b\u{fc}cher.test", "\\x{FC}ser@b\\x{FC}cher.test"),
        (
            "a+\u{4f60}=b\\@c.test",
            "a\\x{2B}\\x{4F60}\\x{3D}b\\x{5C}@c.test",
        ),
    ] {
        assert_eq!(utf8_address(address), expected);
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        content in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'=')], 0..400
        ),
        closes_line in any::<bool>(),
    ) {
        for encoding in [Encoding::QuotedPrintable, Encoding::Base64] {
            let text = encoded(encoding, &content, closes_line);
            prop_assert_eq!(decode(encoding, &text), content.clone());
            let seen = Content::of(text.as_bytes());
            prop_assert!(seen.is_7bit() && seen.line_bytes_max <= LINE, "{:?}", text);
            prop_assert!(!closes_line || seen.ends_in_crlf || content.is_empty());
        }
    }

    #[test]
    fn encoded_words_are_short_and_decode_to_the_same(text in "\\PC{0,300}") {
        let field = format!("Subject: {}\r\n\r\n", unstructured(&text));
        prop_assert!(field.is_ascii());
        for word in field.split_ascii_whitespace().filter(|word| word.starts_with("=?utf-8?B?")) {
            prop_assert!(word.len() <= 75);
        }
        if !text.is_ascii() {
            let message = mail_parser::MessageParser::default().parse(field.as_bytes());
            let subject = message.as_ref().and_then(|message| message.subject()).unwrap_or_default();
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(squeezed(subject), squeezed(&text));
        }
    }
}
