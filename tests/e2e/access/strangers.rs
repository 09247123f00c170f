//! Connections of strangers, at the ports that are not for mail: they take little, and keep nobody off.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::http_get;
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::{Bench, Extra, operator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOSTILE: usize = 2000;
/// Over what a node has at rest.
const MEMORY_MAX: u64 = 256 << 20;
/// What says nothing is closed after 1 s, and what says half of something after 5 s; a busy machine takes longer.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The beginning of a ClientHello.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const HALF_REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// What one hostile connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    HalfHello,
    HalfRequest,
    HalfPreface,
    Idle,
    Settings,
    Streams,
}

impl Kind {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Silent => Vec::new(),
            Self::HalfHello => HALF_HELLO.to_vec(),
            Self::HalfRequest => HALF_REQUEST.to_vec(),
            Self::HalfPreface => PREFACE[..20].to_vec(),
            Self::Idle => [PREFACE, SETTINGS].concat(),
            Self::Settings => [PREFACE, &SETTINGS.repeat(2000)].concat(),
            Self::Streams => {
                // Requests that never end: `:method POST`, `:scheme http`, `:path /`, with no END_STREAM.
                let head = b"\x83\x86\x84";
                let mut bytes = [PREFACE, SETTINGS].concat();
                for stream in (1..400_u32).step_by(2) {
                    bytes.extend([0, 0, 3, 1, 4]);
                    bytes.extend(stream.to_be_bytes());
                    bytes.extend(head);
                }
                bytes
            }
        }
    }
}

/// Opens them, and says what there is to say; whoever is closed meanwhile is not missed.
async fn flood(to: SocketAddr, kind: Kind) -> Vec<TcpStream> {
    let bytes = kind.bytes();
    let mut streams = Vec::new();
    for _ in 0..HOSTILE {
        let connected = tokio::time::timeout(ANSWERS_WITHIN, TcpStream::connect(to)).await;
        let Ok(Ok(mut stream)) = connected else {
            continue;
        };
        // It may be closed already.
        let _ = tokio::time::timeout(Duration::from_millis(50), stream.write_all(&bytes)).await;
        streams.push(stream);
    }
    streams
}

/// Reads until the end of each.
async fn until_closed(streams: Vec<TcpStream>) {
    let until = tokio::time::Instant::now() + CLOSED_WITHIN;
    for mut stream in streams {
        let read = async { while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {} };
        let closed = tokio::time::timeout_at(until, read).await;
        closed.expect("a hostile connection is closed in time");
    }
}

fn skeinctl(ca: &Path, admin: SocketAddr) -> Duration {
    let file = |name: &str| ca.join(name);
    let began = Instant::now();
    let output = Command::new(std::env::var("SKEINCTL_BIN").unwrap())
        .args(["--server", &format!("https://{admin}"), "status"])
        .arg("--ca")
        .arg(file("ca.pem"))
        .arg("--cert")
        .arg(file("operator.pem"))
        .arg("--key")
        .arg(file("operator-key.pem"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_half_spoken_connections_keep_nodes_and_operators_off_no_tls_port() {
    let plan = Plan {
        has_certificates: true,
        has_operators: true,
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let ca = fleet.folder.path().join("ca");
    let (nodes, people) = (fleet.control[0].address, fleet.control[0].admin);
    for kind in [Kind::Silent, Kind::HalfHello] {
        let mut hostile = flood(nodes, kind).await;
        hostile.extend(flood(people, kind).await);
        let took = skeinctl(&ca, people);
        let rss = fleet.control[0].node.as_ref().unwrap().rss_bytes().unwrap();
        println!(
            "{kind:?}: {} connections, RSS {} MB, skeinctl {took:?}",
            hostile.len(),
            rss >> 20
        );
        assert!(rss < MEMORY_MAX, "{kind:?}: {rss}");
        // A node that comes back gets in beside them.
        fleet.senders[0].kill().unwrap();
        fleet.senders[0].start().await.unwrap();
        until_closed(hostile).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_plain_ports_take_little_and_mail_flows() {
    let bench = Bench::with(|_| Ok(Extra::default())).await.unwrap();
    let node = bench.start().await.unwrap();
    let offer = async |id: &str| {
        let config = InjectorConfig {
            prefix: id.into(),
            ..InjectorConfig::to(bench.smtp)
        };
        let injected = Injector::new(config).run().await;
        assert!(injected.iter().all(Injected::acked), "{id}");
    };
    offer("before").await;
    let at_rest = node.rss_bytes().unwrap();
    for (to, kind) in [
        (bench.http, Kind::Silent),
        (bench.http, Kind::HalfRequest),
        (bench.admin, Kind::Silent),
        (bench.admin, Kind::HalfPreface),
        (bench.admin, Kind::Idle),
        (bench.admin, Kind::Settings),
        (bench.admin, Kind::Streams),
    ] {
        let hostile = flood(to, kind).await;
        let rss = node.rss_bytes().unwrap();
        let began = Instant::now();
        operator::skeinctl(bench.admin, &["status"]).unwrap();
        let (code, _) = http_get(bench.http, "/readyz").await.unwrap();
        assert_eq!(code, 200);
        println!(
            "{kind:?}: {} connections, RSS {} to {} MB, answers in {:?}",
            hostile.len(),
            at_rest >> 20,
            rss >> 20,
            began.elapsed()
        );
        assert!(rss < MEMORY_MAX, "{kind:?}: {rss}");
        offer(&format!("{kind:?}-{}", to.port())).await;
        until_closed(hostile).await;
    }
}
