//! What the sender does with hosts of all kinds: a node, a name server, and sinks on loopback addresses.

mod away;
mod blocked;
mod connections;
mod explain;
mod hosts;
mod limits;
mod logins;
mod loops;
mod name_servers;
mod reports;
mod routes;
mod sites;
mod tls;
mod used_up;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::dns::FakeDns;
use skein_testkit::load::Probe;
use skein_testkit::process::{Node, NodeConfig, free_port, http_get};
use skein_testkit::sink::{Record, Sink, SinkConfig};
use skein_tests::operator;
use tempfile::TempDir;

/// Longest wait for something that is to happen; a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The address on which the sink of `here.test` stands: the sender's own domain, where reports go.
const HERE: u8 = 2;

pub struct World {
    dns: FakeDns,
    /// Name servers that are asked before that one.
    dns_before: Vec<SocketAddr>,
    /// Further keys about them.
    dns_more: &'static str,
    /// Of all sinks.
    port: u16,
    smtp: SocketAddr,
    admin: SocketAddr,
    http: SocketAddr,
    /// Where reports arrive.
    here: Sink,
    folder: TempDir,
    node: Option<Node>,
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

impl World {
    pub async fn new() -> Self {
        let local = |port| SocketAddr::new(address(1), port);
        let port = free_port().unwrap();
        let dns = FakeDns::start(local(0)).await.unwrap();
        let here = Sink::start(SinkConfig::at(SocketAddr::new(address(HERE), port)))
            .await
            .unwrap();
        dns.domain("here.test", address(HERE));
        Self {
            dns,
            dns_before: Vec::new(),
            dns_more: "",
            port,
            smtp: local(free_port().unwrap()),
            admin: local(free_port().unwrap()),
            http: local(free_port().unwrap()),
            here,
            folder: TempDir::new().unwrap(),
            node: None,
        }
    }

    pub fn sink_config(&self, last: u8) -> SinkConfig {
        SinkConfig::at(SocketAddr::new(address(last), self.port))
    }

    /// A sink that accepts, and whose host is the only one of the domain.
    async fn sink(&self, last: u8, domain: &str) -> Sink {
        self.sink_of(self.sink_config(last), domain).await
    }

    pub async fn sink_of(&self, config: SinkConfig, domain: &str) -> Sink {
        self.dns.domain(domain, config.address.ip());
        Sink::start(config).await.unwrap()
    }

    /// Where clients hand in.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// What names resolve to.
    pub fn dns(&self) -> &FakeDns {
        &self.dns
    }

    /// Nothing that a name server says of DNSSEC counts.
    pub fn distrust_dns(&mut self) {
        self.dns_more = "dns.trust_ad = []";
    }

    /// Of all sinks.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where reports arrive.
    pub fn here(&self) -> &Sink {
        &self.here
    }

    /// Starts the node. `delivery` are lines of `[delivery]`, `more` are further sections.
    pub async fn start(&mut self, delivery: &str, more: &str) {
        let http = self.http;
        let servers = self.dns_before.iter().copied().chain([self.dns.address()]);
        let servers: Vec<String> = servers.map(|server| format!("\"{server}\"")).collect();
        let config = format!(
            r#"
            data_dir = "{data}"
            events.path = "{events}"
            http.listen = "{http}"
            admin.listen = "{admin}"
            dns.servers = [{dns}]
            {dns_more}
            [smtp]
            hostname = "mx.skein.test"
            [[smtp.listener]]
            address = "{smtp}"
            [delivery]
            port = {port}
            allow_private_addresses = true
            {delivery}
            {more}
            "#,
            data = self.folder.path().join("data").display(),
            events = self.folder.path().join("events.jsonl").display(),
            admin = self.admin,
            dns = servers.join(", "),
            dns_more = self.dns_more,
            smtp = self.smtp,
            port = self.port,
        );
        let path = self.folder.path().join("skein.toml");
        std::fs::write(&path, config).unwrap();
        let config = NodeConfig::serve(&skein_tests::skein().unwrap(), &path, http);
        let mut node = Node::start(config).unwrap();
        node.ready(PATIENCE).await.unwrap();
        self.node = Some(node);
    }

