//! `skeinctl probe`: what a delivery would meet at a domain's hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use skein_testkit::dns::{FakeDns, Fault};
use skein_testkit::process::free_port;
use skein_testkit::sink::{Act, Phase, Sink, SinkConfig};

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A name server, and hosts at one port of several addresses.
struct World {
    dns: FakeDns,
    port: u16,
    sinks: Vec<Sink>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self {
            dns: FakeDns::start(SocketAddr::new(ip(1), 0)).await.unwrap(),
            port: free_port().unwrap(),
            sinks: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A host with a certificate for its name, and an MX record of the domain.
    async fn host(
        &mut self,
        domain: &str,
        preference: u16,
        name: &str,
        last: u8,
        change: impl FnOnce(&mut SinkConfig),
    ) {
        self.dns.mx(domain, preference, name);
        self.dns.host(name, ip(last));
        let mut config = SinkConfig::at(SocketAddr::new(ip(last), self.port));
        config.hostname = name.to_owned();
        change(&mut config);
        self.sinks.push(Sink::start(config).await.unwrap());
    }

    /// The code, and all that was said.
    fn probe(&self, domain: &str, options: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        let server = self.dns.address().to_string();
        let port = self.port.to_string();
        command.args(["probe", domain, "--name-server", &server, "--port", &port]);
        command.args(["--step-timeout", "5s"]).args(options);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    #[track_caller]
    fn check(&self, domain: &str, options: &[&str], code: i32, parts: &[&str]) -> String {
        let (found, out, err) = self.probe(domain, options);
        let said = out + &err;
        assert_eq!(found, Some(code), "{domain}: {said}");
        for part in parts {
            assert!(said.contains(part), "{domain} lacks {part:?}: {said}");
        }
        said
    }

    /// The certificates of all hosts, as the CAs that are trusted.
    fn trusted(&self) -> String {
        let file = self.folder.path().join("ca.pem");
        let pems = self.sinks.iter().filter_map(Sink::certificate);
        std::fs::write(&file, pems.collect::<String>()).unwrap();
        file.display().to_string()
    }
}

const PRIVATE: &str = "--allow-private";

#[tokio::test(flavor = "multi_thread")]
async fn each_host_is_told_in_its_order_with_what_a_delivery_meets() {
    let mut world = World::new().await;
    world
        .host("a.test", 20, "mx2.a.test", 4, |config| {
            config.extensions.starttls = false;
        })
        .await;
    world.host("a.test", 10, "mx1.a.test", 3, |_| {}).await;
    world
        .host("a.test", 30, "mx3.a.test", 5, |config| {
            config.script = Arc::new(|moment| match moment.phase {
                Phase::Connect => Act::reply(554, "5.7.1 no mail from you"),
                _ => Act::Accept,
            });
        })
        .await;
    world.dns.mx("a.test", 40, "mx4.a.test");
    world.dns.host("mx4.a.test", ip(6));
    let trusted = world.trusted();
    let expected = [
        "a.test has MX records: 4 hosts",
        "10 mx1.a.test [127.0.0.3]",
        "EHLO        250 mx1.a.test",
        "PIPELINING | 8BITMIME",
        "STARTTLS    TLSv1.3 TLS13_",
        "for mx1.a.test, issued by",
        "it verifies",
        "also where policy verifies the certificate",
        "20 mx2.a.test [127.0.0.4]",
        "in the clear, because STARTTLS is not offered",
        "greeting    554 5.7.1 no mail from you",
        "refused a session (554 5.7.1 no mail from you)",
        "40 mx4.a.test [127.0.0.6]",
        "no session: nothing listens there",
        "mail for a.test goes to mx1.a.test [127.0.0.3] under verified TLS: 2 of 4 addresses",
    ];
    let said = world.check("a.test", &[PRIVATE, "--smtp-ca", &trusted], 0, &expected);
    let places = [
        "mx1.a.test [",
        "mx2.a.test [",
        "mx3.a.test [",
        "mx4.a.test [",
    ];
    let places = places.map(|name| said.find(name).unwrap());
    assert!(places.is_sorted(), "{said}");
    let unknown = "under TLS; where policy verifies the certificate it waits: nobody we trust has signed its certificate";
    world.check("user@a.test", &[PRIVATE], 0, &[unknown]);
    for sink in &world.sinks {
        assert_eq!(sink.records().len(), 0, "nothing is sent");
    }

    let (code, out, _) = world.probe("a.test", &[PRIVATE, "--smtp-ca", &trusted, "--json"]);
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&out).unwrap();
    let meets: Vec<&str> = report["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["meets"].as_str().unwrap())
        .collect();
    assert_eq!(meets, ["verified", "clear", "refuses", "away"]);
    assert_eq!(
        report["hosts"][0]["tls"]["certificate"]["names"][0],
        "mx1.a.test"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_break_or_say_nothing_are_told_apart() {
    let mut world = World::new().await;
    let at = |phase: Phase, act: Act| {
        move |config: &mut SinkConfig| {
            config.script = Arc::new(move |moment| match moment.phase == phase {
                true => act.clone(),
                false => Act::Accept,
            });
        }
    };
    let rows = [
        (
            "silent.test",
            at(Phase::Connect, Act::Tarpit),
            1,
            "gave no answer in time",
        ),
        (
            "busy.test",
            at(Phase::Connect, Act::reply(421, "4.3.2 busy")),
            1,
            "no mail is taken now (421 4.3.2 busy)",
        ),
        (
            "nottls.test",
            at(Phase::Handshake, Act::Drop),
            0,
            "STARTTLS is offered and fails",
        ),
        (
            "notnow.test",
            at(Phase::StartTls, Act::reply(454, "4.7.0 no TLS now")),
            0,
            "454 4.7.0 no TLS now",
        ),
        (
            "nosmtp.test",
            at(Phase::Connect, Act::Raw(b"SSH-2.0\r\n".to_vec())),
            1,
            "said what is not SMTP",
        ),
        (
            "drops.test",
            at(Phase::Connect, Act::Drop),
            1,
            "ended the connection",
        ),
    ];
    for (last, (domain, change, code, expected)) in (10..).zip(rows) {
        world
            .host(domain, 10, &format!("mx.{domain}"), last, change)
            .await;
        world.check(domain, &[PRIVATE], code, &[expected]);
    }
    world
        .host("other.test", 10, "mx.other.test", 30, |config| {
            config.hostname = "mx.name.test".to_owned()
        })
        .await;
    let trusted = world.trusted();
    let options = [PRIVATE, "--smtp-ca", &trusted];
    world.check(
        "other.test",
        &options,
        0,
        &["waits: its certificate is for mx.name.test"],
    );
    world.check(
        "silent.test",
        &[PRIVATE, "--timeout", "1s"],
        1,
        &["mail for silent.test waits: 0 of "],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_without_hosts_are_told_as_their_bounce_tells_them() {
    let mut world = World::new().await;
    world.dns.fault("null.test", Some(Fault::NullMx));
    world.dns.fault("broken.test", Some(Fault::ServFail));
    world
        .host("private.test", 10, "mx.private.test", 3, |_| {})
        .await;
    for (domain, parts) in [
        (
            "null.test",
            &[
                "does not accept mail (null MX)",
                "bounces at once with 5.1.10",
            ][..],
        ),
        ("none.test", &["does not exist", "5.1.2", "look for a slip"]),
        (
            "broken.test",
            &["waits, and is tried again with 4.4.3", "--name-server"],
        ),
        (
            "private.test",
            &["only private addresses", "--allow-private"],
        ),
        ("not a domain", &["not a valid domain name"]),
    ] {
        let said = world.check(domain, &[], 1, parts);
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    world.check(
        "[127.0.0.3]",
        &[PRIVATE],
        0,
        &["is an address", "[127.0.0.3]:"],
    );
    world.dns.host("alone.test", ip(3));
    world.check("alone.test", &[PRIVATE], 0, &["it is its own mail host"]);
    let (code, out, _) = world.probe("null.test", &["--json"]);
    assert_eq!(code, Some(1));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(report["verdict"].as_str().unwrap().contains("5.1.10"));
}
