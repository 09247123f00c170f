//! A control node and senders that have source IPs, a name server, and a sink that notes every command.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_testkit::dns::FakeDns;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::{Node, NodeConfig, free_port, http_get};
use skein_testkit::sink::{Act, Phase, Sink, SinkConfig};
use skein_tests::{READY, loopback, skein};
use tempfile::TempDir;

/// Longest wait for something that is to happen; a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Figures that bind nobody, for hosts that no provider is about.
pub const NO_LIMITS: &str =
    "---\nkind: provider\nname: default\nper_ip: {connections: 5, message_rate: 100000/s}\n";

/// A command that the sink was given, or a connection.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    pub at: Instant,
    pub peer: SocketAddr,
}

pub struct Sender {
    pub name: String,
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    config: PathBuf,
    pub node: Option<Node>,
}

pub struct Stage {
    pub dns: FakeDns,
    pub sink: Sink,
    pub heard: Arc<Mutex<Vec<Heard>>>,
    pub admin: SocketAddr,
    pub senders: Vec<Sender>,
    pub folder: TempDir,
    control: Node,
}

pub struct Plan {
    pub senders: usize,
    pub has_certificates: bool,
    /// Lines of each sender's file, before any section.
    pub more: &'static str,
}

pub fn ip(name: &str, last: u8, more: &str) -> String {
    format!("---\nkind: ip\nname: {name}\nbind: 127.0.0.{last}\nehlo: {name}.here.test\n{more}\n")
}

pub fn pool(name: &str, members: &str) -> String {
    format!("---\nkind: pool\nname: {name}\nmembers: [{members}]\n")
}

/// A section with certificates that are good for any node on this machine.
fn certificates(folder: &Path) -> String {
    let place = folder.join("ca");
    let mut command = Command::new(skein().unwrap());
    let output = command
        .arg("dev-ca")
        .arg(&place)
        .args(["--host", "node.test"])
        .output();
    assert!(output.unwrap().status.success());
    let file = |name: &str| place.join(name);
    format!(
        "[cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        file("ca.pem"),
        file("node.test.pem"),
        file("node.test-key.pem")
    )
}

async fn start(config: &Path, http: SocketAddr) -> Node {
    let mut node = Node::start(NodeConfig::serve(&skein().unwrap(), config, http)).unwrap();
    node.ready(READY).await.unwrap();
    node
}

impl Stage {
    pub async fn new(plan: Plan) -> Self {
        let folder = TempDir::new().unwrap();
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let dns = FakeDns::start(local).await.unwrap();
        let port = free_port().unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let notes = heard.clone();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let sink = SinkConfig::at(address).script(move |moment| {
            if moment.phase != Phase::AfterDot {
                notes.lock().unwrap().push(Heard {
                    at: Instant::now(),
                    peer: moment.peer,
                });
            }
            Act::Accept
        });
        let sink = Sink::start(sink).await.unwrap();
        let tls = match plan.has_certificates {
            true => certificates(folder.path()),
            false => String::new(),
        };
        let (peer, admin, http) = (
            loopback().unwrap(),
            loopback().unwrap(),
            loopback().unwrap(),
        );
        let control = format!(
            "role = \"control\"\ndata_dir = {data:?}\nadmin.listen = \"{admin}\"\nhttp.listen = \"{http}\"\n\
             events.path = {events:?}\ndns.servers = [\"{dns}\"]\n\
             [cluster]\nlisten = \"{peer}\"\npeers = [\"{peer}\"]\n{tls}",
            data = folder.path().join("control"),
            events = folder.path().join("events.jsonl"),
            dns = dns.address(),
        );
        let path = folder.path().join("control.toml");
        std::fs::write(&path, control).unwrap();
        let control = start(&path, http).await;
        let mut senders = Vec::new();
        for number in 1..=plan.senders {
            let (smtp, http, egress) = (
                loopback().unwrap(),
                loopback().unwrap(),
                loopback().unwrap(),
            );
            let name = format!("s{number}");
            let text = format!(
                "role = \"sender\"\ndata_dir = {data:?}\nhttp.listen = \"{http}\"\negress.listen = \"{egress}\"\n\
                 dns.servers = [\"{dns}\"]\n{more}\n\
                 [cluster]\npeers = [\"{peer}\"]\nname = \"{name}\"\n{tls}\n\
                 [smtp]\nhostname = \"{name}.skein.test\"\n[[smtp.listener]]\naddress = \"{smtp}\"\n\
                 [delivery]\nport = {port}\nallow_private_addresses = true\n\
                 [delivery.retry]\nfirst = \"200ms\"\ncap = \"1s\"\n",
                data = folder.path().join(&name),
                dns = dns.address(),
                more = plan.more,
            );
            let config = folder.path().join(format!("{name}.toml"));
            std::fs::write(&config, text).unwrap();
            let node = Some(start(&config, http).await);
            senders.push(Sender {
                name,
                smtp,
                http,
                config,
                node,
            });
        }
        Self {
            dns,
            sink,
            heard,
            admin,
            senders,
            folder,
            control,
        }
    }

