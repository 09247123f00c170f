//! A node as its users see it: real sockets, real disk.
#![expect(clippy::unwrap_used, reason = "tests")]

mod abuse;
mod access;
mod automation;
mod backup;
mod bounces;
mod broken;
mod clients;
mod cluster;
mod cluster_tls;
mod config_check;
mod configuration;
mod corpus;
mod corruption;
mod credentials;
mod delivery;
mod disk;
mod doctor;
mod domains;
mod drain;
mod egress;
mod growth;
mod guessing;
mod inbound;
mod journal;
mod lease;
mod listener_certificates;
mod lockouts;
mod metrics;
mod names;
mod policy;
mod postfix;
mod priority;
mod probe;
mod probes;
mod reload;
mod replicas;
mod scram;
mod shutdown;
mod signing;
mod site_spread;
mod smuggling;
mod spanned;
mod standing;
mod submission;
mod suspend;
mod telemetry;
mod tenants;
mod tls_out;
mod tls_policies;
mod warmup;

use std::net::SocketAddr;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Probe};
use skein_tests::Bench;

fn skeinctl(bench: &Bench, args: &[&str]) -> String {
    skeinctl_at(bench.admin, args)
}

fn skeinctl_at(admin: SocketAddr, args: &[&str]) -> String {
    skein_tests::operator::skeinctl(admin, args).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn awkward_messages_arrive_byte_for_byte() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let injector = Injector::new(InjectorConfig::to(bench.smtp));
    let to = |n: usize| vec![format!("user@domain{n}.test")];
    let many: Vec<String> = (0..1000)
        .map(|n| format!("user{n}@domain{}.test", n % 100))
        .collect();
    let given = |id: &str, n: usize, body: &str| {
        let message = format!("X-Test-Id: {id}\r\n\r\n{body}");
        Injected::given(id, "a@b.test", to(n), message.as_bytes())
    };
    let messages = vec![
        given("dots", 1, ".\r\n..\r\n.a\r\n\r\n.\r\n"),
        given("empty-lines", 2, "\r\n\r\n\r\n"),
        given("empty-body", 5, ""),
        given("eight-bit", 3, "gr\u{fc}n\r\n"),
        Injected::generated("many", "a@b.test", many, 5_000),
        Injected::generated("large", "a@b.test", to(4), 50_000_000),
    ];
    let injected = injector.offer(messages).await;
    assert!(
        injected.iter().all(|message| message.acked()),
        "{injected:?}"
    );
    let verdict = bench.settle(&injected, Duration::from_secs(60)).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_message_can_be_asked_for() {
    let bench = Bench::new().await.unwrap();
    let mut node = bench.start().await.unwrap();
    let (mut probe, _) = Probe::greet(bench.smtp).await.unwrap();
    for line in [
        "EHLO c",
        "MAIL FROM:<a@b.test>",
        "RCPT TO:<c@d.test>",
        "DATA",
    ] {
        probe.cmd(line).await.unwrap();
    }
    probe
        .send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        .await
        .unwrap();
    let reply = probe.reply().await.unwrap();
    assert_eq!(reply.code, 250);
    let id = reply.text().rsplit(' ').next().unwrap().to_owned();
    let mut shown = String::new();
    for _ in 0..100 {
        shown = skeinctl(&bench, &["message", "show", &id]);
        if shown.contains("delivered") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        shown.contains("accepted") && shown.contains("delivered  c@d.test"),
        "{shown}"
    );
    assert!(skeinctl(&bench, &["status", "--json"]).contains("\"open_messages\": 0"));
    assert!(skeinctl(&bench, &["queue", "list"]).contains("DOMAIN"));
    node.term().unwrap();
    assert!(
        node.wait(Duration::from_secs(30)).await.unwrap().success(),
        "a drain ends well"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_may_not_relay_and_smuggled_mail_is_refused() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let (mut probe, banner) = Probe::greet(bench.smtp).await.unwrap();
    assert_eq!(banner.code, 250, "the reply to EHLO");
    for line in ["MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA"] {
        probe.cmd(line).await.unwrap();
    }
    probe
        .send(b"x\r\n.\nMAIL FROM:<evil@b.test>\r\n.\r\n")
        .await
        .unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 550);
}
