//! Limits that hold for all senders together: control nodes, senders, a name server and one host, on loopback.

mod connections;
mod drains;
mod long;
mod scopes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use skein_testkit::dns::FakeDns;
use skein_testkit::load::{Injected, Injector, InjectorConfig, Probe};
use skein_testkit::process::{Node, NodeConfig, free_port};
use skein_testkit::sink::{Act, Phase, Record, Sink, SinkConfig};
use skein_tests::READY;
use tempfile::TempDir;
use tokio::time::Instant;

/// All domains of the tests are at one host, which the provider `big` is.
const BIG: &str = "kind: provider\nname: big\nmx: [.big.test]\nmessages_per_connection: 1000\n";

/// Of users `t1` to `t6`, whose password is `pw`.
const LOGINS: [&str; 6] = [
    "AHQxAHB3", "AHQyAHB3", "AHQzAHB3", "AHQ0AHB3", "AHQ1AHB3", "AHQ2AHB3",
];

/// A process.
struct One {
    name: String,
    node: Option<Node>,
    config: NodeConfig,
    smtp: SocketAddr,
    admin: SocketAddr,
    peer: SocketAddr,
}

impl One {
    fn new(name: &str, folder: &TempDir) -> Self {
        let path = folder.path().join(format!("{name}.toml"));
        let binary = std::env::var("SKEIN_BIN").expect("run these tests with `cargo xtask test`");
        Self {
            name: name.to_owned(),
            node: None,
            config: NodeConfig::serve(binary.as_ref(), &path, local()),
            smtp: local(),
            admin: local(),
            peer: local(),
        }
    }

    fn spawn(&mut self, folder: &TempDir, config: &str) {
        let path = folder.path().join(format!("{}.toml", self.name));
        std::fs::write(path, config).unwrap();
        self.node = Some(Node::start(self.config.clone()).unwrap());
    }

    async fn ready(&mut self) {
        self.node.as_mut().unwrap().ready(READY).await.unwrap();
    }

    fn kill(&mut self) {
        self.node.take().unwrap().kill9().unwrap();
    }
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

struct World {
    sink: Arc<Sink>,
    control: Vec<One>,
    senders: Vec<One>,
    folder: TempDir,
    dns: FakeDns,
    /// Of all hosts.
    port: u16,
    /// Lines of each sender's file.
    tls: String,
}

impl World {
    async fn start(control: usize, senders: usize) -> Self {
        Self::start_first(control, senders, senders).await
    }

    /// With so many senders, of which only the first so many run.
    async fn start_first(control: usize, senders: usize, first: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port().unwrap();
        let host = SocketAddr::from(([127, 0, 0, 3], port));
        let sink = Sink::start(SinkConfig::at(host)).await.unwrap();
        let dns = FakeDns::start(SocketAddr::from(([127, 0, 0, 1], 0)));
        let dns = dns.await.unwrap();
        dns.host("mx.big.test", host.ip());
        dns.mx("there.test", 10, "mx.big.test");
        let one = |kind: &str, n: usize| One::new(&format!("{kind}{}", n + 1), &folder);
        let tls = skein_tests::self_signed(folder.path()).unwrap();
        let mut world = Self {
            sink: Arc::new(sink),
            control: (0..control).map(|n| one("c", n)).collect(),
            senders: (0..senders).map(|n| one("s", n)).collect(),
            folder,
            dns,
            port,
            tls,
        };
        world.start_control().await;
        world.join(0..first).await;
        world
    }

    /// Starts these senders.
    async fn join(&mut self, senders: std::ops::Range<usize>) {
        let (dns, port, peers) = (self.dns.address(), self.port, self.peers());
        let tls = self.tls.clone();
        for n in senders.clone() {
            let sender = &mut self.senders[n];
            let config = format!(
                r#"
                role = "sender"
                data_dir = "{data}"
                http.listen = "{http}"
                dns.servers = ["{dns}"]
                [cluster]
                peers = [{peers}]
                name = "{name}"
                [smtp]
                hostname = "{name}.skein.test"
                relay_networks = ["127.0.0.0/8"]
                relay_tenant = "of-{name}"
                [[smtp.listener]]
                address = "{smtp}"
                [egress]
                listen = "{egress}"
                [delivery]
                port = {port}
                allow_private_addresses = true
                [delivery.retry]
                first = "200ms"
                cap = "1s"
                {tls}
                [[smtp.user]]
                name = "t{user}"
                password = "pw"
                tenant = "user-{user}"
                "#,
                user = n + 1,
                egress = local(),
                data = self.folder.path().join(&sender.name).display(),
                http = sender.config.http,
                name = sender.name,
                smtp = sender.smtp,
            );
            sender.spawn(&self.folder, &config);
        }
        for sender in &mut self.senders[senders] {
            sender.ready().await;
        }
    }

    async fn start_control(&mut self) {
        let (peers, founders) = (self.peers(), self.control.len());
        for one in &mut self.control {
            let config = format!(
                r#"
                role = "control"
                data_dir = "{data}"
                http.listen = "{http}"
                admin.listen = "{admin}"
                [cluster]
                listen = "{peer}"
                peers = [{peers}]
                bootstrap_expect = {founders}
                spool_groups = 2
                "#,
                data = self.folder.path().join(&one.name).display(),
                http = one.config.http,
                admin = one.admin,
                peer = one.peer,
            );
            one.spawn(&self.folder, &config);
        }
        for one in &mut self.control {
            one.ready().await;
        }
    }

