#![expect(clippy::unwrap_used, reason = "tests")]
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use proptest::prelude::*;
use standardwebhooks::Webhook;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret(text: &str) -> SigningSecret {
    SigningSecret::parse(text).unwrap()
}

fn of_bytes(bytes: &[u8]) -> SigningSecret {
    secret(&format!("whsec_{}", STANDARD.encode(bytes)))
}

fn checked(secrets: &[SigningSecret], signature: &str, body: &[u8]) -> Result<(), NotVerified> {
    let received = Received {
        id: "msg_1",
        timestamp: "100",
        signature,
    };
    verify(secrets, received, body, 100, TOLERANCE_SECONDS)
}

/// The example that the reference implementations have in their tests.
#[test]
fn the_signature_is_that_of_the_specification() {
    let body = br#"{"test": 2432232314}"#;
    let signed = sign(
        &[secret(SECRET)],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        body,
    );
    let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(signed.as_deref(), Some(expected));
    assert_eq!(sign(&[], "msg_1", 1, body), None);
}

proptest! {
    #[test]
    fn the_reference_implementation_signs_the_same(
        key in prop::collection::vec(any::<u8>(), 24..=64),
        id in "[A-Za-z0-9_-]{1,40}",
        at in 0..1u64 << 40,
        body in ".{0,300}",
    ) {
        let own = sign(&[of_bytes(&key)], &id, at, body.as_bytes()).unwrap();
        let reference = Webhook::from_bytes(key).unwrap();
        let expected = reference.sign(&id, at.try_into().unwrap(), body.as_bytes());
        prop_assert_eq!(own, expected.unwrap());
    }

    /// It has a clock of its own.
    #[test]
    fn the_reference_implementation_takes_both_secrets(
        keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 24..=64), 1..=2),
        body in ".{0,300}",
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let secrets: Vec<SigningSecret> = keys.iter().map(|key| of_bytes(key)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(ID_FIELD, "msg_1".parse().unwrap());
        headers.insert(TIMESTAMP_FIELD, now.to_string().parse().unwrap());
        let signature = sign(&secrets, "msg_1", now, body.as_bytes()).unwrap();
        headers.insert(SIGNATURE_FIELD, signature.parse().unwrap());
        for key in keys {
            let reference = Webhook::from_bytes(key).unwrap();
            prop_assert!(reference.verify(body.as_bytes(), &headers).is_ok());
        }
    }

    #[test]
    fn a_body_may_come_in_pieces(body in prop::collection::vec(any::<u8>(), 0..300), cut in 0..300usize) {
        let secrets = [secret(SECRET), of_bytes(&[7; 32])];
        let (first, rest) = body.split_at(cut.min(body.len()));
        let mut signatures = Signatures::begin(&secrets, "msg_1", 100);
        signatures.push(first);
        signatures.push(rest);
        let whole = sign(&secrets, "msg_1", 100, &body).unwrap();
        prop_assert_eq!(signatures.finish().unwrap(), whole.as_str());
        for one in &secrets {
            prop_assert_eq!(checked(std::slice::from_ref(one), &whole, &body), Ok(()));
        }
    }

    #[test]
    fn one_changed_octet_is_found(body in prop::collection::vec(any::<u8>(), 1..100), place: usize, bit in 0..8u8) {
        let secrets = [secret(SECRET)];
        let signed = sign(&secrets, "msg_1", 100, &body).unwrap();
        let mut other = body.clone();
        let place = place % other.len();
        other[place] ^= 1 << bit;
        prop_assert_eq!(checked(&secrets, &signed, &other), Err(NotVerified::Signature));
    }

    #[test]
    fn no_field_ends_the_receiver(id in ".{0,40}", timestamp in ".{0,30}", signature in ".{0,200}") {
        let received = Received { id: &id, timestamp: &timestamp, signature: &signature };
        prop_assert!(verify(&[secret(SECRET)], received, b"", 0, u64::MAX).is_err());
    }
}

#[test]
fn what_is_wrong_with_a_request_is_told() {
    let secrets = [secret(SECRET)];
    let good = sign(&secrets, "msg_1", 100, b"{}").unwrap();
    let check = |id: &str, timestamp: &str, signature: &str, now, expected| {
        let received = Received {
            id,
            timestamp,
            signature,
        };
        let found = verify(&secrets, received, b"{}", now, TOLERANCE_SECONDS);
        assert_eq!(found, expected, "{id} {timestamp} {signature} {now}");
    };
    check("msg_1", "100", &good, 100, Ok(()));
    check("msg_1", "100", &good, 400, Ok(()));
    check("msg_1", "100", &good, 401, Err(NotVerified::Time));
    check("msg_1", "401", &good, 100, Err(NotVerified::Time));
    check("msg_1", "101", &good, 100, Err(NotVerified::Signature));
    check("msg_2", "100", &good, 100, Err(NotVerified::Signature));
    let long = "x".repeat(ID_BYTES_MAX + 1);
    for id in ["", "msg.1", &long] {
        check(id, "100", &good, 100, Err(NotVerified::Id));
    }
    for timestamp in ["", "+100", "-100", "1e2", "100 ", "99999999999999999999"] {
        check("msg_1", timestamp, &good, 100, Err(NotVerified::Timestamp));
    }
    let others = format!("v1a,AAAA v1, v1,!!!! v2,{} {good}", &good[3..]);
    check("msg_1", "100", &others, 100, Ok(()));
    let of_other_kind = format!("v1a,{}", &good[3..]);
    let too_many = format!("{}{good}", "v1,AAAA ".repeat(CANDIDATES_MAX));
    for signature in ["", &of_other_kind, &good[..good.len() - 2], &too_many] {
        check("msg_1", "100", signature, 100, Err(NotVerified::Signature));
    }
}
