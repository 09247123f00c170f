use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

pub const OPTIONS: Options<'_> = Options {
    host: "t.example.com",
    clicks: true,
    opens: true,
    utm: &[],
    leave_url_texts: false,
    unsubscribe_urls: &[],
};
const PIXEL: &str = "<img src=\"https://t.example.com/o/PIXEL\" width=\"1\" height=\"1\" alt=\"\" style=\"display:block;border:0\">";

fn sign(mark: Mark<'_>) -> Option<String> {
    Some(match mark {
        Mark::Link { index, .. } => format!("LINK{index}"),
        Mark::Pixel => "PIXEL".to_owned(),
    })
}

fn run(html: &str, options: &Options<'_>) -> Result<(String, Vec<String>), Untouched> {
    let done = rewrite(html.as_bytes(), options, true, 0, sign)?;
    let html = String::from_utf8(done.html).expect("UTF-8");
    let links = done.links.into_iter().map(|link| link.target);
    Ok((html, links.collect()))
}

/// `[0]` in what is expected stands for the first link.
fn check(html: &str, expected: &str, targets: &[&str]) {
    let clicks = Options {
        opens: false,
        ..OPTIONS
    };
    let mut wanted = expected.to_owned();
    for n in 0..9 {
        wanted = wanted.replace(
            &format!("[{n}]"),
            &format!("https://t.example.com/c/LINK{n}"),
        );
    }
    match run(html, &clicks) {
        Ok((html, links)) => assert_eq!(
            (html, links),
            (wanted, targets.iter().map(|it| (*it).to_owned()).collect())
        ),
        Err(why) => assert_eq!((why, expected), (Untouched::Nothing, html)),
    }
}

#[test]
fn links_lead_through_us_and_all_else_stays() {
    let url = "https://e.test/?a=1&b=2";
    check(
        "<a href=\"https://e.test/?a=1&amp;b=2\">x</a>",
        "<a href=\"[0]\">x</a>",
        &[url],
    );
    check(
        "<a href='https://e.test/?a=1&b=2' >x</a>",
        "<a href='[0]' >x</a>",
        &[url],
    );
    check(
        "<A  HREF=https://e.test/?a=1&amp;b=2\tclass = x>x</A>",
        "<A  HREF=[0]\tclass = x>x</A>",
        &[url],
    );
    check(
        "<area shape=rect href=https://e.test>",
        "<area shape=rect href=[0]>",
        &["https://e.test"],
    );
    check(
        "<p>\u{e4}<a href=\"https://e.test/1\">1</a><b><a class=\"b\" href=\"https://e.test/2\">2</b>",
        "<p>\u{e4}<a href=\"[0]\">1</a><b><a class=\"b\" href=\"[1]\">2</b>",
        &["https://e.test/1", "https://e.test/2"],
    );
    // The first of two attributes counts.
    check(
        "<a href=\"https://e.test/1\" href=\"https://e.test/2\">",
        "<a href=\"[0]\" href=\"https://e.test/2\">",
        &["https://e.test/1"],
    );
    check(
        "<a title=\">\" href=\"https://e.test\n\">",
        "<a title=\">\" href=\"[0]\">",
        &["https://e.test"],
    );
}

#[test]
fn what_is_to_be_left_alone_is() {
    for same in [
        "",
        "text",
        "<a>x</a>",
        "<a href>x</a>",
        "<a href=\"\">x</a>",
        "<a href=\"mailto:a@e.test\">x</a>",
        "<a href=\"#top\">x</a>",
        "<a href=\"https://e.test\" data-skein-track=\"off\">x</a>",
        "<a data-skein-track=OFF href=\"https://e.test\">x</a>",
        "<a href=\"https://e.test/unsubscribe\">x</a>",
        "<link href=\"https://e.test/style.css\">",
        "<img src=\"https://e.test/i.png\">",
        "<form action=\"https://e.test\"></form>",
        "<base href=\"https://e.test/\">",
        "<!--[if mso]><a href=\"https://e.test\">x</a><![endif]-->",
        "<!-- <a href=\"https://e.test\">x</a> -->",
        "<style>a[href=\"https://e.test\"]{}</style>",
        "<script>'<a href=\"https://e.test\">'</script>",
        "<textarea><a href=\"https://e.test\">x</a></textarea>",
        "<title><a href=\"https://e.test\">x</a></title>",
        "<svg><a href=\"https://e.test\">x</a></svg>",
        "<v:roundrect href=\"https://e.test\"></v:roundrect>",
        "<a href=\"https://e.test",
        "<a href=\"https://t.example.com/c/abc\">x</a>",
    ] {
        check(same, same, &[]);
    }
    for amp in [
        "<html \u{26a1}4email>",
        "<html amp4email>",
        "<!doctype html><html \u{26a1}>",
    ] {
        let html = format!("{amp}<body><a href=\"https://e.test\">x</a></body></html>");
        assert_eq!(run(&html, &OPTIONS), Err(Untouched::Amp));
    }
    let ambiguous =
        "<select><xmp><script>\"use strict\";</script></select><a href=\"https://e.test\">";
    assert_eq!(run(ambiguous, &OPTIONS), Err(Untouched::Ambiguous));
}

