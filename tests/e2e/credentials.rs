//! Credentials of the policy: made, used, replaced and revoked on all senders, while everything runs; and tenants, who send as
//! their own domains only.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_testkit::load::{Probe, Reply};
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::operator;

/// What an operator waits for at most until a change is in force on all senders.
const WITHIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// One control node and senders with certificates, where nobody needs no login.
async fn fleet(senders: usize) -> Fleet {
    let folder = tempfile::tempdir().unwrap();
    let tls = skein_tests::self_signed(folder.path()).unwrap();
    let tls = tls.replace("[smtp.tls]", "");
    let lines = tls.lines().map(str::trim).filter(|line| !line.is_empty());
    let plan = Plan {
        senders,
        relay_networks: "[]",
        smtp: lines.map(|line| format!("tls.{line}\n")).collect(),
        ..Plan::default()
    };
    let fleet = Fleet::start(plan).await.unwrap();
    // The senders have read the files.
    drop(folder);
    fleet
}

async fn connected(fleet: &Fleet, sender: usize, source: IpAddr) -> Probe {
    let address = fleet.senders[sender].smtp;
    let mut probe = Probe::connect_from(source, address).await.unwrap();
    probe.reply().await.unwrap();
    probe.cmd("EHLO c").await.unwrap();
    probe
}

/// A session under TLS that has tried to log in.
async fn login(fleet: &Fleet, sender: usize, user: &str, password: &str) -> (Probe, Reply) {
    let mut probe = connected(fleet, sender, IpAddr::from([127, 0, 0, 1])).await;
    probe.starttls().await.unwrap();
    probe.cmd("EHLO c").await.unwrap();
    let plain = STANDARD.encode(format!("\0{user}\0{password}"));
    let reply = probe.cmd(&format!("AUTH PLAIN {plain}")).await.unwrap();
    (probe, reply)
}

async fn mail(probe: &mut Probe, from: &str) -> Reply {
    let mail = probe.cmd(&format!("MAIL FROM:<{from}>")).await.unwrap();
    if !mail.positive() {
        return mail;
    }
    probe.cmd("RCPT TO:<u@there.test>").await.unwrap()
}

/// A whole message with this header; the reply to its end.
async fn message(probe: &mut Probe, from: &str, header: &str) -> Reply {
    let envelope = mail(probe, from).await;
    assert!(envelope.positive(), "{envelope:?}");
    assert_eq!(probe.cmd("DATA").await.unwrap().code, 354);
    let text = format!("{header}\r\n\r\nx\r\n.");
    probe.cmd(&text).await.unwrap()
}

