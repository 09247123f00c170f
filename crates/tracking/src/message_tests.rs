use mail_parser::MessageParser;
use proptest::prelude::*;

use super::*;

const OPTIONS: Options<'_> = Options {
    host: "t.example.com",
    clicks: true,
    opens: true,
    utm: &[],
    leave_url_texts: false,
    unsubscribe_urls: &[],
};
const HTML: &str = "<html><body><p>\u{e4} = \u{20ac}</p><a href=\"https://e.test/?a=1&amp;b=2\">x</a></body></html>";

fn sign(mark: Mark<'_>) -> Option<String> {
    Some(match mark {
        // As long as a real one.
        Mark::Link { index, .. } => format!("LINK{index}-{}", "t".repeat(120)),
        Mark::Pixel => "PIXEL".to_owned(),
    })
}

fn run(message: &[u8]) -> RewrittenMessage<'_> {
    rewrite_message(message, &OPTIONS, sign)
}

/// The HTML of a message, as a reader sees it.
fn html_of(message: &[u8]) -> String {
    let message = MessageParser::new().parse(message).expect("a message");
    message.body_html(0).expect("HTML").into_owned()
}

fn encoded(encoding: Option<Encoding>, html: &str) -> (Vec<u8>, &'static str) {
    let mut out = Vec::new();
    match encoding {
        Some(encoding) => encoding.encode(html.as_bytes(), true, &mut out),
        None => out.extend_from_slice(html.as_bytes()),
    }
    (out, encoding.map_or("8bit", Encoding::name))
}

#[test]
fn a_reader_sees_the_same_whatever_the_encoding() {
    for encoding in [
        None,
        Some(Encoding::QuotedPrintable),
        Some(Encoding::Base64),
    ] {
        let (body, label) = encoded(encoding, HTML);
        let mut message = format!(
            "From: a@e.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\npre\r\n--b\r\n\
             Content-Type: text/plain\r\n\r\nhttps://e.test/\r\n--b\r\nContent-Type: text/html; charset=UTF-8\r\n\
             Content-Transfer-Encoding: {label}\r\nX: y\r\n\r\n"
        )
        .into_bytes();
        let start = message.len();
        message.extend_from_slice(&body);
        let rest = b"\r\n--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=x.html\r\n\r\n<a href=\"https://e.test\">\r\n--b--\r\nepilogue\r\n";
        message.extend_from_slice(rest);
        let done = run(&message);
        assert_eq!((done.untouched, done.has_pixel), (None, true), "{label}");
        assert_eq!(done.links.len(), 1);
        assert_eq!(done.links[0].target, "https://e.test/?a=1&b=2");
        // Around the part, octet by octet.
        assert_eq!(&done.message[..start], &message[..start]);
        assert!(done.message.ends_with(rest), "{label}");
        let (before, after) = (html_of(&message), html_of(&done.message));
        let token = format!("https://t.example.com/c/LINK0-{}", "t".repeat(120));
        let expected = before.replace("https://e.test/?a=1&amp;b=2", &token);
        let (start, end) = expected.split_once("</body>").expect("a body");
        assert!(
            after.starts_with(start)
                && after
                    .trim_end()
                    .ends_with(format!("</body>{end}").trim_end())
        );
        if encoding.is_some() {
            assert!(lines(&done.message).all(|line| line.len() <= 78));
        }
        assert_eq!(run(&message), done, "the same again");
    }
}

#[test]
fn lines_that_become_too_long_are_encoded() {
    let links = "<a href=\"https://e.test/\">x</a>".repeat(8);
    let message =
        format!("Subject: s\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{links}\u{e4}\r\n");
    let done = run(message.as_bytes());
    assert_eq!(done.links.len(), 8);
    assert!(lines(&done.message).all(|line| line.len() <= 78));
    let text = String::from_utf8(done.message.to_vec()).expect("UTF-8");
    let header = "Subject: s\r\nContent-Type: text/html; charset=utf-8\r\nMIME-Version: 1.0\r\n\
                  Content-Transfer-Encoding: quoted-printable\r\n\r\n";
    assert!(text.starts_with(header) && text.ends_with("\r\n"), "{text}");
    assert_eq!(html_of(text.as_bytes()).matches("/c/LINK").count(), 8);
}

#[test]
fn links_count_on_and_there_is_one_pixel() {
    let part = "Content-Type: text/html\r\n\r\n<a href=\"https://e.test\">x</a>";
    let message = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{part}\r\n--b\r\n{part}\r\n--b--\r\n"
    );
    let done = run(message.as_bytes());
    let indexes: Vec<u16> = done.links.iter().map(|link| link.index).collect();
    assert_eq!(indexes, [0, 1]);
    let text = String::from_utf8_lossy(&done.message);
    assert_eq!(text.matches("/o/PIXEL").count(), 1);
    assert_eq!(text.matches("/c/LINK").count(), 2);
}

