use proptest::prelude::*;
use skein_attribution::{Key, OVERLAP};

use super::*;

const NOW: UnixMs = UnixMs(1_764_547_200_000);
const LATER: UnixMs = UnixMs(NOW.0 + 1_000_000);

fn keys() -> Keys {
    let keys = vec![
        Key::new(3, UnixMs(0), &[3; 32]),
        Key::new(4, LATER, &[4; 32]),
    ];
    Keys::new(keys).expect("a ring")
}

fn about() -> Token {
    Token {
        tenant: TenantHash::of("acme"),
        message: MessageId(*b"0123456789abcdef"),
        recipient: 7,
    }
}

proptest! {
    #[test]
    fn a_link_is_read_as_it_was_made(id: [u8; 16], tenant: u32, recipient: u16, link: u16, path in "[!-~&&[^\\\\]]{0,300}", at in 0..2_000_000u64) {
        let about = Token { tenant: TenantHash(tenant), message: MessageId(id), recipient };
        let expires = UnixMs(LATER.0 + OVERLAP.0);
        let sealer = ClickSealer::new(&keys(), about, expires, UnixMs(NOW.0 + at));
        let target = format!("https://example.com/{path}");
        match sealer.seal(link, &target) {
            Some(token) => {
                prop_assert_eq!(sealer.seal(link, &target), Some(token.clone()), "a retry is the same");
                let click = Click { about, link, expires, target };
                prop_assert_eq!(open_click(&keys(), &token, NOW), Ok(click));
            }
            None => prop_assert!(!target::is_location(&target)),
        }
    }

    #[test]
    fn whatever_is_changed_is_not_found(bit in 0..600usize, text in "[A-Za-z0-9_-]{0,200}") {
        let sealer = ClickSealer::new(&keys(), about(), LATER, NOW);
        let token = sealer.seal(1, "https://example.com/a/b/c").expect("a token");
        let mut octets = URL_SAFE_NO_PAD.decode(&token).expect("base64url");
        let bit = bit % (octets.len() * 8);
        octets[bit / 8] ^= 1 << (bit % 8);
        let changed = URL_SAFE_NO_PAD.encode(octets);
        let longer = format!("{token}{text}");
        let shorter = &token[..token.len() - 1 - text.len() % 40];
        for one in [changed.as_str(), &text, shorter] {
            prop_assert_eq!(open_click(&keys(), one, NOW), Err(NotFound));
        }
        if !text.is_empty() {
            prop_assert_eq!(open_click(&keys(), &longer, NOW), Err(NotFound));
        }
    }
}

#[test]
fn a_link_expires_and_so_does_its_key() {
    let open = |expires: u64, now: u64| {
        let sealer = ClickSealer::new(&keys(), about(), UnixMs(expires), NOW);
        let token = sealer.seal(0, "http://example.com").expect("a token");
        open_click(&keys(), &token, UnixMs(now)).is_ok()
    };
    let end = LATER.0 + OVERLAP.0;
    for (expires, now, is_found) in [
        (NOW.0 + 1000, NOW.0, true),
        (NOW.0 + 1000, NOW.0 + 1000, false),
        (NOW.0, NOW.0, false),
        (end + 5000, end, true),
        (end + 5000, end + 1, false),
        (u64::MAX, NOW.0, true),
    ] {
        assert_eq!(open(expires, now), is_found, "{expires} {now}");
    }
}

/// A token of another purpose, of another ring, and targets that are none.
#[test]
fn there_is_no_open_redirect() {
    let sealer = ClickSealer::new(&keys(), about(), LATER, NOW);
    for target in [
        "",
        "//example.com",
        "javascript:alert(1)",
        "https://",
        "https://user@example.com/",
        "https://example.com\\@evil.test/",
        "https://example.com/\r\nSet-Cookie: a=b",
        "https://example.com/a b",
        "https://ex\u{e4}mple.com/",
        &format!("https://example.com/{}", "a".repeat(TARGET_BYTES_MAX)),
    ] {
        assert_eq!(sealer.seal(0, target), None, "{target}");
    }
    let longest = format!("https://example.com/{}", "a".repeat(TARGET_BYTES_MAX - 20));
    let token = sealer.seal(0, &longest).expect("just short enough");
    assert_eq!(
        open_click(&keys(), &token, NOW).map(|it| it.target),
        Ok(longest)
    );
    for purpose in Purpose::ALL {
        let signed = keys().sign(purpose, &about(), NOW);
        for text in [signed.to_string(), signed.local_part()] {
            assert_eq!(open_click(&keys(), &text, NOW), Err(NotFound));
        }
        assert!(keys().read(purpose, &token, NOW).is_err());
    }
    let others = Keys::new(vec![Key::new(3, UnixMs(0), &[9; 32])]).expect("a ring");
    assert_eq!(open_click(&others, &token, NOW), Err(NotFound));
}
