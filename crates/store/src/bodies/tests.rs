#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use skein_model::{GroupId, MessageId, UnixMs};

use super::BodyError;
use crate::db::{Options, Store};

fn id(n: u64) -> MessageId {
    MessageId::new(UnixMs(1), GroupId(1), n)
}

async fn store_body(store: &Store, n: u64, parts: &[&[u8]]) {
    let bodies = store.bodies();
    for part in parts {
        bodies.append(id(n), Bytes::copy_from_slice(part)).await;
    }
    let info = bodies.finish(id(n)).await.unwrap();
    assert_eq!(info.crc32c, crc32c::crc32c(&parts.concat()));
    assert_eq!(info.bytes, parts.concat().len() as u64);
}

#[tokio::test]
async fn bodies_are_read_back_from_any_place_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let big = vec![7u8; 300_000];
    store_body(&store, 1, &[b"hello ", b"world"]).await;
    store_body(&store, 2, &[&big, b"end"]).await;
    store_body(&store, 3, &[]).await;
    for _ in 0..2 {
        let bodies = store.bodies();
        for (offset, max, expected) in [
            (0, 100, &b"hello world"[..]),
            (0, 6, b"hello "),
            (6, 5, b"world"),
            (3, 5, b"lo wo"),
            (11, 5, b""),
        ] {
            assert_eq!(
                bodies.read(id(1), offset, max).await.unwrap(),
                expected,
                "{offset} {max}"
            );
        }
        assert_eq!(
            bodies.read(id(2), 299_999, 1 << 20).await.unwrap(),
            &b"\x07end"[..]
        );
        assert_eq!(bodies.read(id(3), 0, 10).await.unwrap(), &b""[..]);
    }
    assert!(matches!(
        store.bodies().read(id(9), 0, 1).await,
        Err(BodyError::NotFound)
    ));
}

#[tokio::test]
async fn a_flipped_bit_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    store_body(&store, 1, &[b"precious"]).await;
    let segment = std::fs::read_dir(dir.path().join("bodies"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes
        .windows(8)
        .position(|window| window == b"precious")
        .unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert!(matches!(
        store.bodies().read(id(1), 0, 8).await,
        Err(BodyError::Corrupt)
    ));
}

#[tokio::test]
async fn segments_go_when_nothing_in_them_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let part = vec![1u8; 1 << 20];
    for n in 0..130 {
        store_body(&store, n, &[&part]).await;
    }
    let segments = || {
        std::fs::read_dir(dir.path().join("bodies"))
            .unwrap()
            .count()
    };
    assert_eq!(segments(), 3);
    for n in 0..63 {
        store.bodies().free(id(n));
    }
    assert_eq!(segments(), 2);
    assert_eq!(
        store
            .bodies()
            .sweep(Duration::ZERO, |id| id.entropy() == 129)
            .await,
        66
    );
    assert_eq!(segments(), 1);
    assert_eq!(
        store.bodies().read(id(129), 0, 1).await.unwrap(),
        &b"\x01"[..]
    );
}
