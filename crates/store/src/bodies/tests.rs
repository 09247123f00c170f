#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use skein_model::{GroupId, MessageId, UnixMs, codec};

use super::index::{Body, Part};
use super::{Bodies, BodyError, BodyInfo};
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

/// Of whatever body is there.
async fn read(bodies: &Bodies, n: u64, offset: u64, max: usize) -> Result<Bytes, BodyError> {
    let of = bodies.info(id(n)).unwrap_or(BodyInfo {
        bytes: 0,
        crc32c: 0,
    });
    bodies.read(id(n), of, offset, max).await
}

#[tokio::test]
async fn bodies_are_read_back_from_any_place_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
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
                read(&bodies, 1, offset, max).await.unwrap(),
                expected,
                "{offset} {max}"
            );
        }
        assert_eq!(
            read(&bodies, 2, 299_999, 1 << 20).await.unwrap(),
            &b"\x07end"[..]
        );
        assert_eq!(read(&bodies, 3, 0, 10).await.unwrap(), &b""[..]);
    }
    assert!(matches!(
        read(&store.bodies(), 9, 0, 1).await,
        Err(BodyError::NotFound)
    ));
}

#[tokio::test]
async fn a_flipped_bit_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
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
        read(&store.bodies(), 1, 0, 8).await,
        Err(BodyError::Corrupt)
    ));
}

#[tokio::test]
async fn segments_go_when_nothing_in_them_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
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
        read(&store.bodies(), 129, 0, 1).await.unwrap(),
        &b"\x01"[..]
    );
}

#[tokio::test]
async fn a_body_across_two_segments_is_whole_though_others_end_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
    let bodies = store.bodies();
    let part = vec![3u8; 1 << 20];
    for _ in 0..100 {
        bodies.append(id(1), Bytes::from(part.clone())).await;
    }
    // The first segment is full, and no body in it is complete.
    store_body(&store, 2, &[b"short"]).await;
    bodies.free(id(2));
    assert_eq!(bodies.finish(id(1)).await.unwrap().bytes, 100 << 20);
    for offset in [0, 50 << 20, 99 << 20] {
        assert_eq!(read(&bodies, 1, offset, 1 << 20).await.unwrap(), part);
    }
}

#[tokio::test]
async fn a_sparse_segment_is_emptied_and_its_bodies_are_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
    let bodies = store.bodies();
    let part = |n: u64| vec![n as u8; 1 << 20];
    for n in 0..70 {
        store_body(&store, n, &[&part(n), b"tail"]).await;
    }
    for n in (0..70).filter(|n| n % 8 != 0) {
        bodies.free(id(n));
    }
    let number = bodies
        .segments
        .sparse(&Default::default())
        .expect("an eighth is in use");
    let (jobs, segments, index) = (
        bodies.jobs.clone(),
        bodies.segments.clone(),
        bodies.index.clone(),
    );
    let free_meanwhile = bodies.clone();
    let emptied = tokio::task::spawn_blocking(move || {
        super::compact::empty(number, &jobs, &segments, &index).unwrap();
    });
    free_meanwhile.free(id(8));
    emptied.await.unwrap();
    // The writer has done all moves when it has done what came after them.
    store_body(&store, 100, &[b"after"]).await;
    assert!(!bodies.segments.exists(number), "the segment is gone");
    for n in (0..70).filter(|n| n % 8 == 0 && *n != 8) {
        let expected = [part(n), b"tail".to_vec()].concat();
        assert_eq!(read(&bodies, n, 0, 2 << 20).await.unwrap(), expected);
    }
    assert!(matches!(
        read(&bodies, 8, 0, 1).await,
        Err(BodyError::NotFound)
    ));
}

#[tokio::test]
async fn a_good_copy_takes_the_place_of_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
    let bodies = store.bodies();
    store_body(&store, 1, &[b"precious"]).await;
    let parts = bodies.index.get(id(1)).unwrap().parts;
    let path = dir
        .path()
        .join(format!("bodies/{:010}.seg", parts[0].segment));
    let file = std::fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"P", parts[0].offset).unwrap();
    let damage = read(&bodies, 1, 0, 8).await.unwrap_err();
    assert!(damage.is_damage());

    // A copy that merely comes again leaves what is there.
    store_body(&store, 1, &[b"precious"]).await;
    assert!(read(&bodies, 1, 0, 8).await.is_err());
    bodies.append(id(2), Bytes::from_static(b"precious")).await;
    bodies.finish_as(id(2), id(1)).await.unwrap();
    assert_eq!(read(&bodies, 1, 0, 8).await.unwrap(), &b"precious"[..]);
}

#[tokio::test]
async fn what_is_acknowledged_is_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::small()).unwrap();
    let bodies = store.bodies();
    for parts in [&[&b"twice "[..], b"twice"][..], &[b"once"], &[]] {
        store_body(&store, 1, parts).await;
        let info = bodies.info(id(1)).unwrap();
        let expected = parts.concat();
        assert_eq!(
            (info.bytes, info.crc32c),
            (expected.len() as u64, crc32c::crc32c(&expected))
        );
        assert_eq!(read(&bodies, 1, 0, 100).await.unwrap(), expected);
        let other = BodyInfo {
            bytes: info.bytes + 1,
            ..info
        };
        let read = bodies.read(id(1), other, 0, 100).await;
        assert!(matches!(read, Err(BodyError::Corrupt)));
    }
}

/// As rows of bodies were before they told the checksum of the whole.
#[derive(minicbor::Encode, minicbor::Decode)]
struct OlderBody {
    #[n(0)]
    parts: Vec<Part>,
}

#[test]
fn builds_read_each_others_rows_of_bodies() {
    let data = [&b"one"[..], b"", b"three"];
    let parts = data.iter().map(|data| Part {
        segment: 1,
        offset: 0,
        bytes: data.len() as u32,
        crc32c: crc32c::crc32c(data),
    });
    let older = OlderBody {
        parts: parts.collect(),
    };
    let mut body: Body = codec::decode(&codec::encode(&older)).unwrap();
    let expected = BodyInfo {
        bytes: 8,
        crc32c: crc32c::crc32c(b"onethree"),
    };
    assert_eq!(body.info(), expected);
    body.crc32c = Some(expected.crc32c);
    assert_eq!(body.info(), expected);
    let read: OlderBody = codec::decode(&codec::encode(&body)).unwrap();
    assert_eq!(read.parts, older.parts);
}
