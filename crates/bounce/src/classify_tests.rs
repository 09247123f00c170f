use proptest::prelude::*;

use super::*;

fn class(text: &str) -> Class {
    classify(&Refusal::read(text), None).class
}

#[test]
fn codes_decide_where_the_text_says_nothing() {
    for (text, expected) in [
        ("550 5.1.1 x", Class::InvalidRecipient),
        ("550 5.7.1 x", Class::Other),
        ("550 x", Class::Other),
        ("552 x", Class::MailboxFull),
        ("556 x", Class::InvalidDomain),
        ("450 4.2.2 x", Class::MailboxFull),
        ("421 x", Class::Busy),
        ("x", Class::Other),
        ("", Class::Other),
    ] {
        assert_eq!(class(text), expected, "{text}");
    }
}

#[test]
fn a_temporary_reply_suppresses_nobody_at_once() {
    let temporary = classify(&Refusal::read("450 5.1.1 x"), None);
    assert_eq!(
        (temporary.class, temporary.is_permanent),
        (Class::InvalidRecipient, false)
    );
    assert_eq!(temporary.suppresses(), Suppression::Never);
    let permanent = classify(&Refusal::read("550 5.1.1 x"), None);
    assert_eq!(permanent.suppresses(), Suppression::AtOnce);
}

#[test]
fn a_span_alone_is_greylisting() {
    let found = classify(&Refusal::read("451 4.3.0 come back in 5 minutes"), None);
    assert_eq!(
        (found.class, found.rule),
        (Class::Greylisted, BY_RETRY_AFTER)
    );
    assert_eq!(found.retry_after, Some(Duration::from_secs(300)));
}

#[test]
fn codes_that_stand_again_on_each_line_are_taken_out() {
    let refusal = Refusal {
        code: Some(550),
        enhanced: Enhanced::parse("5.1.1"),
        text: "550-5.1.1 The email\n550-5.1.1 account 550 5.1.1 that\n550-x 551",
    };
    assert_eq!(text_of(&refusal), " the email account that x 551 ");
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in ".*", hint in proptest::option::of(".*")) {
        let _ = classify(&Refusal::read(&text), hint.as_deref());
    }
}
