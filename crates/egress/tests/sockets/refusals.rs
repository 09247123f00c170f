use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use skein_egress::via::{self, EgressRoute, RouteFault, TargetFault, ViaError};
use skein_egress::{Config, Egress, Metrics, PlacementState, Targets};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stage::*;

fn fault(error: &ViaError) -> Result<RouteFault, TargetFault> {
    match error {
        ViaError::Route { fault, .. } => Ok(*fault),
        ViaError::Target { fault, .. } => Err(*fault),
        ViaError::Unclear { text } => panic!("an egress node always says why: {text}"),
    }
}

#[tokio::test]
async fn a_sender_hears_what_is_wrong_with_its_way() {
    let mut asleep = placement("127.0.0.3", 5);
    asleep.state = PlacementState::Suspended;
    let node = Node::start(&[
        ("two", placement("127.0.0.2", 5)),
        ("six", placement("::1", 5)),
        // TEST-NET-1, RFC 5737: on no interface.
        ("elsewhere", placement("192.0.2.77", 5)),
        ("asleep", asleep),
    ])
    .await;
    let (_listener, target) = listen("127.0.0.1").await;
    for (name, epoch, expected) in [
        ("unheard-of", 5, RouteFault::NotHeld),
        ("two", 4, RouteFault::Stale),
        ("two", 6, RouteFault::Ahead),
        ("six", 5, RouteFault::Family),
        ("asleep", 5, RouteFault::Suspended),
        ("elsewhere", 5, RouteFault::Bind),
    ] {
        let error = node.connect(name, epoch, target).await.err().unwrap();
        assert_eq!(fault(&error), Ok(expected), "{name} {epoch}: {error}");
    }
    assert_eq!(node.tunnels(), 0);
}

#[tokio::test]
async fn nobody_connects_through_a_node_to_what_only_it_can_reach() {
    let (_listener, target) = listen("127.0.0.1").await;
    let own_ports = Config {
        targets: Targets {
            own_ports: [target.port()].into(),
            ..near().targets
        },
        ..near()
    };
    for (config, may) in [
        (near(), true),
        (own_ports, false),
        (Config::default(), false),
    ] {
        let node = Node::start_with(&config, &[("two", placement("127.0.0.2", 5))]).await;
        let connected = node.connect("two", 5, target).await;
        assert_eq!(connected.is_ok(), may, "{config:?}");
        if let Err(error) = connected {
            assert_eq!(fault(&error), Ok(RouteFault::Forbidden), "{error}");
            assert!(error.to_string().contains("through this node"), "{error}");
        }
    }
}

#[tokio::test]
async fn who_is_no_sender_hears_only_that() {
    let egress = Egress::new(&near(), Metrics::default());
    egress.set(placements(&[("two", placement("127.0.0.2", 5))]));
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move { egress.serve(theirs, Err("no role".into())).await });
    let way = EgressRoute::Node {
        stream: Box::new(ours),
        ip: "two".into(),
        epoch: 5,
    };
    let (_listener, target) = listen("127.0.0.1").await;
    let error = via::connect(way, target, LIMIT).await.err().unwrap();
    assert_eq!(fault(&error), Ok(RouteFault::Forbidden), "{error}");
    assert!(error.to_string().contains("no role"), "{error}");
}

#[tokio::test]
async fn a_sender_hears_what_is_wrong_with_the_target() {
    let node = Node::start(&[("two", placement("127.0.0.2", 5))]).await;
    let (listener, closed) = listen("127.0.0.1").await;
    drop(listener);
    let error = node.connect("two", 5, closed).await.err().unwrap();
    assert_eq!(fault(&error), Err(TargetFault::Refused), "{error}");

    let silent = Silent::start().await;
    let ways = [
        EgressRoute::Node {
            stream: Box::new(TcpStream::connect(node.address).await.unwrap()),
            ip: "two".into(),
            epoch: 5,
        },
        EgressRoute::Direct {
            bind: Some(ip("127.0.0.2")),
        },
    ];
    for way in ways {
        let limit = std::time::Duration::from_millis(300);
        let error = via::connect(way, silent.address, limit).await.err();
        let error = error.unwrap();
        assert_eq!(fault(&error), Err(TargetFault::Timeout), "{error}");
    }
    assert_eq!(node.tunnels(), 0);
}

#[tokio::test]
async fn a_direct_way_is_at_fault_for_its_own_address() {
    let (_listener, target) = listen("127.0.0.1").await;
    for (bind, expected) in [
        ("192.0.2.77", RouteFault::Bind),
        ("::1", RouteFault::Family),
    ] {
        let way = EgressRoute::Direct {
            bind: Some(ip(bind)),
        };
        let error = via::connect(way, target, LIMIT).await.err().unwrap();
        assert_eq!(fault(&error), Ok(expected), "{error}");
    }
}