#[test]
fn the_pixel_is_last_in_the_body() {
    let opens = Options {
        clicks: false,
        ..OPTIONS
    };
    for (before, after) in [
        ("<html><body>x", "</body></html>"),
        ("<html><BODY class=a>x", "</BODY ></html>\r\n"),
        ("x", ""),
        ("", ""),
        ("<p>x</p>", "\r\n"),
        // A reader's browser goes on in the body, whatever is behind it.
        ("<body>a</body><body>b", "</body>"),
        ("<body><!-- </body> -->x", "</body>"),
        ("<body>never closed", ""),
    ] {
        let (html, links) = run(&format!("{before}{after}"), &opens).expect("a pixel");
        assert_eq!(html, format!("{before}{PIXEL}{after}"));
        assert!(links.is_empty());
    }
    let none = Options {
        clicks: false,
        opens: false,
        ..OPTIONS
    };
    assert_eq!(
        run("<body><a href=\"https://e.test\">x</a></body>", &none),
        Err(Untouched::Nothing)
    );
}

/// Browsers show what stands behind the body as if it were in it.
#[test]
fn links_behind_the_body_are_tracked() {
    let html = "<body>x</body><a href=\"https://e.test/1\">1</a>";
    let (html, links) = run(html, &OPTIONS).expect("a link");
    let expected = format!("<body>x{PIXEL}</body><a href=\"https://t.example.com/c/LINK0\">1</a>");
    assert_eq!(
        (html, links),
        (expected, vec!["https://e.test/1".to_owned()])
    );
}

#[test]
fn parameters_go_into_links_whether_or_not_clicks_are_tracked() {
    let utm = Options {
        utm: &[("utm_source", "n")],
        opens: false,
        ..OPTIONS
    };
    let html = "<a href='https://e.test/?a=\"'>x</a>";
    let (tracked, links) = run(html, &utm).expect("a link");
    assert_eq!(tracked, "<a href='https://t.example.com/c/LINK0'>x</a>");
    assert_eq!(links, ["https://e.test/?a=%22&utm_source=n"]);
    let untracked = Options {
        clicks: false,
        ..utm
    };
    let (html, links) = run(html, &untracked).expect("parameters");
    assert_eq!(
        html,
        "<a href='https://e.test/?a=%22&amp;utm_source=n'>x</a>"
    );
    assert!(links.is_empty());
}

#[test]
fn links_whose_text_is_a_url_may_be_left() {
    let option = Options {
        leave_url_texts: true,
        opens: false,
        ..OPTIONS
    };
    for (text, is_left) in [
        ("www.e.test", true),
        ("<b>https://</b>e.test/x", true),
        (" e.test\r\n", true),
        ("Read more", false),
        ("<img alt=\"e.test\">", false),
    ] {
        let html = format!("<a href=\"https://e.test\">{text}</a> e.test");
        assert_eq!(run(&html, &option).is_err(), is_left, "{text}");
        assert!(run(&html, &OPTIONS).is_ok());
    }
}

