use proptest::prelude::*;
use skein_model::{MessageId, UnixMs};

use super::*;
use crate::{Key, Keys, Refused, TenantHash, Token};

const NOW: UnixMs = UnixMs(1);

fn keys() -> Keys {
    Keys::new(vec![Key::new(1, NOW, &[9; 32])]).expect("a ring")
}

fn token() -> Token {
    Token {
        tenant: TenantHash::of("acme"),
        message: MessageId(*b"0123456789abcdef"),
        recipient: 65_535,
    }
}

/// `LOCAL` and `URL` in a text stand for the two spellings.
fn filled(text: &str, purpose: Purpose) -> String {
    let signed = keys().sign(purpose, &token(), NOW);
    text.replace("LOCAL", &signed.local_part())
        .replace("URL", &signed.to_string())
}

#[test]
fn tokens_are_found_in_what_others_make_of_them() {
    for text in [
        "LOCAL",
        "LOCAL@bounces.example.com",
        "<LOCAL@bounces.example.com>",
        "\"LOCAL\"@bounces.example.com",
        "<\"LOCAL\"@bounces.example.com> (comment)",
        "rfc822;LOCAL@bounces.example.com",
        "LOCAL+extension@bounces.example.com",
        "LOCAL-extension@bounces.example.com",
        "LOCAL=bounces.example.com@list.example",
        "prvs=0123456789=LOCAL@bounces.example.com",
        "prvs=LOCAL/0123456789@bounces.example.com",
        "btv1==012ab==LOCAL@bounces.example.com",
        "msprvs1=19999abcdef=LOCAL@bounces.example.com",
        "SRS0=HHHH=TT=bounces.example.com=LOCAL@forwarder.example",
        "SRS0+HHHH=TT=bounces.example.com=LOCAL@forwarder.example",
        "SRS1=HHHH=forwarder.example==HHHH=TT=bounces.example.com=LOCAL@second.example",
        "list-return-17-LOCAL=bounces.example.com@lists.example",
        "bounce+LOCAL=bounces.example.com@lists.example",
        "from <LOCAL@b.example>\r\n by mx",
        "b-b-LOCAL@x",
        "<URL@mail.example.com>",
        "URL",
        "<https://t.example.com/u/URL>, <mailto:u@t.example.com?subject=URL>",
        "https://t.example.com/c/URL?x=1#y",
        "_URL_",
        "\u{e4}URL\u{e4}",
    ] {
        let filled = filled(text, Purpose::Reference);
        let upper = match text.contains("LOCAL") {
            true => filled.to_uppercase(),
            false => filled.clone(),
        };
        for spelled in [&filled, &upper] {
            let found = keys().attribute(spelled, &[Purpose::Reference], NOW);
            assert_eq!(found.map(|it| it.token), Ok(token()), "{spelled}");
            let other = keys().attribute(spelled, &[Purpose::Open], NOW);
            assert_eq!(other, Err(Refused::Malformed), "{spelled}");
        }
    }
}

#[test]
fn what_only_looks_like_one_is_no_candidate() {
    for text in [
        "",
        "b-",
        "LOCALa@x",
        "LOCAL9@x",
        "xURL",
        "URLx",
        "b-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let filled = filled(text, Purpose::ReturnPath);
        assert_eq!(find(&filled).count(), 0, "{filled}");
    }
    // Without its prefix it may be a word of anybody's.
    let bare = filled("LOCAL", Purpose::ReturnPath).split_off(2);
    assert_eq!(find(&bare).count(), 0);
}

#[test]
fn a_true_token_counts_after_forged_ones() {
    let own = filled("LOCAL@x, <URL@y>", Purpose::ReturnPath);
    let mut forged = filled("LOCAL@x", Purpose::ReturnPath);
    let last = if forged.as_bytes()[57] == b'a' {
        "b"
    } else {
        "a"
    };
    forged.replace_range(57..58, last);
    let both = format!("{forged} {own}");
    assert_eq!(find(&both).count(), 3);
    let purposes = [Purpose::ReturnPath];
    let found = keys().attribute(&both, &purposes, NOW).map(|it| it.token);
    assert_eq!(found, Ok(token()));
    assert_eq!(
        keys().attribute(&forged, &purposes, NOW),
        Err(Refused::Forged)
    );
}

#[test]
fn what_is_looked_at_is_bounded() {
    let many = filled("LOCAL ", Purpose::ReturnPath).repeat(1000);
    assert_eq!(find(&many).count(), CANDIDATES_MAX);
    let far = format!(
        "{}{}",
        " ".repeat(SCAN_BYTES_MAX),
        filled("LOCAL", Purpose::Open)
    );
    assert_eq!(find(&far).count(), 0);
    // A cut in the middle of a character.
    let wide = "\u{20ac}".repeat(SCAN_BYTES_MAX);
    assert_eq!(find(&wide).count(), 0);
    let prefixes = "b-".repeat(SCAN_BYTES_MAX);
    assert_eq!(find(&prefixes).count(), 0);
}

proptest! {
    #[test]
    fn any_text_has_few_candidates_and_none_verifies(text in "(.|b-|[E-H]|[a-z2-7]{56}|[A-Za-z0-9_-]{46}){0,40}") {
        prop_assert!(find(&text).count() <= CANDIDATES_MAX);
        prop_assert!(keys().attribute(&text, &Purpose::ALL, NOW).is_err());
    }
}
