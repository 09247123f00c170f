//! What one node of three lost or has no room for, the others have.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Outcome};
use skein_testkit::oracle::{self, Reconciliation};
use skein_testkit::process::{Node, NodeConfig};
use skein_testkit::sink::{Act, Phase, Record, Sink, SinkConfig};
use skein_tests::loopback;
use skein_tests::small_disk::SmallDisk;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(90);
const DISK_BYTES: u64 = 256 << 20;

/// Three nodes of all roles, and a sink that all mail goes to.
struct Trio {
    sink: Sink,
    smtp: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    folder: TempDir,
    /// Probes that were offered, so that each has an id of its own.
    probes: AtomicU32,
}

impl Trio {
    async fn new() -> Self {
        let trio = Self {
            sink: Sink::start(SinkConfig::at(loopback().unwrap()))
                .await
                .unwrap(),
            smtp: (0..3).map(|_| loopback().unwrap()).collect(),
            http: (0..3).map(|_| loopback().unwrap()).collect(),
            folder: TempDir::new().unwrap(),
            probes: AtomicU32::new(0),
        };
        let listen: Vec<_> = (0..3).map(|_| loopback().unwrap()).collect();
        for (n, own) in listen.iter().enumerate() {
            let config = format!(
                r#"
                role = "all"
                data_dir = "{data}"
                [cluster]
                listen = "{own}"
                peers = {peers:?}
                spool_groups = 3
                [storage]
                ballast_bytes = 8388608
                segment_bytes = 4194304
                [smtp]
                hostname = "mx{n}.skein.test"
                [[smtp.listener]]
                address = "{smtp}"
                [admin]
                listen = "{admin}"
                [http]
                listen = "{http}"
                [delivery]
                smarthost = "{sink}"
                [delivery.retry]
                first = "200ms"
                cap = "1s"
                "#,
                data = trio.data(n).display(),
                peers = listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
                smtp = trio.smtp[n],
                admin = loopback().unwrap(),
                http = trio.http[n],
                sink = trio.sink.address(),
            );
            std::fs::write(trio.config(n), config).unwrap();
        }
        trio.close();
        trio
    }

