use std::io::ErrorKind;
use std::time::Duration;

use skein_egress::PlacementState;
use skein_egress::via::{RouteFault, ViaError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::stage::*;

#[tokio::test]
async fn tunnels_of_an_ip_that_moves_are_cut_and_no_others() {
    let (two, three) = (placement("127.0.0.2", 1), placement("127.0.0.3", 1));
    let node = Node::start(&[("two", two), ("three", three)]).await;
    let (listener, target) = listen("127.0.0.1").await;
    let (mut moved, _) = node.connect("two", 1, target).await.unwrap();
    let (mut moved_inside, _) = listener.accept().await.unwrap();
    let (mut kept, _) = node.connect("three", 1, target).await.unwrap();
    let (mut kept_inside, _) = listener.accept().await.unwrap();

    // The same IP comes back under another epoch: what was begun under the first one ends.
    let again = placement("127.0.0.2", 2);
    node.egress
        .set(placements(&[("two", again), ("three", three)]));
    timeout(SOON, node.egress.closed("two", 1)).await.unwrap();
    let seen = timeout(SOON, moved_inside.read(&mut [0; 1])).await.unwrap();
    // The kernel has nothing left to send from an address that is somebody else's.
    assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset);
    expect_closed(&mut moved).await;

    kept.write_all(b"still here").await.unwrap();
    assert_eq!(read(&mut kept_inside, 10).await, b"still here");
    assert_eq!(node.tunnels(), 1);

    let (mut under_new, _) = node.connect("two", 2, target).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    inside.write_all(b"220").await.unwrap();
    assert_eq!(read(&mut under_new, 3).await, b"220");

    // An IP that leaves the node altogether.
    node.egress.set(placements(&[("three", three)]));
    timeout(SOON, node.egress.closed("two", 2)).await.unwrap();
    expect_closed(&mut inside).await;
    expect_closed(&mut under_new).await;
    assert_eq!(node.tunnels(), 1);
}

#[tokio::test]
async fn a_tunnel_counts_until_it_is_closed() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let (_listener, target) = listen("127.0.0.1").await;
    let (_stream, _) = node.connect("two", 1, target).await.unwrap();
    // Nothing else runs on this thread between the two.
    node.egress
        .set(placements(&[("two", placement("127.0.0.2", 2))]));
    assert_eq!(node.tunnels(), 1);
    let open = node.egress.open();
    assert_eq!((open[0].ip.as_str(), open[0].epoch), ("two", 1));
    let is_closed = timeout(SOON, node.egress.closed("two", 1)).await.is_ok();
    assert!(is_closed && node.egress.open().is_empty());
}

#[tokio::test]
async fn an_ip_that_moves_takes_what_still_connects_with_it() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let silent = Silent::start().await;
    let mover = node.egress.clone();
    let moving = async {
        node.wait_for_tunnels(1).await;
        mover.set(placements(&[("two", placement("127.0.0.2", 2))]));
        timeout(SOON, mover.closed("two", 1)).await.unwrap();
    };
    let (connected, ()) = tokio::join!(node.connect("two", 1, silent.address), moving);
    let error = connected.err().unwrap();
    assert!(
        matches!(
            error,
            ViaError::Route {
                fault: RouteFault::Stale,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_cut_does_not_wait_for_a_target_that_reads_nothing() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let (listener, target) = listen("127.0.0.1").await;
    let (mut stream, _) = node.connect("two", 1, target).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    let writing = async {
        let endless = vec![0; 1 << 20];
        while stream.write_all(&endless).await.is_ok() {}
    };
    // Until all buffers between the two are full.
    let is_stuck = timeout(Duration::from_millis(500), writing).await.is_err();
    assert!(is_stuck && node.tunnels() == 1);
    node.egress.set(placements(&[]));
    timeout(SOON, node.egress.closed("two", 1)).await.unwrap();
    let seen = timeout(SOON, inside.read_to_end(&mut Vec::new()))
        .await
        .unwrap();
    assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_ip_that_is_suspended_keeps_its_tunnels() {
    let mut two = placement("127.0.0.2", 1);
    let node = Node::start(&[("two", two)]).await;
    let (listener, target) = listen("127.0.0.1").await;
    let (mut stream, _) = node.connect("two", 1, target).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    two.state = PlacementState::Suspended;
    node.egress.set(placements(&[("two", two)]));
    stream.write_all(b"the rest").await.unwrap();
    assert_eq!(read(&mut inside, 8).await, b"the rest");
    let error = node.connect("two", 1, target).await.err().unwrap();
    assert!(!matches!(error, ViaError::Target { .. }), "{error:?}");
}