    /// Applies policy as an operator does.
    pub fn apply(&self, policy: &str) {
        operator::apply(self.admin, self.folder.path(), policy).unwrap();
    }

    /// Hands in a message from `a@here.test`.
    pub async fn send(&self, to: &[&str]) -> String {
        self.hand_in(
            "MAIL FROM:<a@here.test>",
            to,
            "Subject: hello\r\n\r\nhi\r\n",
        )
        .await
    }

    /// Hands in a message with the MAIL command as it is given; a recipient may bring parameters along after a space.
    /// Returns the node's id of the message.
    pub async fn hand_in(&self, mail: &str, to: &[&str], message: &str) -> String {
        let (mut probe, _) = Probe::greet(self.smtp).await.unwrap();
        hand_in(&mut probe, mail, to, message).await
    }

    /// The page of metrics.
    pub async fn metrics(&self) -> String {
        let (status, page) = http_get(self.http, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        page
    }

    /// What happened so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        operator::events(&self.folder.path().join("events.jsonl")).unwrap()
    }

    pub fn events_of(&self, id: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["message_id"] == id);
        events
    }

    /// Waits for an event of a message, and returns it.
    pub async fn event(&self, id: &str, name: &str) -> Value {
        let find = || {
            self.events_of(id)
                .into_iter()
                .find(|event| event["event"] == name)
        };
        wait_for(&format!("{name} of {id}"), find).await
    }

    /// Waits for the report about a message, and returns its text.
    pub async fn report(&self, id: &str) -> String {
        let about = wait_for(&format!("a report about {id}"), || {
            self.events()
                .into_iter()
                .find(|event| event["event"] == "accepted" && event["related_message"] == id)
        })
        .await;
        let about = about["message_id"].as_str().unwrap().to_owned();
        let record = wait_for("the report at here.test", || {
            let marked = |record: &Arc<Record>| {
                String::from_utf8_lossy(&record.message).contains(&format!("<{about}@"))
            };
            accepted(&self.here).into_iter().find(marked)
        })
        .await;
        assert_eq!(record.sender(), "", "a report has the null return path");
        String::from_utf8(record.message.clone()).unwrap()
    }
}

pub async fn hand_in(probe: &mut Probe, mail: &str, to: &[&str], message: &str) -> String {
    let mut lines = vec![mail.to_owned()];
    lines.extend(to.iter().map(|to| match to.split_once(' ') {
        Some((address, parameters)) => format!("RCPT TO:<{address}> {parameters}"),
        None => format!("RCPT TO:<{to}>"),
    }));
    lines.push("DATA".to_owned());
    for line in lines {
        let reply = probe.cmd(&line).await.unwrap();
        assert!(reply.positive(), "{line}: {reply:?}");
    }
    probe
        .send(format!("{message}.\r\n").as_bytes())
        .await
        .unwrap();
    let reply = probe.reply().await.unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    reply.text().rsplit(' ').next().unwrap().to_owned()
}

/// Looks until there is something, and panics with `what` when there never is.
pub async fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    let found = skein_tests::until(what, PATIENCE, Duration::from_millis(20), look);
    found.await.unwrap()
}

pub fn accepted(sink: &Sink) -> Vec<Arc<Record>> {
    let mut records = sink.records();
    records.retain(|record| record.accepted);
    records
}

/// Waits until a sink has taken this many messages, and returns them.
pub async fn taken(sink: &Sink, count: usize) -> Vec<Arc<Record>> {
    let records = wait_for(&format!("{count} messages at {}", sink.address()), || {
        Some(accepted(sink)).filter(|records| records.len() >= count)
    })
    .await;
    assert_eq!(records.len(), count);
    records
}

fn recipients(record: &Record) -> Vec<&str> {
    record.delivered_to().collect()
}

pub fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}