#[tokio::test]
async fn an_ip_has_no_more_connections_than_its_cap_and_a_node_no_more_than_its_own() {
    let mut two = placement("127.0.0.2", 1);
    two.connections_max = Some(2);
    let config = Config {
        tunnels_max: 3,
        ..near()
    };
    let named = [("two", two), ("three", placement("127.0.0.3", 1))];
    let node = Node::start_with(&config, &named).await;
    let (listener, target) = listen("127.0.0.1").await;
    let first = node.connect("two", 1, target).await.unwrap();
    let (first_inside, _) = listener.accept().await.unwrap();
    let _second = node.connect("two", 1, target).await.unwrap();
    let error = node.connect("two", 1, target).await.err().unwrap();
    assert_eq!(fault(&error), Ok(RouteFault::Cap), "{error}");

    let _third = node.connect("three", 1, target).await.unwrap();
    let error = node.connect("three", 1, target).await.err().unwrap();
    assert_eq!(fault(&error), Ok(RouteFault::Full), "{error}");

    drop((first, first_inside));
    node.wait_for_tunnels(2).await;
    let _third = node.connect("two", 1, target).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_come_at_a_time_do_not_pass_a_cap_together() {
    let mut two = placement("127.0.0.2", 1);
    two.connections_max = Some(5);
    let node = Arc::new(Node::start(&[("two", two)]).await);
    let (_listener, target) = listen("127.0.0.1").await;
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let node = node.clone();
        asking.spawn(async move { node.connect("two", 1, target).await });
    }
    let (connected, refused): (Vec<_>, Vec<_>) =
        asking.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((connected.len(), refused.len()), (5, 25));
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(fault(&error), Ok(RouteFault::Cap), "{error}");
    }
}

/// The status line and headers that a request gets.
async fn ask(node: &Node, request: &str) -> String {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(read_to_end(&mut stream).await).unwrap()
}

#[tokio::test]
async fn requests_that_are_wrong_are_answered_and_end() {
    let mut two = placement("127.0.0.2", 1);
    two.connections_max = Some(0);
    let node = Node::start(&[("two", two)]).await;
    let named = "skein-ip: two\r\nskein-epoch: 1\r\n";
    for (request, expected) in [
        (format!("CONNECT mx.test:25 HTTP/1.1\r\n{named}\r\n"), "400"),
        (
            format!("CONNECT 127.0.0.1:0 HTTP/1.1\r\n{named}\r\n"),
            "400",
        ),
        ("CONNECT 127.0.0.1:25 HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\n{named}\r\n"), "405"),
        ("EHLO sender.test\r\n\r\n".to_owned(), "400"),
        (
            format!("CONNECT 127.0.0.1:25 HTTP/1.1\r\n{named}\r\n"),
            "429",
        ),
        (
            format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000)),
            "431",
        ),
    ] {
        let answer = ask(&node, &request).await;
        let status = answer.split(' ').nth(1);
        assert_eq!(status, Some(expected), "{answer}");
        if expected == "429" {
            assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        }
    }
    assert_eq!(node.tunnels(), 0);
}

#[tokio::test]
async fn what_is_counted_has_few_names() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let egress = Egress::new(&near(), metrics.clone());
    let text = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    egress.set(placements(&[("two", placement("127.0.0.2", 1))]));
    assert!(text().contains("skein_egress_tunnels{ip=\"two\"} 0"));

    let ask = async |name: &str, epoch, target| {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let serving = egress.clone();
        tokio::spawn(async move { serving.serve(theirs, Ok(())).await });
        let way = EgressRoute::Node {
            stream: Box::new(ours),
            ip: name.into(),
            epoch,
        };
        via::connect(way, target, LIMIT).await
    };
    let (_listener, target) = listen("127.0.0.1").await;
    let (closed_listener, closed) = listen("127.0.0.1").await;
    drop(closed_listener);
    let stream = ask("two", 1, target).await.unwrap();
    assert!(text().contains("skein_egress_tunnels{ip=\"two\"} 1"));
    assert!(ask("made-up", 1, target).await.is_err());
    assert!(ask("two", 7, target).await.is_err());
    assert!(ask("two", 1, closed).await.is_err());
    let seen = text();
    for line in [
        "skein_egress_refused_total{reason=\"not-held\"} 1",
        "skein_egress_refused_total{reason=\"ahead\"} 1",
        "skein_egress_connect_failures_total{reason=\"refused\"} 1",
    ] {
        assert!(seen.contains(line), "{seen}");
    }
    assert!(!seen.contains("made-up"), "{seen}");

    // An IP that has left is named until its last tunnel is closed.
    egress.set(placements(&[]));
    assert!(text().contains("skein_egress_tunnels{ip=\"two\"} 1"));
    egress.closed("two", 1).await;
    assert!(!text().contains("ip=\"two\""));
    drop(stream);
}