    fn data(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("data{n}"))
    }

    fn config(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("node{n}.toml"))
    }

    fn launch(&self, n: usize) -> Node {
        let binary = PathBuf::from(std::env::var("SKEIN_BIN").unwrap());
        let config = NodeConfig::serve(&binary, &self.config(n), self.http[n]);
        Node::start(config).unwrap()
    }

    async fn start(&self) -> Vec<Node> {
        let mut nodes: Vec<_> = (0..3).map(|n| self.launch(n)).collect();
        for node in &mut nodes {
            node.ready(WITHIN).await.unwrap();
        }
        nodes
    }

    fn close(&self) {
        self.sink.set_script(|moment| match moment.phase {
            Phase::Rcpt => Act::reply(451, "4.7.1 later"),
            _ => Act::Accept,
        });
    }

    fn open(&self) {
        self.sink.set_script(|_| Act::Accept);
    }

    async fn offer(&self, n: usize, prefix: &str) -> Vec<Injected> {
        let config = InjectorConfig {
            sizes: vec![500, 5_000, 150_000],
            prefix: prefix.to_owned(),
            pipelining: false,
            ..InjectorConfig::to(self.smtp[n])
        };
        Injector::new(config).run().await
    }

    /// Offers one message again and again until what becomes of it is as wanted.
    async fn wait_until(&self, n: usize, wanted: impl Fn(&Outcome) -> bool) -> Vec<Injected> {
        let injector = Injector::new(InjectorConfig::to(self.smtp[n]));
        let until = tokio::time::Instant::now() + WITHIN;
        let mut all = Vec::new();
        loop {
            let to = vec!["someone@load.skein.test".to_owned()];
            let id = format!("probe-{n}-{}", self.probes.fetch_add(1, Ordering::Relaxed));
            let one = Injected::generated(&id, "a@b.test", to, 500);
            let one = injector.offer(vec![one]).await.remove(0);
            let outcome = one.outcome.clone();
            all.push(one);
            if wanted(&outcome) {
                return all;
            }
            let is_in_time = tokio::time::Instant::now() < until;
            assert!(is_in_time, "{outcome:?}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn all_arrive_once(&self, offered: &[Injected]) {
        self.open();
        let until = tokio::time::Instant::now() + WITHIN;
        loop {
            let verdict = oracle::judge(offered, &self.sink.records());
            if verdict.is_clean() {
                println!("{}", verdict.summary());
                return;
            }
            let is_in_time = tokio::time::Instant::now() < until;
            assert!(
                is_in_time && verdict.duplicates.is_empty(),
                "{}\n{}",
                verdict.summary(),
                self.what_happened(&verdict)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Each time that a duplicate was offered to the sink, and the logs.
    fn what_happened(&self, verdict: &Reconciliation) -> String {
        let duplicates = verdict.duplicates.iter().map(|one| Some(one.id.clone()));
        let duplicates: Vec<Option<String>> = duplicates.collect();
        let mut lines = Vec::new();
        for record in self.sink.records() {
            if duplicates.contains(&record.test_id) {
                let Record {
                    at_ms,
                    helo,
                    test_id,
                    accepted,
                    ..
                } = &*record;
                lines.push(format!("{at_ms} {helo} {test_id:?} accepted: {accepted}"));
            }
        }
        lines.push(self.logs());
        lines.join("\n")
    }

    /// The end of each node's log.
    fn logs(&self) -> String {
        const LINES: usize = 150;
        let mut lines = Vec::new();
        for n in 0..3 {
            let log = self.log(n);
            let skipped = log.lines().count().saturating_sub(LINES);
            lines.push(format!("the log of node {n}:"));
            lines.extend(log.lines().skip(skipped).map(str::to_owned));
        }
        lines.join("\n")
    }

    fn log(&self, n: usize) -> String {
        std::fs::read_to_string(self.config(n).with_extension("log")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bodies_are_read_elsewhere_and_replaced() {
    let trio = Trio::new().await;
    let mut nodes = trio.start().await;
    let mut offered = Vec::new();
    for n in 0..3 {
        offered.extend(trio.offer(n, &format!("m{n}")).await);
    }
    assert!(offered.iter().all(Injected::acked));
    // The third copies are written though nobody waits for them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in &mut nodes {
        node.kill9().unwrap();
    }
    let damage = |n: usize| {
        let of_node = move |last: u8| usize::from(last) % 3 == n;
        crate::corruption::damage_bodies(&trio.data(n), of_node)
    };
    let damaged: usize = (0..3).map(damage).sum();
    println!("{damaged} bodies damaged, each on one node");
    assert!(damaged > 100, "{damaged}");
    let _nodes = trio.start().await;
    // While mail waits, a leader reads what it hands out, and pulls what it finds damaged.
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        let logs: String = (0..3).map(|n| trio.log(n)).collect();
        if logs.contains("bodies that were missing here are here now") {
            assert!(logs.contains("the copy of a body here is damaged"));
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{logs}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    trio.all_arrive_once(&offered).await;
}

fn acked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Acked { .. })
}

fn full(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { code: 452, .. })
}

fn small_disk(path: &Path) -> Option<SmallDisk> {
    SmallDisk::mount(path, DISK_BYTES).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_intake_only_on_a_majority() {
    let trio = Trio::new().await;
    let (Some(first), Some(second)) = (small_disk(&trio.data(0)), small_disk(&trio.data(1))) else {
        return;
    };
    let mut nodes = trio.start().await;
    let mut offered = trio.offer(0, "before").await;
    assert!(offered.iter().all(Injected::acked), "{offered:?}");

    let foreign = first.fill().unwrap();
    // Groups that it leads are on their way to others: 451 or 452 for some seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    offered.extend(trio.wait_until(0, acked).await);
    let meanwhile = trio.offer(0, "one").await;
    assert!(meanwhile.iter().all(Injected::acked), "{meanwhile:?}");
    offered.extend(meanwhile);

    let another = second.fill().unwrap();
    offered.extend(trio.wait_until(2, full).await);
    trio.all_arrive_once(&offered).await;
    for node in &mut nodes {
        assert!(node.running(), "{}", node.log_end());
    }

    std::fs::remove_file(another).unwrap();
    offered.extend(trio.wait_until(2, acked).await);
    std::fs::remove_file(foreign).unwrap();
    offered.extend(trio.wait_until(1, acked).await);
    trio.close();
    let after = trio.offer(1, "after").await;
    assert!(after.iter().all(Injected::acked), "{after:?}");
    offered.extend(after);
    trio.all_arrive_once(&offered).await;
}
