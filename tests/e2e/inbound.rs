//! Mail from strangers to domains that the cluster hosts.

mod backscatter;
mod checks;
mod cluster;
mod dovecot;
mod mailboxes;
mod programs;
mod receiver;
mod relaying;
mod sealing;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use skein_testkit::dns::FakeDns;
use skein_testkit::load::Probe;
use skein_testkit::process::Node;
use skein_tests::{Bench, Extra};
use tempfile::TempDir;

pub const WITHIN: Duration = Duration::from_secs(90);
pub const LOOK: Duration = Duration::from_millis(50);

/// A node that strangers reach from addresses of loopback, but for 127.0.0.1, whose mail goes anywhere.
pub struct Host {
    pub bench: Bench,
    pub node: Node,
    pub dns: FakeDns,
    pub folder: TempDir,
}

impl Host {
    pub async fn new(policy: &str) -> Self {
        Self::with(policy, "").await
    }

    /// `sections`: further ones of its configuration.
    pub async fn with(policy: &str, sections: &str) -> Self {
        let dns = FakeDns::start(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let sections = format!("[dns]\nservers = [\"{}\"]\n{sections}", dns.address());
        let bench = Bench::with(|_| {
            Ok(Extra {
                relay_networks: Some("[\"127.0.0.1/32\"]".into()),
                sections,
                ..Extra::default()
            })
        });
        let bench = bench.await.unwrap();
        let node = bench.start().await.unwrap();
        let folder = TempDir::new().unwrap();
        let host = Self {
            bench,
            node,
            dns,
            folder,
        };
        host.apply(policy);
        host
    }

    pub fn apply(&self, policy: &str) {
        let folder = self.folder.path();
        skein_tests::operator::apply(self.bench.admin, folder, policy).unwrap();
    }

    pub fn events(&self) -> Vec<serde_json::Value> {
        skein_tests::operator::events(&self.bench.data().join("events.jsonl")).unwrap()
    }

    /// Waits for events that are such.
    pub async fn events_such(
        &self,
        count: usize,
        is_such: impl Fn(&serde_json::Value) -> bool,
    ) -> Vec<serde_json::Value> {
        let found = skein_tests::until("events", WITHIN, LOOK, || {
            let events = self.events().into_iter().filter(|event| is_such(event));
            let events: Vec<_> = events.collect();
            (events.len() >= count).then_some(events)
        });
        match found.await {
            Ok(found) => found,
            Err(error) => panic!("{error}: {:#?}\n{}", self.events(), self.node.log_end()),
        }
    }

    pub async fn metric(&self, name: &str) -> u64 {
        let (_, text) = skein_testkit::process::http_get(self.bench.http, "/metrics")
            .await
            .unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }
}

/// Stranger number `last`, who has said EHLO.
pub async fn stranger(last: u8, smtp: SocketAddr) -> Probe {
    let source = IpAddr::from([127, 0, 0, last]);
    let mut probe = Probe::connect_from(source, smtp).await.unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 220);
    assert_eq!(probe.cmd("EHLO client.test").await.unwrap().code, 250);
    probe
}

/// One message; the reply to the first command that was refused, or to the message.
pub async fn send(probe: &mut Probe, from: &str, to: &[&str], message: &str) -> (u16, String) {
    let mut lines = vec![format!("MAIL FROM:<{from}>")];
    lines.extend(to.iter().map(|to| format!("RCPT TO:{to}")));
    lines.push("DATA".into());
    for line in lines {
        let reply = probe.cmd(&line).await.unwrap();
        if !(reply.positive() || reply.code == 354) {
            let said = (reply.code, reply.text());
            probe.cmd("RSET").await.unwrap();
            return said;
        }
    }
    probe.send(message.as_bytes()).await.unwrap();
    let reply = probe.cmd("\r\n.").await.unwrap();
    (reply.code, reply.text())
}

/// A small message of this author.
pub fn message(from: &str, id: &str) -> String {
    format!(
        "From: {from}\r\nTo: x@hosted.test\r\nSubject: {id}\r\nMessage-ID: <{id}@m.test>\r\n\r\nhello {id}\r\n"
    )
}
