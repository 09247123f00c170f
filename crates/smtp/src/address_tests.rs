#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn addresses_are_taken_or_refused_for_a_reason() {
    for (text, expected) in [
        ("user@example.com", Ok("example.com")),
        ("\"a b\"@Example.COM", Ok("example.com")),
        ("u@[192.0.2.1]", Ok("[192.0.2.1]")),
        ("u@b\u{fc}cher.test", Ok("xn--bcher-kva.test")),
        ("nobody", Err(())),
        ("a@b@c", Err(())),
        ("@b", Err(())),
        ("a@", Err(())),
        ("a b@c.test", Err(())),
        ("a\r\n@c.test", Err(())),
    ] {
        let parsed = Address::parse(text, true);
        assert_eq!(
            parsed.as_ref().map(Address::routing_domain).map_err(|_| ()),
            expected.map(str::to_owned),
            "{text}"
        );
    }
    assert_eq!(
        Address::parse("\u{fc}@b.test", false).unwrap_err(),
        AddressError::NeedsSmtpUtf8
    );
}

#[test]
fn a_local_part_may_be_as_long_as_the_path_lets_it() {
    for (local, taken) in [(64, true), (65, true), (247, true), (248, false)] {
        let text = format!("{}@b.test", "x".repeat(local));
        let parsed = Address::parse(&text, true);
        let expected = match taken {
            true => Ok(text.as_str()),
            false => Err(AddressError::TooLong),
        };
        assert_eq!(
            parsed.as_ref().map(Address::as_str).map_err(|e| *e),
            expected
        );
    }
}
