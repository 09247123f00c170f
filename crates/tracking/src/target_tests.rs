use proptest::prelude::*;

use super::*;

const RULES: Rules<'_> = Rules {
    host: "t.example.com",
    unsubscribe_urls: &["https://example.com/leave?id=1"],
    utm: &[],
    is_utf8: true,
};

#[test]
fn links_are_tracked_or_left_alone() {
    let check = |href: &str, expected: Option<&str>| {
        assert_eq!(RULES.target(href).as_deref(), expected, "{href}");
    };
    for same in [
        "https://example.com",
        "http://example.com/",
        "HTTPS://Example.com/A?b=c#d",
        "https://example.com:8443/a",
        "https://[2001:db8::1]/a",
        "https://192.0.2.1/a",
        "https://example.com?a[]=1&b=@x",
        "https://example.com/@user",
        "https://example.com/100%25",
        "https://xn--bcher-kva.example/",
    ] {
        check(same, Some(same));
    }
    for (href, target) in [
        (" https://example.com/\n", "https://example.com/"),
        ("https://example.com/a\r\n b", "https://example.com/a%20b"),
        (
            "https://example.com/a?x=1&amp;y=2",
            "https://example.com/a?x=1&y=2",
        ),
        ("https&#58;//example.com/", "https://example.com/"),
        (
            "https://example.com/b\u{fc}cher?q=\u{20ac}",
            "https://example.com/b%C3%BCcher?q=%E2%82%AC",
        ),
        (
            "https://example.com/&lt;a&gt;&quot;",
            "https://example.com/%3Ca%3E%22",
        ),
    ] {
        check(href, Some(target));
    }
    for left in [
        "",
        "#top",
        "/relative",
        "relative",
        "//example.com/a",
        "?a=b",
        "mailto:someone@example.com",
        "tel:+431234",
        "sms:+431234",
        "cid:image@x",
        "data:text/html,x",
        "javascript:alert(1)",
        "ftp://example.com/",
        "https:",
        "https://",
        "https:///path",
        "https:example.com",
        "https://:80/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com\\@other.test/",
        "https://b\u{fc}cher.example/",
        "https://example.com/\u{1}x",
        "https://example.com<a",
        "https://ex%61mple.com/",
        "https://example.com;x/",
        "https://example.com/?a&copy",
        "https://example.com/?a=&foo;",
        "{{url}}",
        "https://{{host}}/",
        "https://example.com/?id={{id}}",
        "https://example.com/?id=%7B%7Bid%7D%7D",
        "https://example.com/*|LINK|*",
        "https://example.com/?id=[[id]]",
        "https://example.com/?id=%%id%%",
        "https://example.com/&lt;%= id %&gt;",
        "https://example.com/<%=id%>",
        "https://example.com/${id}",
        "https://example.com/unsubscribe?id=1",
        "https://example.com/Opt-Out",
        "https://example.com/leave?id=1",
        "https://t.example.com/c/abc",
        "https://T.EXAMPLE.com:443/c/abc",
    ] {
        check(left, None);
    }
    let long = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    check(&long(TARGET_BYTES_MAX), Some(&long(TARGET_BYTES_MAX)));
    check(&long(TARGET_BYTES_MAX + 1), None);
    let wide = format!("https://example.com/{}", "\u{20ac}".repeat(1000));
    check(&wide, None);
    let other = Rules {
        is_utf8: false,
        ..RULES
    };
    assert_eq!(other.target("https://example.com/\u{fffd}"), None);
}

#[test]
fn parameters_are_appended_where_they_are_missing() {
    let rules = Rules {
        utm: &[("utm_source", "news letter"), ("utm_campaign", "a&b")],
        ..RULES
    };
    for (href, target) in [
        (
            "https://e.test",
            "https://e.test?utm_source=news%20letter&utm_campaign=a%26b",
        ),
        (
            "https://e.test/?",
            "https://e.test/?utm_source=news%20letter&utm_campaign=a%26b",
        ),
        (
            "https://e.test/?a=1",
            "https://e.test/?a=1&utm_source=news%20letter&utm_campaign=a%26b",
        ),
        (
            "https://e.test/?a=1&amp;",
            "https://e.test/?a=1&utm_source=news%20letter&utm_campaign=a%26b",
        ),
        (
            "https://e.test/?UTM_source=x",
            "https://e.test/?UTM_source=x&utm_campaign=a%26b",
        ),
        (
            "https://e.test/?utm_source&utm_campaign=",
            "https://e.test/?utm_source&utm_campaign=",
        ),
        (
            "https://e.test/?xutm_source=1#f?utm_campaign=2",
            "https://e.test/?xutm_source=1&utm_source=news%20letter&utm_campaign=a%26b#f?utm_campaign=2",
        ),
        (
            "https://e.test/#f",
            "https://e.test/?utm_source=news%20letter&utm_campaign=a%26b#f",
        ),
    ] {
        assert_eq!(rules.target(href).as_deref(), Some(target), "{href}");
    }
}

#[test]
fn texts_that_are_urls_are_told() {
    for (text, is_url) in [
        ("https://example.com/a", true),
        (" HTTP://example.com ", true),
        ("www.example.com", true),
        ("example.com/path", true),
        ("b\u{fc}cher.example", true),
        ("Read more", false),
        ("Version 1.2", false),
        ("1.2", false),
        ("e.g.", false),
        ("", false),
        ("example.com is good", false),
    ] {
        assert_eq!(looks_like_url(text), is_url, "{text}");
    }
}

proptest! {
    #[test]
    fn a_target_is_a_location_and_its_own_target(href in "(https?://|HTTP://)?.{0,60}", host in "[a-z@:/?#&;\\\\.]{0,30}") {
        for href in [href, format!("https://{host}")] {
            if let Some(target) = RULES.target(&href) {
                prop_assert!(is_location(&target), "{}", target);
                let mut written = Vec::new();
                entity::encode(&target, &mut written);
                let written = String::from_utf8(written).expect("ASCII");
                let again = RULES.target(&written);
                prop_assert_eq!(again.as_deref(), Some(target.as_str()));
            }
            let _ = looks_like_url(&href);
        }
    }
}