#[test]
fn a_link_that_gets_no_token_stays() {
    let html = b"<a href=\"https://e.test/1\">x</a><a href=\"https://e.test/2\">x</a>";
    let second = |mark: Mark<'_>| match mark {
        Mark::Link { index, target } => (target.ends_with('2')).then(|| format!("L{index}")),
        Mark::Pixel => None,
    };
    let done = rewrite(html, &OPTIONS, true, 5, second).expect("a link");
    let expected =
        b"<a href=\"https://e.test/1\">x</a><a href=\"https://t.example.com/c/L5\">x</a>";
    assert_eq!(done.html, expected);
    assert_eq!((done.links[0].index, done.has_pixel), (5, false));
}

#[test]
fn other_charsets_keep_their_octets() {
    let html = b"\xe4\xff<a href=\"https://e.test\">\xfc</a><a href=\"https://e.test/\xe4\">x</a>";
    let done = rewrite(html, &OPTIONS, false, 0, sign).expect("a link");
    let mut expected = b"\xe4\xff<a href=\"https://t.example.com/c/LINK0\">\xfc</a><a href=\"https://e.test/\xe4\">x</a>".to_vec();
    expected.extend_from_slice(PIXEL.as_bytes());
    assert_eq!(done.html, expected);
}

#[test]
fn bombs_cost_little_and_come_out_as_they_are() {
    let link = "<a href=\"https://e.test\">";
    let bombs = [
        "<div>".repeat(HTML_BYTES_MAX / 5),
        "<b><i>".repeat(HTML_BYTES_MAX / 12) + &"</u>".repeat(HTML_BYTES_MAX / 8),
        "<b>".repeat(3000) + &"</b><b>".repeat(100_000),
        format!("<a {}>", "a=b ".repeat(HTML_BYTES_MAX / 4 - 10)),
        format!("<a href=\"{}", "x".repeat(HTML_BYTES_MAX - 20)),
        link.repeat(HTML_BYTES_MAX / link.len()),
        "<!--".repeat(HTML_BYTES_MAX / 4),
        "&amp;".repeat(HTML_BYTES_MAX / 5),
        "<".repeat(HTML_BYTES_MAX),
        "<body>".repeat(HTML_BYTES_MAX / 6),
        format!("<svg>{}", "<a href=x>".repeat(HTML_BYTES_MAX / 10 - 1)),
        format!(
            "<a href=\"https://{}\">",
            "&#x61;".repeat(HTML_BYTES_MAX / 6 - 10)
        ),
    ];
    for bomb in bombs {
        let began = Instant::now();
        let result = rewrite(bomb.as_bytes(), &OPTIONS, true, 0, sign);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{}: {took:?}", &bomb[..20]);
        if let Ok(done) = result {
            assert!(done.links.len() <= usize::from(LINKS_MAX));
            assert!(done.html.len() < 2 * HTML_BYTES_MAX);
        }
    }
    let over = " ".repeat(HTML_BYTES_MAX + 1);
    assert_eq!(run(&over, &OPTIONS), Err(Untouched::TooLarge));
}

proptest! {
    /// Whatever the markup, taking out what was put in gives what was there.
    #[test]
    fn only_links_and_the_pixel_change(html in "(<a href=\"https://e\\.test/[a-z]\">|<a href=https://e\\.test|</?(a|b|body|p|style|!--|svg|html)>|[ -~]|\u{e4}|\")" , repeat in 1..8usize, pieces in prop::collection::vec("(<a href=\"https://e\\.test/[a-z]\">|<a href='https://e\\.test'>|</?(a|b|body|p|style|svg|html)>|<!--|-->|[ -~]{1,5}|\u{e4}|\")", 0..30)) {
        let html = html.repeat(repeat) + &pieces.concat();
        if let Ok(done) = rewrite(html.as_bytes(), &OPTIONS, true, 0, sign) {
            // What is not written as it is meant has another form behind it.
            prop_assume!(done.links.iter().all(|link| !link.target.contains('%')));
            let mut back = String::from_utf8(done.html).expect("UTF-8").replacen(PIXEL, "", 1);
            for link in &done.links {
                back = back.replacen(&format!("https://t.example.com/c/LINK{}", link.index), &link.target, 1);
            }
            prop_assert_eq!(back, html);
        }
    }

    #[test]
    fn any_octets_are_rewritten_or_left(html in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = rewrite(&html, &OPTIONS, true, 0, sign);
        let _ = rewrite(&html, &OPTIONS, false, 0, sign);
    }
}