/// The user and the secret that `skeinctl credential` shows.
fn made(fleet: &Fleet, args: &[&str]) -> (String, String) {
    let said = fleet.ask(&[&["credential"], args].concat()).unwrap();
    let text = |key: &str| {
        said[key]
            .as_str()
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned()
    };
    (text("user"), text("secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_made_used_and_revoked_on_all_senders_within_two_seconds() {
    let fleet = fleet(3).await;
    let _sink = fleet
        .sink(3, "mx.there.test", &["there.test"])
        .await
        .unwrap();
    let began = Instant::now();
    let (user, secret) = made(&fleet, &["create", "app", "--tenant", "acme", "--wait"]);
    println!("made after {:?}", began.elapsed());
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    let mut open = Vec::new();
    for sender in 0..3 {
        let (mut probe, reply) = login(&fleet, sender, &user, &secret).await;
        assert_eq!(reply.code, 235, "sender {sender}: {reply:?}");
        let queued = message(&mut probe, "a@b.test", "Subject: x").await;
        assert_eq!(queued.code, 250, "{queued:?}");
        open.push(probe);
        let (_, wrong) = login(&fleet, sender, &user, "skn_smtp_0").await;
        assert_eq!(wrong.code, 535);
    }
    let accepted = |fleet: &Fleet| {
        let events = fleet.events().ok()?;
        let of_acme = events
            .iter()
            .filter(|one| one["event"] == "accepted" && one["tenant"] == "acme");
        (of_acme.count() == 3).then_some(())
    };
    fleet
        .until("three messages of acme", PATIENCE, accepted)
        .await
        .unwrap();

    // It is shown once: nothing that is kept tells it.
    let kept = [
        fleet
            .skeinctl(&["policy", "get", "credential", "app", "--secrets"])
            .unwrap(),
        fleet.skeinctl(&["credential", "list", "--json"]).unwrap(),
        fleet.control[0].node.as_ref().unwrap().log(),
    ];
    for text in kept {
        assert!(!text.contains(&secret[12..]), "{text}");
    }

    let began = Instant::now();
    fleet
        .skeinctl(&["credential", "revoke", "app", "--wait"])
        .unwrap();
    println!("revoked after {:?}", began.elapsed());
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    for (sender, mut probe) in open.into_iter().enumerate() {
        let (_, reply) = login(&fleet, sender, &user, &secret).await;
        // Without any user there is no AUTH.
        assert!(matches!(reply.code, 502 | 503 | 535), "{reply:?}");
        let said = mail(&mut probe, "a@b.test").await;
        assert_eq!(said.code, 421, "an open session goes on: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_replaced_while_both_are_good() {
    let fleet = fleet(1).await;
    let create = [
        "create",
        "app",
        "--tenant",
        "acme",
        "--user",
        "app@acme.test",
        "--wait",
    ];
    let (user, first) = made(&fleet, &create);
    assert_eq!(user, "app@acme.test");
    let (_, second) = made(&fleet, &["rotate", "app", "--wait"]);
    assert_ne!(first, second);
    for secret in [&first, &second] {
        assert_eq!(login(&fleet, 0, &user, secret).await.1.code, 235);
    }
    let third =
        operator::try_skeinctl(fleet.control[0].admin, &["credential", "rotate", "app"]).unwrap();
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert!(
        !third.status.success() && said.contains("--finish"),
        "{said}"
    );
    fleet
        .skeinctl(&["credential", "rotate", "app", "--finish", "--wait"])
        .unwrap();
    assert_eq!(login(&fleet, 0, &user, &first).await.1.code, 535);
    assert_eq!(login(&fleet, 0, &user, &second).await.1.code, 235);
    let again = operator::try_skeinctl(
        fleet.control[0].admin,
        &["credential", "create", "app", "--tenant", "other"],
    )
    .unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("already"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sends_as_its_domains_and_a_network_without_a_login() {
    let fleet = fleet(1).await;
    let _sink = fleet
        .sink(3, "mx.there.test", &["there.test"])
        .await
        .unwrap();
    let (user, secret) = made(&fleet, &["create", "app", "--tenant", "acme", "--wait"]);
    fleet
        .skeinctl(&[
            "credential",
            "create",
            "hosts",
            "--tenant",
            "acme",
            "--network",
            "127.0.0.7",
            "--no-login",
            "--wait",
        ])
        .unwrap();
    let policy = |state: &str| {
        format!("kind: tenant\nname: acme\nsender_domains: [acme.test, '*.acme.test']\n{state}")
    };
    fleet.apply(&policy("")).unwrap();
    fleet
        .skeinctl(&["policy", "get", "tenant", "acme"])
        .unwrap();
    let (mut by_login, reply) = login(&fleet, 0, &user, &secret).await;
    assert_eq!(reply.code, 235);
    let in_force = async {
        while mail(&mut by_login, "x@other.test").await.positive() {
            by_login.cmd("RSET").await.unwrap();
        }
    };
    tokio::time::timeout(WITHIN, in_force).await.unwrap();
    let mut by_network = connected(&fleet, 0, IpAddr::from([127, 0, 0, 7])).await;
    let mut stranger = connected(&fleet, 0, IpAddr::from([127, 0, 0, 8])).await;
    assert_eq!(mail(&mut stranger, "x@acme.test").await.code, 550);
    for probe in [&mut by_login, &mut by_network] {
        let refused = mail(probe, "x@other.test").await;
        assert_eq!(refused.code, 550);
        assert!(
            refused.text().contains("may not send as other.test"),
            "{refused:?}"
        );
        for header in [
            "From: x@other.test",
            "From: x@acme.test, y@other.test",
            "Subject: x",
            "From: x@acme.test\r\nSender: y@other.test",
            "From: x@acme.test\r\nFrom: x@other.test",
        ] {
            let refused = message(probe, "x@acme.test", header).await;
            assert_eq!(refused.code, 550, "{header}: {refused:?}");
        }
        let taken = message(
            probe,
            "x@news.acme.test",
            "From: \"other.test\" <x@acme.test>",
        )
        .await;
        assert_eq!(taken.code, 250, "{taken:?}");
        let report = message(probe, "", "From: x@acme.test").await;
        assert_eq!(report.code, 250, "{report:?}");
    }
    fleet.apply(&policy("state: suspended\n")).unwrap();
    let suspended = async {
        loop {
            let said = mail(&mut by_login, "x@acme.test").await;
            if !said.positive() {
                return said;
            }
            by_login.cmd("RSET").await.unwrap();
        }
    };
    let said = tokio::time::timeout(WITHIN, suspended).await.unwrap();
    assert!(
        said.code == 550 && said.text().contains("suspended"),
        "{said:?}"
    );
}