    fn peers(&self) -> String {
        let peers = self.control.iter().map(|one| format!("\"{}\"", one.peer));
        peers.collect::<Vec<_>>().join(", ")
    }

    fn admin(&self) -> SocketAddr {
        let mut alive = self.control.iter().filter(|one| one.node.is_some());
        alive.next().unwrap().admin
    }

    fn skeinctl(&self, args: &[&str]) -> String {
        crate::skeinctl_at(self.admin(), args)
    }

    /// Applies policy, and gives all senders the time of a heartbeat and a little to hear of it.
    async fn apply(&self, policy: &str) {
        let file = self.folder.path().join("policy.yaml");
        std::fs::write(&file, policy).unwrap();
        self.skeinctl(&["apply", "-f", file.to_str().unwrap()]);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// Spreads the host's mail. Intakes hear of it with a heartbeat.
    fn spread(&self, slots: u8) {
        self.skeinctl(&["slot", "fan", "big", &slots.to_string()]);
    }

    /// Hands in so many messages at each of these senders.
    async fn offer(&self, senders: &[usize], prefix: &str, count: usize) -> Vec<Injected> {
        self.offer_from("a@b.test", "there.test", senders, prefix, count)
            .await
    }

    async fn offer_from(
        &self,
        from: &str,
        domain: &str,
        senders: &[usize],
        prefix: &str,
        count: usize,
    ) -> Vec<Injected> {
        let mut all = tokio::task::JoinSet::new();
        for sender in senders {
            let name = format!("{prefix}-{}", self.senders[*sender].name);
            let smtp = self.senders[*sender].smtp;
            let (from, domain) = (from.to_owned(), domain.to_owned());
            all.spawn(async move {
                let message = |n| {
                    let to = vec![format!("user{n}@{domain}")];
                    Injected::generated(&format!("{name}-{n}"), &from, to, 500)
                };
                let injector = Injector::new(InjectorConfig::to(smtp));
                injector.offer((0..count).map(message).collect()).await
            });
        }
        let injected: Vec<Injected> = all.join_all().await.into_iter().flatten().collect();
        assert!(injected.iter().all(Injected::acked));
        injected
    }

    /// Hands in so many messages as the user of this sender, who is another tenant.
    async fn offer_as_user(&self, sender: usize, domain: &str, count: usize) {
        let to = format!("RCPT TO:<c@{domain}>");
        let (mut probe, _) = Probe::greet(self.senders[sender].smtp).await.unwrap();
        probe.starttls().await.unwrap();
        probe.cmd("EHLO client.test").await.unwrap();
        let reply = probe.cmd(&format!("AUTH PLAIN {}", LOGINS[sender])).await;
        assert_eq!(reply.unwrap().code, 235);
        for n in 0..count {
            for line in ["MAIL FROM:<a@b.test>", to.as_str(), "DATA"] {
                let reply = probe.cmd(line).await.unwrap();
                assert!(reply.positive(), "{line}: {}", reply.text());
            }
            let message = format!(
                "X-Test-Id: user{}-{n}\r\nSubject: x\r\n\r\nhi\r\n.\r\n",
                sender + 1
            );
            probe.send(message.as_bytes()).await.unwrap();
            assert_eq!(probe.reply().await.unwrap().code, 250);
        }
    }

    fn all_senders(&self) -> Vec<usize> {
        (0..self.senders.len()).collect()
    }

    fn each_message_takes(&self, time: Duration) {
        self.sink.set_script(move |moment| match moment.phase {
            Phase::Dot => Act::Delay(time),
            _ => Act::Accept,
        });
    }

    fn accepted(&self) -> Vec<Arc<Record>> {
        let mut records = self.sink.records();
        records.retain(|record| record.accepted);
        records
    }

    /// Waits until this many messages have arrived.
    async fn arrive(&self, count: usize, within: Duration) -> Vec<Arc<Record>> {
        let until = Instant::now() + within;
        loop {
            let records = self.accepted();
            if records.len() >= count {
                return records;
            }
            assert!(
                Instant::now() < until,
                "{} of {count} messages, by {:?}",
                records.len(),
                by_sender(&records)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The control node that leads the meta group.
    fn meta_leader(&self) -> usize {
        let status: Value =
            serde_json::from_str(&self.skeinctl(&["cluster", "status", "--json"])).unwrap();
        let nodes = status["nodes"].as_array().unwrap();
        let leads = |node: &&Value| {
            let mut groups = node["groups"].as_array().unwrap().iter();
            groups.any(|one| one["group"] == 0 && one["role"] == "leader")
        };
        let address = nodes.iter().find(leads).unwrap()["address"].clone();
        let is_it = |one: &One| address == one.peer.to_string();
        self.control.iter().position(is_it).unwrap()
    }
}

/// How many messages each sender brought.
fn by_sender(records: &[Arc<Record>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.helo.clone()).or_default() += 1;
    }
    counts
}

fn times(records: &[Arc<Record>]) -> Vec<u64> {
    let mut times: Vec<u64> = records.iter().map(|record| record.at_ms).collect();
    times.sort_unstable();
    times
}

/// The most events within any span of this many milliseconds.
fn most_within(times: &[u64], span: u64) -> usize {
    let within = |(nth, first): (usize, &u64)| {
        let later = times[nth..].iter();
        later.take_while(|at| **at < first + span).count()
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// The most connections that the host has seen at once.
struct Watch {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn over(sink: &Arc<Sink>) -> Self {
        let watch = Self {
            most: Arc::default(),
            stop: Arc::default(),
        };
        let (sink, most, stop) = (sink.clone(), watch.most.clone(), watch.stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(sink.open(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        watch
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
