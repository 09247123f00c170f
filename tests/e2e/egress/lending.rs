//! A node of role `egress`: senders go out through its source IPs, and it has nothing else to do with mail.

use std::process::Command;
use std::time::{Duration, Instant};

use skein_testkit::process::http_get;
use skein_tests::fleet::Member;
use skein_tests::{loopback, skein};

use super::stage::{NO_LIMITS, Plan, Stage, ip, last_byte, pool, wait_for};

const LENT: u8 = 51;
const OWN: u8 = 52;
/// It has no connections by then; a busy machine is slow.
pub const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// An egress node with a certificate that says that it is one, and nothing more.
pub fn egress_node(stage: &Stage) -> Member {
    let fleet = &stage.fleet;
    let ca = fleet.folder.path().join("ca");
    let made = Command::new(skein().unwrap())
        .arg("dev-ca")
        .arg(&ca)
        .args(["--host", "egress.test", "--role", "egress"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let node = Member::new(fleet.folder.path(), "egress-1").unwrap();
    let text = format!(
        r#"
        role = "egress"
        http.listen = "{http}"
        dns.servers = ["{dns}"]
        egress.listen = "{egress}"
        delivery.allow_private_addresses = true
        [cluster]
        peers = ["{peer}"]
        name = "${{NODE:-egress-1}}"
        [cluster.tls]
        ca = {ca:?}
        certificate = {certificate:?}
        key = {key:?}
        "#,
        http = node.http,
        dns = fleet.dns.address(),
        egress = loopback().unwrap(),
        peer = fleet.control[0].address,
        certificate = ca.join("egress.test.pem"),
        key = ca.join("egress.test-key.pem"),
        ca = ca.join("ca.pem"),
    );
    node.configure(&text).unwrap();
    node
}

/// Offers some mail, and returns the last bytes of the addresses that it came from.
async fn send(stage: &Stage, prefix: &str, count: usize) -> Vec<u8> {
    let before = stage.sink.records().len();
    let mut config = stage.injector(prefix, stage.domains(2));
    config.connections = 1;
    stage.offer(config, count).await;
    wait_for("the mail to arrive", || {
        (stage.sink.records().len() >= before + count).then_some(())
    })
    .await;
    let records = stage.sink.records().split_off(before);
    let from = records.iter().map(|record| last_byte(record.peer.ip()));
    from.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_leaves_from_the_ips_of_a_node_that_does_nothing_else() {
    let stage = Stage::new(Plan {
        has_certificates: true,
        ..Plan::default()
    })
    .await;
    let mut egress = egress_node(&stage);
    egress.start().await.unwrap();
    let policy = |members: &str| {
        format!(
            "{}{}{}{NO_LIMITS}",
            ip("lent", LENT, "home: egress-1"),
            ip("own", OWN, "home: s1"),
            pool("default", members),
        )
    };
    stage.fleet.apply(&policy("{ip: lent}")).unwrap();
    stage.placed(&[("lent", "egress-1"), ("own", "s1")]).await;
    assert_eq!(send(&stage, "lent", 20).await, [LENT; 20]);

    // Operators see what it is, and it has no part of the sender's work.
    let listed = stage.fleet.skeinctl(&["node", "list"]).unwrap();
    assert!(
        listed.contains("EGRESS NODE") && listed.contains("egress-1"),
        "{listed}"
    );
    let ips = stage.fleet.skeinctl(&["ip", "list"]).unwrap();
    assert!(ips.contains("egress-1 (egress)"), "{ips}");
    let nodes = stage.fleet.ask(&["node", "list"]).unwrap();
    for node in nodes["senders"].as_array().unwrap() {
        let is_egress = node["name"] == "egress-1";
        assert_eq!(
            node["is_egress"].as_bool().unwrap_or(false),
            is_egress,
            "{node}"
        );
        let slots = node["slots"].as_u64().unwrap_or(0);
        assert_eq!(slots, if is_egress { 0 } else { 1024 }, "{node}");
    }
    let drained = stage.fleet.try_skeinctl(0, &["node", "drain", "egress-1"]);
    let said = String::from_utf8(drained.unwrap().stderr).unwrap();
    assert!(said.contains("egress node"), "{said}");
    let (code, ready) = http_get(egress.http, "/readyz?verbose").await.unwrap();
    assert!(
        code == 200 && ready.contains("[+]egress-session ok"),
        "{ready}"
    );

    // A node that dies has its IPs until its lease has ended. Other members of the pool take over.
    stage
        .fleet
        .apply(&policy("{ip: lent, weight: 9}, {ip: own}"))
        .unwrap();
    egress.kill().unwrap();
    wait_for("the IP to be nowhere", || {
        (stage.ips()["lent"]["state"] == "unplaced").then_some(())
    })
    .await;
    assert_eq!(send(&stage, "own", 20).await, [OWN; 20]);

    // It comes back, and its IP with it.
    egress.start().await.unwrap();
    stage.placed(&[("lent", "egress-1")]).await;
    stage.fleet.apply(&policy("{ip: lent}")).unwrap();
    assert_eq!(send(&stage, "again", 20).await, [LENT; 20]);

    // SIGTERM gives the IP back before a lease ends.
    let mut process = egress.node.take().unwrap();
    let began = Instant::now();
    process.term().unwrap();
    let status = process.wait(STOPS_WITHIN).await.unwrap();
    assert!(status.success(), "{status}\n{}", process.log());
    println!("ended after {:?}", began.elapsed());
    assert_eq!(stage.ips()["lent"]["state"], "unplaced");
    let listed = stage.fleet.skeinctl(&["node", "list"]).unwrap();
    assert!(!listed.contains("egress-1"), "{listed}");
}