#[test]
fn what_must_not_change_does_not() {
    let html = "Content-Type: text/html\r\n\r\n<a href=\"https://e.test\">x</a>\r\n";
    let check = |message: String, why: Untouched| {
        let done = run(message.as_bytes());
        assert_eq!(done.untouched, Some(why), "{message}");
        assert!(matches!(done.message, Cow::Borrowed(same) if same == message.as_bytes()));
        assert!(done.links.is_empty() && !done.has_pixel);
    };
    let multipart = |kind: &str, parts: &str| {
        format!("Content-Type: multipart/{kind}; boundary=b\r\n\r\n--b\r\n{parts}\r\n--b--\r\n")
    };
    for field in [
        "DKIM-Signature: v=1",
        "dkim-signature: v=1",
        "ARC-Seal: i=1",
        "DomainKey-Signature: a=b",
    ] {
        check(format!("{field}\r\n{html}"), Untouched::Signed);
    }
    check(multipart("signed", html), Untouched::Signed);
    check(multipart("encrypted", html), Untouched::Signed);
    for kind in [
        "application/pkcs7-mime",
        "application/x-pkcs7-signature",
        "application/pgp-encrypted",
    ] {
        check(
            multipart(
                "mixed",
                &format!("{html}--b\r\nContent-Type: {kind}\r\n\r\nx"),
            ),
            Untouched::Signed,
        );
    }
    let inline = "Content-Type: text/plain\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----";
    check(
        multipart("alternative", &format!("{html}--b\r\n{inline}")),
        Untouched::Signed,
    );
    check(multipart("report", html), Untouched::Nothing);
    check(
        "Subject: x\r\n\r\n<a href=\"https://e.test\">\r\n".to_owned(),
        Untouched::Nothing,
    );
    check(
        format!("Content-Type: message/rfc822\r\n\r\n{html}"),
        Untouched::Nothing,
    );
    check(
        format!("Content-Disposition: attachment\r\n{html}"),
        Untouched::Nothing,
    );
    check(
        format!("Content-Disposition: x-other; a=b\r\n{html}"),
        Untouched::Nothing,
    );
    check("Content-Type: text/html\r\n".to_owned(), Untouched::Nothing);
    check(format!("no field\r\n{html}"), Untouched::Malformed);
    check(
        format!("Content-Type: text/plain\r\n{html}"),
        Untouched::Malformed,
    );
    check(
        "Content-Type: multipart/mixed\r\n\r\nx".to_owned(),
        Untouched::Malformed,
    );
    check(
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{html}"),
        Untouched::Malformed,
    );
    check(
        format!(
            "Content-Transfer-Encoding: base64\r\n{}",
            multipart("mixed", html)
        ),
        Untouched::Malformed,
    );
    for charset in ["utf-16", "iso-2022-jp", "utf-7", "unheard-of"] {
        check(
            format!(
                "Content-Type: text/html; charset={charset}\r\n\r\n<a href=\"https://e.test\">x</a>\r\n"
            ),
            Untouched::Charset,
        );
    }
    check(
        "Content-Type: text/html\r\n\r\n<\0a\0>\0\r\n".to_owned(),
        Untouched::Charset,
    );
    for (encoding, body) in [
        ("base64", "!!!!"),
        ("quoted-printable", "a=zz"),
        ("uuencode", "x"),
    ] {
        check(
            format!(
                "Content-Type: text/html\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n"
            ),
            Untouched::Encoding,
        );
    }
    check(
        format!(
            "Content-Type: text/html\r\n\r\n{}\r\n",
            "x".repeat(HTML_BYTES_MAX)
        ),
        Untouched::TooLarge,
    );
    check(
        multipart("mixed", &"\r\nx\r\n--b\r\n".repeat(PARTS_MAX)),
        Untouched::TooManyParts,
    );
    let mut deep = html.to_owned();
    for n in 0..=DEPTH_MAX {
        deep = format!(
            "Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n{deep}\r\n--b{n}--\r\n"
        );
    }
    check(deep, Untouched::TooManyParts);
}

/// One part that cannot be rewritten does not keep another from being.
#[test]
fn parts_are_left_one_by_one() {
    let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-16\r\n\r\nx\r\n\
                   --b\r\nContent-Type: text/html\r\n\r\n<a href=\"https://e.test\">x</a>\r\n--b--\r\n";
    let done = run(message.as_bytes());
    assert_eq!(
        (done.links.len(), done.untouched),
        (1, Some(Untouched::Charset))
    );
}

proptest! {
    #[test]
    fn any_message_is_rewritten_or_left(message in prop::collection::vec(any::<u8>(), 0..300), lines in "((Content-Type: (text/html|multipart/mixed; boundary=b)|Content-Transfer-Encoding: (base64|quoted-printable)|--b|--b--|<a href=\"https://e\\.test\">|[ -~]{0,20}|)\r\n){0,20}") {
        for message in [message.as_slice(), lines.as_bytes()] {
            let done = run(message);
            prop_assert_eq!(done.untouched.is_none() || matches!(done.message, Cow::Borrowed(_)) || !done.links.is_empty() || done.has_pixel, true);
            prop_assert!(done.message.len() <= 4 * message.len() + 4000);
        }
    }
}