    pub async fn start_again(&mut self, number: usize) {
        let sender = &mut self.senders[number];
        sender.node = Some(start(&sender.config, sender.http).await);
    }

    /// SIGSTOP: no session is renewed any more.
    pub fn stop_control(&mut self) {
        self.control.pause().unwrap();
    }

    pub fn pids(&self) -> BTreeMap<String, u32> {
        let senders = self.senders.iter();
        let pids = senders.filter_map(|one| Some((one.name.clone(), one.node.as_ref()?.pid())));
        pids.collect()
    }

    pub fn apply(&self, policy: &str) {
        let file = self.folder.path().join("policy.yaml");
        std::fs::write(&file, policy).unwrap();
        crate::skeinctl_at(self.admin, &["apply", "-f", file.to_str().unwrap()]);
    }

    pub fn skeinctl(&self, args: &[&str]) -> Output {
        let server = format!("http://{}", self.admin);
        let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        command
            .args(["--server", &server])
            .args(args)
            .output()
            .unwrap()
    }

    pub fn ips(&self) -> BTreeMap<String, Value> {
        let listed = crate::skeinctl_at(self.admin, &["ip", "list", "--json"]);
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        let named = listed.into_iter();
        named
            .map(|ip| (ip["name"].as_str().unwrap().to_owned(), ip))
            .collect()
    }

    /// Waits until every one of these IPs is at its node.
    pub async fn placed(&self, wanted: &[(&str, &str)]) {
        let is_so = || {
            let ips = self.ips();
            let is_at = |(ip, node): &(&str, &str)| {
                ips[*ip]["node"] == *node && ips[*ip]["state"] == "active"
            };
            wanted.iter().all(is_at).then_some(())
        };
        wait_for("IPs to be placed", is_so).await;
    }

    /// Domains whose mail goes to the sink, each a site of its own.
    pub fn domains(&self, count: usize) -> Vec<String> {
        let names = (0..count).map(|n| format!("d{n}.test"));
        names
            .inspect(|name| self.dns.domain(name, self.sink.address().ip()))
            .collect()
    }

    /// An injector that hands mail to all senders that run.
    pub fn injector(&self, prefix: &str, domains: Vec<String>) -> InjectorConfig {
        let running = self.senders.iter().filter(|sender| sender.node.is_some());
        let mut config = InjectorConfig::to_all(running.map(|sender| sender.smtp).collect());
        config.prefix = prefix.to_owned();
        config.domains = domains;
        config.sizes = vec![500];
        config
    }

    pub async fn offer(&self, mut config: InjectorConfig, count: usize) -> Vec<Injected> {
        config.messages_per_connection = count.div_ceil(config.connections);
        Injector::new(config).run().await
    }

    /// A counter of a sender, over all its labels.
    pub async fn metric(&self, number: usize, name: &str) -> u64 {
        let (_, text) = http_get(self.senders[number].http, "/metrics")
            .await
            .unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("events.jsonl"));
        let text = text.unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// Looks until there is something, and panics with `what` when there never is.
pub async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn last_byte(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => panic!("these tests are about IPv4"),
    }
}
