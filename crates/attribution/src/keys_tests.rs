use proptest::prelude::*;
use skein_model::MessageId;

use super::*;
use crate::TenantHash;

const DAY: u64 = 24 * 60 * 60 * 1000;

fn key(id: u8, day: u64) -> Key {
    Key::new(id, UnixMs(day * DAY), &[id.wrapping_add(7); 32])
}

fn ring(keys: &[(u8, u64)]) -> Keys {
    let keys = keys.iter().map(|(id, day)| key(*id, *day));
    Keys::new(keys.collect()).expect("a ring")
}

fn at(day: u64) -> UnixMs {
    UnixMs(day * DAY)
}

fn any_token() -> impl Strategy<Value = Token> {
    (any::<u32>(), any::<[u8; 16]>(), any::<u16>()).prop_map(|(tenant, id, recipient)| Token {
        tenant: TenantHash(tenant),
        message: MessageId(id),
        recipient,
    })
}

fn any_purpose() -> impl Strategy<Value = Purpose> {
    prop::sample::select(Purpose::ALL.to_vec())
}

fn some_token() -> Token {
    Token {
        tenant: TenantHash::of("acme"),
        message: MessageId([0xfe; 16]),
        recipient: 3,
    }
}

proptest! {
    #[test]
    fn a_token_is_read_as_it_was_signed(token in any_token(), purpose in any_purpose(), id: u8) {
        let keys = ring(&[(id, 1)]);
        let signed = keys.sign(purpose, &token, at(2));
        let (local, url) = (signed.local_part(), signed.to_string());
        for text in [&local[2..], &local, &local.to_uppercase(), &url] {
            prop_assert_eq!(keys.read(purpose, text, at(2)), Ok(token));
        }
        prop_assert!(local.len() <= 64 && url.len() <= 64);
    }

    #[test]
    fn a_token_is_for_one_purpose(token in any_token(), purpose in any_purpose(), other in any_purpose()) {
        let keys = ring(&[(1, 1)]);
        let text = keys.sign(purpose, &token, at(2)).to_string();
        let read = keys.read(other, &text, at(2));
        prop_assert_eq!(read, if purpose == other { Ok(token) } else { Err(Refused::Forged) });
    }

    /// Also a bit of the purpose, of the key's id and of the version.
    #[test]
    fn each_flipped_bit_is_refused(token in any_token(), purpose in any_purpose(), bit in 0..280usize) {
        let keys = ring(&[(1, 1), (9, 2)]);
        let mut signed = keys.sign(purpose, &token, at(1));
        signed.0[bit / 8] ^= 1 << (bit % 8);
        for claimed in Purpose::ALL {
            for text in [signed.local_part(), signed.to_string()] {
                prop_assert!(keys.read(claimed, &text, at(2)).is_err());
                prop_assert!(keys.attribute(&text, &Purpose::ALL, at(2)).is_err());
            }
        }
    }

    #[test]
    fn another_ring_takes_nothing(token in any_token(), purpose in any_purpose(), secret: [u8; 32]) {
        let other = Keys::new(vec![Key::new(1, at(1), &secret)]).expect("a ring");
        let signed = ring(&[(1, 1)]).sign(purpose, &token, at(2));
        prop_assert_eq!(other.read(purpose, &signed.to_string(), at(2)), Err(Refused::Forged));
    }

    #[test]
    fn any_text_is_refused(text in ".{0,80}", like in "b-[a-z2-7]{56}|[E-H][A-Za-z0-9_-]{46}") {
        let keys = ring(&[(1, 1)]);
        for text in [text, like] {
            for purpose in Purpose::ALL {
                prop_assert!(keys.read(purpose, &text, at(2)).is_err());
            }
        }
    }
}

/// Key 5 signs from day 10 on, key 3 from day 100, key 8 from day 200.
#[test]
fn a_key_counts_for_a_year_after_another_signs() {
    let keys = ring(&[(8, 200), (5, 10), (3, 100)]);
    for (day, signs) in [
        (0, 5),
        (10, 5),
        (99, 5),
        (100, 3),
        (199, 3),
        (200, 8),
        (9999, 8),
    ] {
        assert_eq!(keys.signing_id(at(day)), signs, "day {day}");
    }
    // What each has signed, and the last day on which it counts.
    for (signed_on, last) in [(50, Some(466)), (150, Some(566)), (250, None)] {
        let text = keys
            .sign(Purpose::Open, &some_token(), at(signed_on))
            .to_string();
        let id = keys.signing_id(at(signed_on));
        // A node whose clock is behind takes it as well.
        for day in [0, signed_on, last.unwrap_or(99_999)] {
            assert_eq!(keys.read(Purpose::Open, &text, at(day)), Ok(some_token()));
            assert!(keys.derived(id, "x", at(day)).is_some());
        }
        if let Some(last) = last {
            let late = at(last + 1);
            let refused = Err(Refused::UnknownKey(id));
            assert_eq!(keys.read(Purpose::Open, &text, late), refused);
            assert!(keys.derived(id, "x", late).is_none());
        }
    }
}

#[test]
fn keys_that_are_no_ring_are_told() {
    assert_eq!(Keys::new(vec![]).err(), Some(KeysError::None));
    let many = (0..17).map(|id| key(id, 1)).collect();
    assert_eq!(Keys::new(many).err(), Some(KeysError::TooMany(17)));
    let same = vec![key(4, 1), key(5, 2), key(4, 3)];
    assert_eq!(Keys::new(same).err(), Some(KeysError::SameId(4)));
}

#[test]
fn the_next_id_is_free() {
    assert_eq!(ring(&[(0, 1)]).next_id(), 1);
    assert_eq!(ring(&[(255, 2), (0, 1), (1, 1)]).next_id(), 2);
}

#[test]
fn derived_secrets_are_told_apart() {
    let keys = ring(&[(1, 1), (2, 2)]);
    let of = |id, label| keys.derived(id, label, at(3)).expect("a key that counts");
    let all = [of(1, "a"), of(1, "b"), of(2, "a")];
    for (nth, one) in all.iter().enumerate() {
        assert_eq!(all.iter().position(|other| other == one), Some(nth));
    }
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(
        format!("{:?}", key(1, 0)),
        "Key { id: 1, signs_from: UnixMs(0), .. }"
    );
}
