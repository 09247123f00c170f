#![expect(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;

#[test]
fn urls_are_read_and_printed() {
    for (text, host, port, path, field) in [
        ("https://h.example", "h.example", 443, "/", "h.example"),
        (
            "https://H.Example?a=1",
            "h.example",
            443,
            "/?a=1",
            "h.example",
        ),
        ("https://h.example:443/", "h.example", 443, "/", "h.example"),
        (
            "https://h.example:8443/in@x?b=[1]",
            "h.example",
            8443,
            "/in@x?b=[1]",
            "h.example:8443",
        ),
        ("http://h/", "h", 80, "/", "h"),
        ("http://h:443/", "h", 443, "/", "h:443"),
        (
            "https://xn--bcher-kva.example/",
            "xn--bcher-kva.example",
            443,
            "/",
            "xn--bcher-kva.example",
        ),
        ("https://192.0.2.1/a", "192.0.2.1", 443, "/a", "192.0.2.1"),
        (
            "https://[2001:DB8:0::1]:8443/a",
            "[2001:db8::1]",
            8443,
            "/a",
            "[2001:db8::1]:8443",
        ),
        ("https://1.example/", "1.example", 443, "/", "1.example"),
        (
            "https://0x7f.example/",
            "0x7f.example",
            443,
            "/",
            "0x7f.example",
        ),
        ("https://a.0xg/", "a.0xg", 443, "/", "a.0xg"),
    ] {
        let url = Url::parse(text).unwrap();
        let found = (url.host.to_string(), url.port, url.path.as_str());
        assert_eq!(found, (host.to_owned(), port, path), "{text}");
        assert_eq!(url.host_field(), field, "{text}");
        assert_eq!(Url::parse(&url.to_string()), Ok(url), "{text}");
    }
}

#[test]
fn what_clients_read_in_different_ways_is_refused() {
    for (text, told) in [
        ("", FORM),
        ("ftp://h.example/", FORM),
        ("HTTPS://h.example/", FORM),
        ("https:/h.example/", FORM),
        ("https:h.example", FORM),
        ("https:///h.example", FORM),
        ("https://", FORM),
        ("https://h.example/a b", "plain characters"),
        ("https://h.example/\u{e9}", "plain characters"),
        ("https://h.example\\@evil.example/", "plain characters"),
        ("https://h.example/\r\nX: y", "plain characters"),
        ("https://h.example/\ta", "plain characters"),
        (
            &format!("https://h.example/{}", "a".repeat(URL_BYTES_MAX)),
            "plain characters",
        ),
        ("https://h.example/#a", "fragment"),
        ("https://h.example#@evil.example/", "fragment"),
        ("https://user@h.example/", "user"),
        ("https://user:secret@h.example/", "user"),
        ("https://@h.example/", "user"),
        ("https://h.example./", "dot behind"),
        ("https://127.0.0.1./", "dot behind"),
        ("https://h..example/", FORM),
        ("https://.example/", FORM),
        ("https://-h.example/", FORM),
        ("https://h_1.example/", FORM),
        ("https://%6c.example/", FORM),
        ("https://h.example:/", "port"),
        ("https://h.example:0/", "port"),
        ("https://h.example:0443/", "port"),
        ("https://h.example:+443/", "port"),
        ("https://h.example:65536/", "port"),
        ("https://h.example:443:443/", "port"),
        ("https://[::1/", FORM),
        ("https://[::1]a/", "port"),
        ("https://[fe80::1%25eth0]/", "IPv6"),
        ("https://[127.0.0.1]/", "IPv6"),
        ("https://[::1.2.3]/", "IPv6"),
        ("https://::1/", FORM),
        ("https://2130706433/", "form of its own"),
        ("https://127.1/", "form of its own"),
        ("https://0x7f.0.0.1/", "form of its own"),
        ("https://127.0.0.0x1/", "form of its own"),
        ("https://0177.0.0.01/", "form of its own"),
        ("https://127.0.0.001/", "form of its own"),
        ("https://1.2.3.4.5/", "form of its own"),
        ("https://256.1.1.1/", "form of its own"),
        ("https://h.0x/", "form of its own"),
        ("https://h.1/", "form of its own"),
    ] {
        let found = Url::parse(text).map_err(|message| message.contains(told).then_some(message));
        assert!(matches!(found, Err(Some(_))), "{text}: {found:?}");
    }
}

/// What C libraries make of a host before they ask the DNS (inet_aton).
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let part = |text: &str| match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some("") => Some(0),
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    };
    let parts: Option<Vec<u64>> = text.split('.').map(part).collect();
    let parts = parts.filter(|parts| parts.len() <= 4)?;
    let (last, heads) = parts.split_last()?;
    let room = 8 * (4 - heads.len()) as u32;
    let is_in_bounds = heads.iter().all(|head| *head < 256) && *last < 1 << room;
    let head = heads.iter().fold(0, |all, head| all << 8 | head);
    is_in_bounds.then(|| Ipv4Addr::from_bits((head << room | last) as u32))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// No name that is taken is an address to a C library, and no address another one.
    #[test]
    fn no_name_is_an_address(host in "(0?[xX]?[0-9a-fA-F]{0,4}\\.?){1,5}") {
        if let Ok(url) = Url::parse(&format!("https://{host}/")) {
            match url.host {
                Host::Name(name) => prop_assert_eq!(inet_aton(&name), None),
                Host::Address(address) => prop_assert_eq!(inet_aton(&host).map(IpAddr::V4), Some(address)),
            }
        }
    }

    /// What is taken goes to the same host and port for a client that reads URLs as browsers do.
    #[test]
    fn other_clients_read_the_same(
        text in "https?://[a-f0-9xXA-F.:@%\\[\\]\\\\_~?#/-]{0,30}(/[a-z.%/?@:]{0,10})?",
    ) {
        let Ok(own) = Url::parse(&text) else { return Ok(()) };
        let other = ::url::Url::parse(&text);
        // Punycode is not decoded here.
        let Ok(other) = other else {
            prop_assert!(text.contains("xn--"), "{} {:?}", text, other);
            return Ok(());
        };
        prop_assert_eq!(other.scheme() == "https", own.is_https);
        prop_assert_eq!(other.host_str().unwrap(), own.host.to_string());
        prop_assert_eq!(other.port_or_known_default(), Some(own.port));
        prop_assert_eq!((other.username(), other.password()), ("", None));
    }

    #[test]
    fn no_text_ends_the_reader(text in "(https?://)?.{0,60}") {
        if let Ok(url) = Url::parse(&text) {
            prop_assert_eq!(Url::parse(&url.to_string()), Ok(url));
        }
    }
}
