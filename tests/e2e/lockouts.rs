//! Accounts and clients that are locked out on all nodes, whoever saw the guesses, and through a change of the leader; where an account is
//! at home it stays open, and an operator's word unlocks it.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_testkit::load::Probe;
use skein_tests::fleet::{Fleet, Plan};

/// Nodes tell and hear every 2 s; a new leader is there after 3.
const WITHIN: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(300);
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));

fn stranger(network: u8, nth: u8) -> IpAddr {
    IpAddr::from([127, 0, network, nth])
}

/// The code of a login under TLS.
async fn login(fleet: &Fleet, sender: usize, source: IpAddr, password: &str) -> u16 {
    let mut probe = Probe::connect_from(source, fleet.senders[sender].smtp)
        .await
        .unwrap();
    probe.reply().await.unwrap();
    probe.cmd("EHLO c").await.unwrap();
    probe.starttls().await.unwrap();
    probe.cmd("EHLO c").await.unwrap();
    let plain = STANDARD.encode(format!("\0app\0{password}"));
    probe
        .cmd(&format!("AUTH PLAIN {plain}"))
        .await
        .unwrap()
        .code
}

/// Logs in, each time from elsewhere, until the answer is this one.
async fn until_answered(fleet: &Fleet, sender: usize, network: u8, password: &str, code: u16) {
    let mut said = Vec::new();
    let asked = async {
        for nth in 1..=250 {
            said.push(login(fleet, sender, stranger(network, nth), password).await);
            if said.last() == Some(&code) {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let answered = tokio::time::timeout(WITHIN, asked).await;
    assert!(
        answered.is_ok(),
        "sender {sender} says {said:?}, never {code}"
    );
}

/// Whether the account is listed as locked, at this control node.
fn is_listed(fleet: &Fleet, nth: usize) -> bool {
    let Ok(locks) = fleet.ask_at(nth, &["credential", "locks"]) else {
        return false;
    };
    let is_it = |lock: &serde_json::Value| {
        lock["user"] == "app" && lock["client"] == "" && lock["locked_for_ms"].as_u64() > Some(0)
    };
    locks
        .as_array()
        .is_some_and(|locks| locks.iter().any(is_it))
}

/// Whatever all nodes forget when they are stopped at once, it is not where an account is at home.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_at_home_where_it_was_before_all_nodes_were_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(plan(folder.path(), 1)).await.unwrap();
    let secret = account(&fleet);
    assert_eq!(login(&fleet, 0, HOME, &secret).await, 235);
    let is_written = |fleet: &Fleet| {
        let log = fleet.control[0].node.as_ref()?.log();
        log.contains("networks of accounts are written down")
            .then_some(())
    };
    fleet
        .until("what was learnt", WITHIN, is_written)
        .await
        .unwrap();
    for one in fleet.senders.iter_mut().chain(&mut fleet.control) {
        one.stop().await.unwrap();
    }
    for one in fleet.control.iter_mut().chain(&mut fleet.senders) {
        one.start().await.unwrap();
    }
    for nth in 1..=20 {
        assert_eq!(login(&fleet, 0, stranger(5, nth), "guess").await, 535);
    }
    until_answered(&fleet, 0, 6, &secret, 454).await;
    // A sender hears of the lock and of home in the same round or in the next one.
    let mut answered = 0;
    for _ in 0..50 {
        answered = login(&fleet, 0, HOME, &secret).await;
        if answered == 235 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(answered, 235);
}

/// Nodes that take logins under TLS.
fn plan(folder: &std::path::Path, nodes: usize) -> Plan {
    let tls = skein_tests::self_signed(folder).unwrap();
    let tls = tls.replace("[smtp.tls]", "");
    let lines = tls.lines().map(str::trim).filter(|line| !line.is_empty());
    Plan {
        control: nodes,
        senders: nodes,
        relay_networks: "[]",
        smtp: lines.map(|line| format!("tls.{line}\n")).collect(),
        ..Plan::default()
    }
}

/// The secret of the account `app`.
fn account(fleet: &Fleet) -> String {
    let create = ["credential", "create", "app", "--tenant", "acme", "--wait"];
    let made = fleet.ask(&create).unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_holds_on_all_nodes_and_never_where_the_account_is_at_home() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        first: Some(2),
        ..plan(folder.path(), 3)
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let secret = account(&fleet);
    assert_eq!(login(&fleet, 0, HOME, &secret).await, 235);

    // Eleven guesses at each of two nodes, none of which locks it by itself.
    for nth in 1..=11 {
        for sender in 0..2 {
            assert_eq!(login(&fleet, sender, stranger(5, nth), "guess").await, 535);
        }
    }
    let listed = fleet.until("the lock", WITHIN, |fleet| {
        is_listed(fleet, 0).then_some(())
    });
    listed.await.unwrap();
    for sender in 0..2 {
        until_answered(&fleet, sender, 10, &secret, 454).await;
        assert_eq!(
            login(&fleet, sender, HOME, &secret).await,
            235,
            "sender {sender}"
        );
    }

    // A node that comes now knows it within seconds.
    fleet.join(2..3).await.unwrap();
    until_answered(&fleet, 2, 11, &secret, 454).await;
    assert_eq!(login(&fleet, 2, HOME, &secret).await, 235);

    // And so does a leader that has seen none of it.
    let leader = fleet.meta_leader().unwrap();
    fleet.control[leader].kill().unwrap();
    let other = (leader + 1) % 3;
    let listed = fleet.until("the lock at the next leader", WITHIN, |fleet| {
        is_listed(fleet, other).then_some(())
    });
    listed.await.unwrap();
    for sender in 0..3 {
        until_answered(&fleet, sender, 12, &secret, 454).await;
        assert_eq!(
            login(&fleet, sender, HOME, &secret).await,
            235,
            "sender {sender}"
        );
    }

    let unlocked = fleet
        .try_skeinctl(other, &["credential", "unlock", "app"])
        .unwrap();
    assert!(unlocked.status.success(), "{unlocked:?}");
    for sender in 0..3 {
        until_answered(&fleet, sender, 13, &secret, 235).await;
    }
    let again = fleet
        .try_skeinctl(other, &["credential", "unlock", "nobody"])
        .unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("nothing counts against"),
        "{said}"
    );
    let audit = fleet.ask_at(other, &["audit", "--call", "Unlock"]).unwrap();
    let codes: Vec<u64> = audit
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["code"].as_u64())
        .collect();
    assert_eq!(codes, [0, 5], "{audit}");
}
