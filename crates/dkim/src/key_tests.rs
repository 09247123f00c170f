#![expect(clippy::unwrap_used, reason = "tests")]

use crate::key::{KeyError, PrivateKey};
use crate::record::{Comparison, KeyKind};

/// Made with OpenSSL: `openssl genpkey`, `openssl genrsa -traditional`, `openssl ecparam -genkey`, and damaged by hand.
const RSA_PKCS8: &str = include_str!("../tests/keys/rsa2048.pem");
const RSA_PKCS1: &str = include_str!("../tests/keys/rsa2048-pkcs1.pem");
const RSA_1024: &str = include_str!("../tests/keys/rsa1024.pem");
const RSA_4096: &str = include_str!("../tests/keys/rsa4096.pem");
const RSA_8192: &str = include_str!("../tests/keys/rsa8192.pem");
const ED25519: &str = include_str!("../tests/keys/ed25519.pem");
const EC: &str = include_str!("../tests/keys/ec.pem");
const EC_SEC1: &str = include_str!("../tests/keys/ec-sec1.pem");
const PUBLIC: &str = include_str!("../tests/keys/public.pem");
const ENCRYPTED: &str = include_str!("../tests/keys/encrypted.pem");

#[test]
fn keys_of_others_are_read() {
    let text = |pem: &str| {
        PrivateKey::from_pem(pem.as_bytes())
            .unwrap()
            .public()
            .text()
    };
    for (pem, kind, octets) in [
        (RSA_PKCS8, KeyKind::Rsa, 392),
        (RSA_PKCS1, KeyKind::Rsa, 392),
        (RSA_4096, KeyKind::Rsa, 736),
        (ED25519, KeyKind::Ed25519, 44),
    ] {
        let key = PrivateKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(key.public().kind(), kind);
        let (_, p) = text(pem)
            .rsplit_once("p=")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert_eq!(p.len(), octets);
        let again = PrivateKey::from_pkcs8(key.to_pkcs8()).unwrap();
        assert_eq!(again.public(), key.public());
    }
    let base64: String = PUBLIC
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let key = PrivateKey::from_pem(RSA_PKCS8.as_bytes()).unwrap();
    assert_eq!(
        key.public().compare(&format!("v=DKIM1; p={base64}")),
        Comparison::Same
    );
    assert_eq!(text(RSA_PKCS8), text(RSA_PKCS1));
    assert!(!format!("{key:?}").contains("pkcs8"));
}

#[test]
fn what_is_no_key_of_ours_is_told() {
    let damaged = RSA_PKCS8.replacen("MII", "MIJ", 1);
    let both = format!("{RSA_PKCS8}{ED25519}");
    for (pem, expected) in [
        ("", KeyError::NoKey),
        ("v=DKIM1; p=", KeyError::NoKey),
        (&"x".repeat(100_000), KeyError::NoKey),
        (RSA_1024, KeyError::TooShort),
        (RSA_8192, KeyError::TooLong(8192)),
        (EC, KeyError::OtherAlgorithm),
        (EC_SEC1, KeyError::OtherAlgorithm),
        (PUBLIC, KeyError::Public),
        (ENCRYPTED, KeyError::Encrypted),
        (&both, KeyError::SeveralKeys),
    ] {
        let read = PrivateKey::from_pem(pem.as_bytes());
        assert_eq!(read.map(|_| ()).unwrap_err(), expected, "{pem:.40}");
    }
    let read = PrivateKey::from_pem(damaged.as_bytes()).map(|_| ());
    assert!(matches!(read, Err(KeyError::Damaged(_))), "{read:?}");
}

#[test]
fn new_keys_differ() {
    let [first, second] = [(); 2].map(|()| PrivateKey::generate_rsa().unwrap());
    assert_ne!(first.public(), second.public());
    let [first, second] = [7, 8].map(|seed| PrivateKey::ed25519_of(&[seed; 32]).unwrap());
    assert_ne!(first.public(), second.public());
    assert_eq!(
        PrivateKey::ed25519_of(&[7; 32]).unwrap().public(),
        first.public()
    );
}
