//! A control node and senders that have source IPs, a name server, and a sink that notes every command.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::{Node, http_get};
use skein_testkit::sink::{Act, Phase, Sink, SinkConfig};
use skein_tests::fleet::Fleet;

pub use skein_tests::fleet::Plan;

/// Longest wait for something that is to happen; a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Figures that bind nobody, for hosts that no provider is about.
pub const NO_LIMITS: &str =
    "---\nkind: provider\nname: default\nper_ip: {connections: 5, message_rate: 100000/s}\n";

/// A command that the sink was given, or a connection.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When it arrived, as the kernel noted it.
    pub at: Instant,
    pub connection: u64,
    pub peer: SocketAddr,
    pub phase: Phase,
}

pub struct Stage {
    pub fleet: Fleet,
    pub sink: Sink,
    pub heard: Arc<Mutex<Vec<Heard>>>,
}

pub fn ip(name: &str, last: u8, more: &str) -> String {
    format!("---\nkind: ip\nname: {name}\nbind: 127.0.0.{last}\nehlo: {name}.here.test\n{more}\n")
}

pub fn pool(name: &str, members: &str) -> String {
    format!("---\nkind: pool\nname: {name}\nmembers: [{members}]\n")
}

impl Stage {
    pub async fn new(plan: Plan) -> Self {
        let fleet = Fleet::start(plan).await.unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let notes = heard.clone();
        let address = SocketAddr::from(([127, 0, 0, 1], fleet.port));
        let sink = SinkConfig::at(address).script(move |moment| {
            if moment.phase != Phase::AfterDot {
                notes.lock().unwrap().push(Heard {
                    at: moment.arrived,
                    connection: moment.connection,
                    peer: moment.peer,
                    phase: moment.phase,
                });
            }
            Act::Accept
        });
        let sink = Sink::start(sink).await.unwrap();
        Self { fleet, sink, heard }
    }

    /// Of a sender.
    pub fn process(&mut self, number: usize) -> &mut Node {
        self.fleet.senders[number].node.as_mut().unwrap()
    }

    /// SIGSTOP: no session is renewed any more.
    pub fn stop_control(&mut self) {
        let control = self.fleet.control[0].node.as_mut();
        control.unwrap().pause().unwrap();
    }

    pub fn pids(&self) -> BTreeMap<String, u32> {
        let senders = self.fleet.senders.iter();
        let pids = senders.filter_map(|one| Some((one.name.clone(), one.node.as_ref()?.pid())));
        pids.collect()
    }

    pub fn ips(&self) -> BTreeMap<String, Value> {
        let listed = self.fleet.ask(&["ip", "list"]).unwrap();
        let named = listed.as_array().unwrap().iter().cloned();
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
            .inspect(|name| self.fleet.dns.domain(name, self.sink.address().ip()))
            .collect()
    }

    /// An injector that hands mail to all senders that run.
    pub fn injector(&self, prefix: &str, domains: Vec<String>) -> InjectorConfig {
        let running = self
            .fleet
            .senders
            .iter()
            .filter(|sender| sender.node.is_some());
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
        let (_, text) = http_get(self.fleet.senders[number].http, "/metrics")
            .await
            .unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }
}

/// Looks until there is something, and panics with `what` when there never is.
pub async fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    let found = skein_tests::until(what, PATIENCE, Duration::from_millis(50), look);
    found.await.unwrap()
}

pub fn last_byte(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => panic!("these tests are about IPv4"),
    }
}
