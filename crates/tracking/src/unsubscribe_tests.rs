use proptest::prelude::*;

use super::*;

const URL: &str = "https://t.example.com/u/TOKEN";

fn set(unsubscribe: &[&str], post: &[&str], mailto: Option<&str>) -> Option<String> {
    let owned = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let set = fields(&owned(unsubscribe), &owned(post), URL, mailto).expect("URIs");
    set.map(|set| {
        assert_eq!(set.list_unsubscribe_post, ONE_CLICK);
        set.list_unsubscribe
    })
}

#[test]
fn fields_that_are_complete_stay() {
    for complete in [
        "<https://e.test/u?id=1>",
        "<mailto:u@e.test>, <https://e.test/u>",
        "<HTTPS://e.test/u>, <mailto:u@e.test?subject=x>, <mailto:v@e.test>",
        " < https://e.test/u > ",
    ] {
        assert_eq!(set(&[complete], &[ONE_CLICK], None), None, "{complete}");
        assert_eq!(
            set(&[complete], &[" List-Unsubscribe=One-Click "], None),
            None
        );
    }
}

#[test]
fn others_are_replaced() {
    let own = format!("<{URL}>");
    let with_mailto = format!("<{URL}>,\r\n <mailto:u@e.test>");
    let https = "<https://e.test/u>";
    type Row<'a> = (&'a [&'a str], &'a [&'a str], Option<&'a str>, &'a str);
    let rows: &[Row<'_>] = &[
        (&[], &[], None, &own),
        (&[], &[ONE_CLICK], None, &own),
        (&[https], &[], None, &own),
        (&[https], &["List-Unsubscribe=one-click"], None, &own),
        (&[https], &[ONE_CLICK, ONE_CLICK], None, &own),
        (&[https, https], &[ONE_CLICK], None, &own),
        (
            &["<https://e.test/1>, <https://e.test/2>"],
            &[ONE_CLICK],
            None,
            &own,
        ),
        (&["<http://e.test/u>"], &[ONE_CLICK], None, &own),
        (&["https://e.test/u"], &[ONE_CLICK], None, &own),
        (&["<https://e.test/a b>"], &[ONE_CLICK], None, &own),
        (&["<mailto:u@e.test>"], &[ONE_CLICK], None, &with_mailto),
        (
            &["<mailto:other@e.test>"],
            &[],
            Some("mailto:u@e.test"),
            &with_mailto,
        ),
        (&["<mailto:a b>"], &[], None, &own),
        (&["garbage <<>> <"], &["x"], None, &own),
    ];
    for (unsubscribe, post, mailto, expected) in rows {
        assert_eq!(
            set(unsubscribe, post, *mailto).as_deref(),
            Some(*expected),
            "{unsubscribe:?}"
        );
    }
    // What was set is complete.
    assert_eq!(
        set(&[&with_mailto.replace("\r\n", "")], &[ONE_CLICK], None),
        None
    );
}

#[test]
fn uris_that_are_none_are_told() {
    for bad in [
        "",
        "https://",
        "http://e.test",
        "https://e.test/a b",
        "https://e.test/,",
        "https://e.test/>\r\nX: y",
    ] {
        assert_eq!(
            fields(&[], &[], bad, None),
            Err(NotAUri::Https(bad.to_owned()))
        );
    }
    for bad in ["", "u@e.test", "mailto:", "mailto:a>b"] {
        assert_eq!(
            fields(&[], &[], URL, Some(bad)),
            Err(NotAUri::Mailto(bad.to_owned()))
        );
    }
}

#[test]
fn forms_ask_in_either_encoding() {
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=----x";
    let part = |name: &str, value: &str| {
        format!(
            "------x\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n------x--\r\n"
        )
    };
    let own = part("\"List-Unsubscribe\"", "One-Click");
    let long = format!("{ONE_CLICK}&x={}", "y".repeat(BODY_BYTES_MAX));
    for (content_type, body, is_asked) in [
        (form, ONE_CLICK, true),
        (
            "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
            ONE_CLICK,
            true,
        ),
        (form, "a=b&List-Unsubscribe=One-Click", true),
        (form, "List%2DUnsubscribe=One%2dClick\r\n", true),
        (form, "", false),
        (form, "List-Unsubscribe=", false),
        (form, "List-Unsubscribe=One-Clicks", false),
        (form, "xList-Unsubscribe=One-Click", false),
        (form, "List-Unsubscribe%", false),
        (form, &long, false),
        (form, &own, false),
        ("", ONE_CLICK, false),
        ("text/plain", ONE_CLICK, false),
        (multipart, &own, true),
        (multipart, &part("List-Unsubscribe", "One-Click"), true),
        (
            multipart,
            &part("\"List-Unsubscribe\"; filename=\"x\"", "One-Click"),
            true,
        ),
        (multipart, &part("\"Other\"", "One-Click"), false),
        (multipart, &part("\"List-Unsubscribe\"", "No"), false),
        (multipart, ONE_CLICK, false),
        ("multipart/form-data", &own, false),
        ("multipart/form-data; boundary=other", &own, false),
    ] {
        assert_eq!(
            is_one_click(content_type, body.as_bytes()),
            is_asked,
            "{content_type}: {body}"
        );
    }
}

proptest! {
    #[test]
    fn any_body_is_read(kind in "(application/x-www-form-urlencoded|multipart/form-data; boundary=b|.{0,20})", body in prop::collection::vec(any::<u8>(), 0..200), text in "((--b(--)?|Content-Disposition: form-data; name=List-Unsubscribe|One-Click|)\r\n){0,8}") {
        let _ = is_one_click(&kind, &body);
        let _ = is_one_click(&kind, text.as_bytes());
        let _ = uris(&text);
    }
}
