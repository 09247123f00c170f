//! More clients than a node can serve: they are told to come again, its memory stays bounded, and mail goes on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skein_testkit::load::{Injected, Injector, InjectorConfig, Outcome, Probe};
use skein_testkit::process::Node;
use skein_tests::apart::Apart;
use skein_tests::{Bench, Extra};

const READY: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// What a flood may add to a node at rest: its limits below, what queues and sockets hold, and what the allocator does
/// not give back at once. Without limits it is several times as much.
const FLOOD_BYTES_MAX: u64 = 200 * MIB;

/// For some seconds a client may be slow; messages on their way in have 8 MiB; places are fewer than clients.
const LIMITS: &str = "
    connections = 1000
    connections_per_client = 1000
    body_timeout = \"3s\"
    body_rate_min = 2000
    memory_bytes = 8_388_608
";

/// The most that a process had resident while this lives.
pub(crate) struct Watched {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watched {
    pub(crate) fn new(pid: u32) -> Self {
        let (peak, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, stopped) = (peak.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(resident(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { peak, stop }
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// 0 for a process that has ended.
fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// A client that begins a message with a few kilobytes and then sends a byte now and then. Returns the reply that ended
/// it.
async fn drip(mut probe: Probe) -> std::io::Result<(u16, String)> {
    for line in [
        "",
        "EHLO slow",
        "MAIL FROM:<a@b.test>",
        "RCPT TO:<c@d.test>",
        "DATA",
    ] {
        if !line.is_empty() {
            probe.send(format!("{line}\r\n").as_bytes()).await?;
        }
        let reply = probe.reply().await?;
        if !reply.positive() {
            return Ok((reply.code, reply.text()));
        }
    }
    let beginning = format!("Subject: slow\r\n\r\n{}", "x".repeat(12_000));
    probe.send(beginning.as_bytes()).await?;
    probe.set_wait(Duration::from_millis(300));
    loop {
        match probe.reply().await {
            Ok(reply) => return Ok((reply.code, reply.text())),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => probe.send(b"x").await?,
            Err(error) => return Err(error),
        }
    }
}

/// 10 MB messages, each offered once.
fn large(smtp: SocketAddr, connections: usize, messages: usize) -> InjectorConfig {
    InjectorConfig {
        connections,
        messages_per_connection: messages,
        sizes: vec![10_000_000],
        tries: 1,
        reply_wait: Duration::from_secs(30),
        ..InjectorConfig::to(smtp)
    }
}

async fn small(smtp: SocketAddr) -> Vec<Injected> {
    let config = InjectorConfig {
        prefix: "small".into(),
        ..InjectorConfig::to(smtp)
    };
    Injector::new(config).run().await
}

/// DESIGN section 7, and the reply to a client that is too slow.
fn is_come_again(code: u16, text: &str) -> bool {
    let known = [
        (421, "4.3.2"),
        (421, "4.4.2"),
        (451, "4.3.0"),
        (452, "4.3.1"),
    ];
    let known = known
        .iter()
        .any(|(known, class)| *known == code && text.starts_with(class));
    known || (code, text) == (0, "")
}

fn check_refusals(injected: &[Injected]) {
    for message in injected {
        match &message.outcome {
            // Code 0: the connection was given up, at worst with 421.
            Outcome::Refused { code, reply } => {
                assert!(*code == 0 || is_come_again(*code, reply), "{code} {reply}");
            }
            Outcome::Acked { .. } | Outcome::Unknown => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_slow_and_of_large_messages() {
    let _alone = crate::alone().await;
    let limits = |_: &std::path::Path| {
        Ok(Extra {
            sections: format!("[smtp.limits]{LIMITS}"),
            ..Extra::default()
        })
    };
    let bench = Bench::with(limits).await.unwrap();
    let node = bench.start().await.unwrap();
    let at_rest = node.rss_bytes().unwrap();
    let watched = Watched::new(node.pid());

    let mut slow = Vec::new();
    for _ in 0..1500 {
        // One handshake after the other: the kernel forgets some of very many at a time.
        let probe = Probe::connect(bench.smtp).await.unwrap();
        slow.push(tokio::spawn(drip(probe)));
    }
    let large = Injector::new(large(bench.smtp, 10, 3)).run().await;
    check_refusals(&large);
    let mut replies: BTreeMap<String, usize> = BTreeMap::new();
    for slow in slow {
        match slow.await.unwrap() {
            Ok((code, text)) => {
                assert!(is_come_again(code, &text), "{code} {text}");
                *replies.entry(format!("{code} {text}")).or_default() += 1;
            }
            // Whoever goes on sending after the last reply may see a reset instead of it.
            Err(error) => *replies.entry(error.kind().to_string()).or_default() += 1,
        }
    }
    let added = watched.peak().saturating_sub(at_rest) / MIB;
    println!(
        "at rest {} MiB, flood adds {added} MiB; {replies:?}",
        at_rest / MIB
    );
    assert!(added < FLOOD_BYTES_MAX / MIB, "{added} MiB");
    assert!(
        replies.keys().any(|reply| reply.starts_with("421 4.3.2")),
        "{replies:?}"
    );

    let small = small(bench.smtp).await;
    assert!(small.iter().all(Injected::acked), "{small:?}");
    let all = [large, small].concat();
    let verdict = bench.settle(&all, Duration::from_secs(30)).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

fn signal(node: &Node, name: &str) {
    let pid = node.pid().to_string();
    let status = std::process::Command::new("kill")
        .args([name, &pid])
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_while_the_control_node_stands_still() {
    let _alone = crate::alone().await;
    let apart = Apart::new(LIMITS, "").await.unwrap();
    let control = apart.control().await.unwrap();
    let mut sender = apart.sender(&[]).unwrap();
    sender.ready(READY).await.unwrap();
    let at_rest = sender.rss_bytes().unwrap();
    let watched = Watched::new(sender.pid());

    let flood = tokio::spawn(Injector::new(large(apart.smtp, 100, 1)).run());
    let until = Instant::now() + READY;
    while apart.sink.records().is_empty() {
        assert!(Instant::now() < until, "the first messages arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(&control, "-STOP");
    let injected = flood.await.unwrap();
    signal(&control, "-CONT");
    check_refusals(&injected);
    let acked = injected.iter().filter(|message| message.acked()).count();
    let added = watched.peak().saturating_sub(at_rest) / MIB;
    println!(
        "{acked} of {} taken; flood adds {added} MiB",
        injected.len()
    );
    assert!(added < FLOOD_BYTES_MAX / MIB, "{added} MiB");

    let until = Instant::now() + READY;
    loop {
        let again = small(apart.smtp).await;
        if again.iter().all(Injected::acked) {
            break;
        }
        assert!(Instant::now() < until, "{again:?}");
    }
}
