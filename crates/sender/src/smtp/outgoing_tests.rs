use proptest::prelude::*;

use super::*;
use crate::task::test_tasks::task;

fn host(eight_bit_mime: bool, smtputf8: bool, chunking: bool) -> Capabilities {
    Capabilities {
        eight_bit_mime,
        smtputf8,
        chunking,
        ..Capabilities::default()
    }
}

/// A task whose client declared this.
fn declared(from: &str, to: &[&str], body_type: BodyType, smtputf8: bool) -> LeasedTask {
    let mut task = task(to);
    task.message.envelope.return_path = from.into();
    task.message.envelope.body_type = body_type;
    task.message.envelope.smtputf8 = smtputf8;
    task
}

const ASCII: &str = "Subject: x\r\n\r\nplain\r\n";
const BODY: &str = "Subject: x\r\n\r\ngr\u{fc}n\r\n";
const HEADER: &str = "Subject: gr\u{fc}n\r\n\r\nplain\r\n";

/// Each extension has a question of its own: octets, header and addresses, and what the host has.
#[test]
fn extensions_are_asked_for_by_what_needs_them() {
    use BodyType::{EightBit, SevenBit};
    // What was declared, the message, 8BITMIME and SMTPUTF8 at the host, and what is asked of it.
    for (body_type, smtputf8, message, has_8bit, has_utf8, needs_8bit, needs_utf8) in [
        (SevenBit, false, ASCII, false, false, false, false),
        (EightBit, true, ASCII, false, false, false, false),
        (EightBit, true, ASCII, true, true, true, true),
        // Octets are what they are, whatever was declared.
        (SevenBit, false, BODY, true, false, true, false),
        (SevenBit, false, BODY, false, false, true, false),
        // A body is no reason for SMTPUTF8.
        (EightBit, true, BODY, true, false, true, false),
        (EightBit, true, HEADER, true, false, true, true),
        (EightBit, false, HEADER, true, true, true, false),
    ] {
        let task = declared("a@here.test", &["b@there.test"], body_type, smtputf8);
        let content = Content::of(message.as_bytes());
        let made = outgoing(&task, &content, &host(has_8bit, has_utf8, false));
        assert_eq!(
            (made.is_8bit, made.needs_smtputf8),
            (needs_8bit, needs_utf8),
            "{body_type:?} {smtputf8} {message:?} at {has_8bit} {has_utf8}"
        );
    }
}

#[test]
fn addresses_have_a_form_for_hosts_without_smtputf8() {
    let to = ["x@y.test", "\u{fc}@y.test"];
    let task = declared("a@b\u{fc}cher.test", &to, BodyType::EightBit, true);
    let content = Content::of(ASCII.as_bytes());
    let plain = outgoing(&task, &content, &host(false, false, false));
    assert_eq!(plain.reverse_path, "a@xn--bcher-kva.test");
    assert_eq!(plain.recipients[0].address, "x@y.test");
    assert_eq!(
        plain.recipients[1].address, "\u{fc}@y.test",
        "a local part has no other form"
    );
    let full = outgoing(&task, &content, &host(true, true, false));
    assert_eq!(full.reverse_path, "a@b\u{fc}cher.test");
}

#[test]
fn bdat_carries_what_data_would_change() {
    let long = format!("A: b\r\n\r\n{}\r\n", "x".repeat(999));
    for (message, expected) in [
        (ASCII, false),
        ("A: b\r\n\r\nno end", true),
        (long.as_str(), true),
    ] {
        let content = Content::of(message.as_bytes());
        let made = outgoing(&task(&["b@there.test"]), &content, &host(true, true, true));
        assert_eq!(made.prefer_bdat, expected, "{message:?}");
    }
}

/// What goes to a host of a message with these bytes, or the status with which it fails.
fn sent(message: &str, capabilities: &Capabilities) -> Result<String, String> {
    let rewrite = Rewrite::of(&Content::of(message.as_bytes()), false, capabilities);
    let made = rewrite.and_then(|rewrite| rewrite.apply(message.as_bytes()));
    made.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|refused| refused.enhanced.to_string())
}

#[test]
fn stored_messages_go_out_right_or_fail_clearly() {
    let signed = "DKIM-Signature: v=1\r\n";
    let (plain, eight) = (host(false, false, true), host(true, false, false));
    for (message, capabilities, expected) in [
        (ASCII.to_owned(), &plain, Ok(ASCII)),
        (BODY.to_owned(), &eight, Ok(BODY)),
        (
            BODY.to_owned(),
            &plain,
            Ok(
                "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\nZ3LDvG4NCg==\r\n",
            ),
        ),
        (HEADER.to_owned(), &plain, Err("5.6.3")),
        (format!("{signed}{BODY}"), &plain, Err("5.6.3")),
        // Bodies of older versions, also where the host has CHUNKING.
        (
            "A: b\r\n\r\nx\n.\nMAIL FROM:<ceo@bank.test>\r\n".to_owned(),
            &plain,
            Ok("A: b\r\n\r\nx\r\n.\r\nMAIL FROM:<ceo@bank.test>\r\n"),
        ),
        (format!("{signed}\r\nx\n.\n"), &plain, Err("5.6.11")),
        (format!("{signed}\r\nx\n.\n"), &eight, Err("5.6.11")),
    ] {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(sent(&message, capabilities), expected, "{message:?}");
    }
}

#[test]
fn a_header_of_other_letters_asks_for_smtputf8_before_all() {
    let content = Content::of(HEADER.as_bytes());
    let refused = Rewrite::of(&content, true, &host(false, false, false));
    let status = refused.map_err(|refused| refused.enhanced.to_string());
    assert_eq!(status, Err("5.6.7".to_owned()));
    assert!(Rewrite::of(&content, true, &host(false, true, false)).is_ok());
}

#[test]
fn what_is_too_large_to_be_held_fails_clearly() {
    let content = Content {
        bytes: REWRITTEN_BYTES_MAX + 1,
        has_8bit: true,
        ..Content::default()
    };
    let rewrite = Rewrite::of(&content, false, &host(false, false, false));
    let rewrite = rewrite.expect("its header is ASCII");
    let refused = rewrite.admits(content.bytes).expect_err("it is too large");
    assert_eq!(refused.enhanced.to_string(), "5.6.3");
    assert!(refused.text.contains("67108865 octets"), "{refused}");
}

proptest! {
    /// Whatever is stored and whatever the host has: no bare CR or LF, no octet that the host does not take, and the same
    /// bytes again for equal capabilities.
    #[test]
    fn any_message_goes_out_right_or_fails(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a')], 0..300
        ),
        head in "(A: b\r\n\r\n|DKIM-Signature: x\r\n\r\n|)",
        (eight, utf8, chunking) in any::<(bool, bool, bool)>(),
    ) {
        let message = [head.as_bytes(), &bytes].concat();
        let capabilities = host(eight, utf8, chunking);
        let rewrite = Rewrite::of(&Content::of(&message), false, &capabilities);
        let rewrite = rewrite.expect("nobody declared SMTPUTF8");
        if let Ok(made) = rewrite.apply(&message) {
            let content = Content::of(&made);
            prop_assert!(!content.has_bare_line_end);
            prop_assert!(eight || !content.has_8bit);
            prop_assert!(rewrite.is_needed() || made == message);
            prop_assert_eq!(rewrite.apply(&message).ok(), Some(made));
        }
    }
}
