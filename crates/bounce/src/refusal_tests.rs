use proptest::prelude::*;

use super::*;

#[test]
fn codes_are_found_where_they_stand() {
    for (text, code, enhanced) in [
        ("550 5.1.1 no", Some(550), Some((5, 1, 1))),
        ("550-5.1.1 no\n550 5.1.1 more", Some(550), Some((5, 1, 1))),
        ("smtp; 550 no", Some(550), None),
        ("smtp;450 (4.2.2) full", Some(450), Some((4, 2, 2))),
        ("550 #5.1.0 Address rejected.", Some(550), Some((5, 1, 0))),
        (
            "host mx.example.net[192.0.2.1] said: 554 no",
            Some(554),
            None,
        ),
        (
            "#550 5.4.1 All recipient addresses rejected ##",
            Some(550),
            Some((5, 4, 1)),
        ),
        (
            "#< #5.1.1 smtp;550 5.1.1 unknown>",
            Some(550),
            Some((5, 1, 1)),
        ),
        (
            "Remote Server returned '550 5.7.1 no'",
            Some(550),
            Some((5, 7, 1)),
        ),
        ("The user has 500 messages", None, None),
        ("delivery failed (5.2.2): full", None, Some((5, 2, 2))),
        ("4.4.1 connection timed out", None, Some((4, 4, 1))),
        ("connect to 4.4.4.4 failed", None, None),
        ("exim 4.92.3", None, None),
        ("554: 5.7.1 no", Some(554), Some((5, 7, 1))),
        ("250 2.0.0 fine", None, None),
        ("", None, None),
    ] {
        let read = Refusal::read(text);
        assert_eq!(
            (read.code, read.enhanced),
            (code, enhanced.map(Into::into)),
            "{text:?}"
        );
    }
}

#[test]
fn the_reply_code_decides_on_another_try() {
    for (text, permanent) in [
        ("550 4.2.2 full", true),
        ("450 5.1.1 unknown", false),
        ("5.1.1 unknown", true),
        ("unknown", false),
    ] {
        assert_eq!(Refusal::read(text).is_permanent(), permanent, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in ".*", near in "([45][0-9.]{0,8}|[-;:# ()<>é])*") {
        let _ = (Refusal::read(&text), Refusal::read(&near));
    }
}
