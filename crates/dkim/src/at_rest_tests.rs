#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

const ABOUT: About<'_> = About {
    kind: "dkim",
    tenant: "t",
    domain: "example.com",
    selector: "sk1",
    version: 1,
};

fn kek(last: u8) -> Kek {
    let mut octets = [7; KEY_BYTES];
    octets[31] = last;
    Kek::parse(&octets).unwrap()
}

fn random() -> [u8; RANDOM_BYTES] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

#[test]
fn a_secret_opens_as_what_it_is_and_as_nothing_else() {
    let keks = Keks {
        current: kek(1),
        previous: None,
    };
    let sealed = keks.seal(ABOUT, b"secret", &random());
    assert_eq!(keks.open(ABOUT, &sealed).unwrap().as_slice(), b"secret");
    for other in [
        About {
            kind: "api",
            ..ABOUT
        },
        About {
            tenant: "u",
            ..ABOUT
        },
        About {
            tenant: "",
            domain: "texample.com",
            ..ABOUT
        },
        About {
            domain: "example.org",
            ..ABOUT
        },
        About {
            selector: "sk2",
            ..ABOUT
        },
        About {
            version: 2,
            ..ABOUT
        },
    ] {
        assert!(matches!(
            keks.open(other, &sealed),
            Err(OpenError::Refused { .. })
        ));
    }
    for at in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        assert!(keks.open(ABOUT, &damaged).is_err(), "{at}");
        assert!(keks.open(ABOUT, &sealed[..at]).is_err(), "{at}");
    }
}

#[test]
fn keys_are_changed_in_steps() {
    let old = Keks {
        current: kek(1),
        previous: None,
    };
    let both = Keks {
        current: kek(2),
        previous: Some(kek(1)),
    };
    let new = Keks {
        current: kek(2),
        previous: None,
    };
    let sealed = old.seal(ABOUT, b"secret", &random());
    assert_eq!(kek_id(&sealed).unwrap(), kek(1).id());
    assert_eq!(
        new.open(ABOUT, &sealed).unwrap_err(),
        OpenError::UnknownKek {
            id: kek(1).id().into()
        }
    );
    assert_eq!(both.open(ABOUT, &sealed).unwrap().as_slice(), b"secret");
    let rewrapped = both.rewrap(ABOUT, &sealed, &[9; 12]).unwrap().unwrap();
    assert_eq!(both.rewrap(ABOUT, &rewrapped, &[9; 12]), Ok(None));
    assert_eq!(new.open(ABOUT, &rewrapped).unwrap().as_slice(), b"secret");
    assert!(old.open(ABOUT, &rewrapped).is_err());
    assert!(
        both.rewrap(
            About {
                tenant: "u",
                ..ABOUT
            },
            &sealed,
            &[9; 12]
        )
        .is_err()
    );
}

#[test]
fn a_kek_is_read_in_three_forms() {
    let octets: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let base64 = STANDARD.encode(octets);
    let id = Kek::parse(&octets).unwrap().id().to_owned();
    assert_eq!(id.len(), 16);
    for text in [
        hex.clone(),
        format!("{}\n", hex.to_uppercase()),
        base64.clone(),
        format!(" {base64}\r\n"),
        base64.replace('=', ""),
    ] {
        assert_eq!(Kek::parse(text.as_bytes()).unwrap().id(), id, "{text}");
    }
    for (text, expected) in [
        ("", KekError::OtherLength(0)),
        ("password", KekError::OtherLength(8)),
        (&"0".repeat(64), KekError::NotRandom),
        (&"é".repeat(32), KekError::OtherCharacter),
        (&"?".repeat(44), KekError::OtherCharacter),
        (&"x".repeat(32), KekError::NotRandom),
    ] {
        assert_eq!(Kek::parse(text.as_bytes()).unwrap_err(), expected, "{text}");
    }
}
