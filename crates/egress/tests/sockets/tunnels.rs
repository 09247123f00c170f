use std::net::TcpListener as StdListener;
use std::time::Duration;

use skein_egress::via::{self, EgressRoute};
use skein_egress::{Config, Stream};
use tokio::io::{AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stage::*;

#[tokio::test]
async fn the_target_sees_the_bind_address() {
    let node = Node::start(&[
        ("two", placement("127.0.0.2", 1)),
        ("three", placement("127.0.0.3", 9)),
    ])
    .await;
    let (listener, target) = listen("127.0.0.1").await;
    for (name, epoch, bind) in [("two", 1, "127.0.0.2"), ("three", 9, "127.0.0.3")] {
        let (_stream, source) = node.connect(name, epoch, target).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!((peer.ip(), source.as_str()), (ip(bind), bind));
    }
}

#[tokio::test]
async fn the_target_sees_the_bind_address_of_ipv6() {
    if StdListener::bind("[::1]:0").is_err() {
        println!("this machine has no IPv6");
        return;
    }
    let node = Node::start(&[("six", placement("::1", 1))]).await;
    let (listener, target) = listen("::1").await;
    let (mut stream, source) = node.connect("six", 1, target).await.unwrap();
    let (mut inside, peer) = listener.accept().await.unwrap();
    assert_eq!((peer.ip(), source.as_str()), (ip("::1"), "::1"));
    inside.write_all(b"220 six\r\n").await.unwrap();
    assert_eq!(read(&mut stream, 9).await, b"220 six\r\n");
}

#[tokio::test]
async fn a_direct_connection_has_the_address_that_is_asked_for() {
    let (listener, target) = listen("127.0.0.1").await;
    for (bind, expected) in [(Some("127.0.0.4"), "127.0.0.4"), (None, "127.0.0.1")] {
        let way = EgressRoute::Direct { bind: bind.map(ip) };
        let (_stream, source) = via::connect(way, target, LIMIT).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!((peer.ip(), source.as_str()), (ip(expected), expected));
    }
}

#[tokio::test]
async fn a_banner_that_comes_at_once_is_not_lost() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let (listener, target) = listen("127.0.0.1").await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"220 mx.test ready\r\n").await.unwrap();
            tokio::spawn(async move { read_to_end(&mut stream).await });
        }
    });
    for _ in 0..50 {
        let (mut stream, _) = node.connect("two", 1, target).await.unwrap();
        assert_eq!(read(&mut stream, 19).await, b"220 mx.test ready\r\n");
    }
}

#[tokio::test]
async fn an_answer_has_no_body_and_what_is_said_before_it_is_not_lost() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let (listener, target) = listen("127.0.0.1").await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let named = "skein-ip: two\r\nskein-epoch: 1\r\n";
    let request = format!("CONNECT {target} HTTP/1.1\r\n{named}\r\nEHLO early.test\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut inside, peer) = listener.accept().await.unwrap();
    assert_eq!(read(&mut inside, 17).await, b"EHLO early.test\r\n");
    inside.write_all(b"220 ready\r\n").await.unwrap();
    drop(inside);
    stream.shutdown().await.unwrap();
    let answer = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(rest, "220 ready\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains(&format!("skein-source: {peer}")), "{head}");
    // RFC 9110 9.3.6.
    for header in ["content-length", "transfer-encoding"] {
        assert!(!head.contains(header), "{head}");
    }
}

#[tokio::test]
async fn the_end_of_one_direction_does_not_end_the_other() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let (listener, target) = listen("127.0.0.1").await;

    // The sender ends first, and still gets an answer.
    let (mut stream, _) = node.connect("two", 1, target).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    stream.write_all(b"QUIT\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut inside).await, b"QUIT\r\n");
    inside.write_all(b"221 bye\r\n").await.unwrap();
    inside.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"221 bye\r\n");
    node.wait_for_tunnels(0).await;

    // The target ends first, and still hears what is said.
    let (mut stream, _) = node.connect("two", 1, target).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    inside.write_all(b"421 no more\r\n").await.unwrap();
    inside.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, b"421 no more\r\n");
    stream.write_all(b"QUIT\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut inside).await, b"QUIT\r\n");
    node.wait_for_tunnels(0).await;
}

/// Sends random bytes, and returns them with what came the other way until its end.
async fn exchange(stream: Stream) -> (Vec<u8>, Vec<u8>) {
    let mut sent = vec![0; 300_000 + usize::from(rand::random::<u16>())];
    rand::fill(&mut sent[..]);
    let (mut reading, mut writing) = split(stream);
    let write = async {
        writing.write_all(&sent).await.unwrap();
        writing.shutdown().await.unwrap();
    };
    let ((), received) = tokio::join!(write, read_to_end(&mut reading));
    (sent, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tunnels_at_a_time_carry_their_own_bytes_both_ways() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let mut ends = Vec::new();
    for _ in 0..20 {
        let (listener, target) = listen("127.0.0.1").await;
        let (outside, _) = node.connect("two", 1, target).await.unwrap();
        let (inside, _) = listener.accept().await.unwrap();
        ends.push((outside, inside));
    }
    assert_eq!(node.tunnels(), 20);
    let mut pairs = JoinSet::new();
    for (outside, inside) in ends {
        pairs.spawn(async move {
            let inside: Stream = Box::new(inside);
            let (out, back) = tokio::join!(exchange(outside), exchange(inside));
            assert!(out.0 == back.1, "what the sender sent arrives");
            assert!(back.0 == out.1, "what the target sent arrives");
        });
    }
    while let Some(pair) = pairs.join_next().await {
        pair.unwrap();
    }
    node.wait_for_tunnels(0).await;
}

#[tokio::test]
async fn a_tunnel_without_bytes_ends_on_both_sides() {
    let config = Config {
        idle_max: Duration::from_millis(200),
        ..near()
    };
    let node = Node::start_with(&config, &[("two", placement("127.0.0.2", 1))]).await;
    let (listener, target) = listen("127.0.0.1").await;
    let (mut stream, _) = node.connect("two", 1, target).await.unwrap();
    let (mut inside, _) = listener.accept().await.unwrap();
    expect_closed(&mut stream).await;
    expect_closed(&mut inside).await;
    node.wait_for_tunnels(0).await;
}

#[tokio::test]
async fn a_sender_that_leaves_while_its_connection_is_on_its_way_keeps_no_place() {
    let node = Node::start(&[("two", placement("127.0.0.2", 1))]).await;
    let silent = Silent::start().await;
    let way = EgressRoute::Node {
        stream: Box::new(TcpStream::connect(node.address).await.unwrap()),
        ip: "two".into(),
        epoch: 1,
    };
    let asking = tokio::spawn(via::connect(way, silent.address, LIMIT * 10));
    node.wait_for_tunnels(1).await;
    asking.abort();
    node.wait_for_tunnels(0).await;
}
