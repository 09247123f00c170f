//! What was seen once is kept: over leaders, restarts and a domain that is silenced, until an operator flushes it.

use serde_json::Value;
use skein_testkit::web_host::Page;

use super::stage::{PATIENCE, Stage, text};

const DOMAIN: &str = "kept.test";

fn show(stage: &Stage, nth: usize) -> Option<Value> {
    let shown = stage
        .fleet
        .try_skeinctl(nth, &["tls", "policy", "show", DOMAIN, "--json"]);
    let shown = shown.unwrap();
    shown
        .status
        .success()
        .then(|| serde_json::from_slice(&shown.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_outlives_leaders_and_nodes_and_whoever_silences_its_domain() {
    let mut stage = Stage::new(3, "1s").await;
    stage.publish(
        DOMAIN,
        "1",
        Page::text(&text("enforce", "mx.kept.test", 604_800)),
    );
    let first = stage.policy(DOMAIN).await.unwrap();
    assert_eq!(first.mx, ["mx.kept.test"]);
    // Every node shows it, with where it is from and how old it is.
    for nth in 0..3 {
        let has_it = |shown: &Value| shown["id"] == "1" && shown["mode"] == "enforce";
        let args = ["tls", "policy", "show", DOMAIN];
        let shown = stage
            .fleet
            .answers(nth, &args, PATIENCE, has_it)
            .await
            .unwrap();
        assert_eq!(
            shown["source"],
            "https://mta-sts.kept.test/.well-known/mta-sts.txt"
        );
        assert!(shown["fetched_at_ms"].as_u64() > Some(0) && shown["fault"] == "");
    }
    // Somebody takes the record and the host away, and then the leader falls.
    stage.announce(DOMAIN, &[]);
    stage.fleet.dns.remove("mta-sts.kept.test");
    let leader = stage.fleet.meta_leader().unwrap();
    stage.fleet.control[leader].kill().unwrap();
    assert_eq!(stage.policy(DOMAIN).await.unwrap(), first);
    stage.fleet.control[leader].start().await.unwrap();
    for member in &mut stage.fleet.control {
        member.kill().unwrap();
    }
    for member in &mut stage.fleet.control {
        member.spawn().unwrap();
    }
    for member in &mut stage.fleet.control {
        member.ready().await.unwrap();
    }
    assert_eq!(stage.policy(DOMAIN).await.unwrap(), first);
    let listed = stage.fleet.ask(&["tls", "policy", "list"]).unwrap();
    assert_eq!(listed[0]["domain"], DOMAIN);

    // Who knows that the domain has moved says so, at any node.
    let leader = stage.fleet.meta_leader().unwrap();
    let other = (leader + 1) % 3;
    let flushed = stage
        .fleet
        .ask_at(other, &["tls", "policy", "flush", DOMAIN])
        .unwrap();
    assert_eq!(flushed["was_kept"], true);
    stage.until_policy(DOMAIN, |policy| policy.is_none()).await;
    assert_eq!(show(&stage, leader), None);
    let audit = stage.fleet.ask(&["audit"]).unwrap();
    let calls: Vec<&str> = audit
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["call"].as_str())
        .collect();
    assert!(calls.contains(&"FlushTlsPolicy"), "{calls:?}");
    // It is announced again: the next mail finds it.
    stage.publish(
        DOMAIN,
        "2",
        Page::text(&text("testing", "mx.kept.test", 604_800)),
    );
    stage
        .fleet
        .skeinctl(&["tls", "policy", "flush", DOMAIN])
        .unwrap();
    stage
        .until_policy(DOMAIN, |policy| {
            policy.is_some_and(|policy| policy.id == "2")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mail_must_find_is_explained_host_by_host() {
    let stage = Stage::new(1, "1s").await;
    let dns = &stage.fleet.dns;
    for (host, preference) in [("mx1.kept.test", 10), ("mx.elsewhere.test", 20)] {
        dns.mx(DOMAIN, preference, host);
        dns.host(host, [127, 0, 0, 1].into());
    }
    let explain = |args: &[&str]| {
        stage
            .fleet
            .ask(&[&["tls", "explain"], args].concat())
            .unwrap()
    };
    let before = explain(&[DOMAIN]);
    assert_eq!(before["hosts"][0]["decided_by"], "opportunistic");
    assert!(
        before["announced"]
            .as_str()
            .unwrap()
            .contains("announces no policy")
    );
    stage.publish(
        DOMAIN,
        "5",
        Page::text(&text("enforce", "*.kept.test", 604_800)),
    );
    let announced = explain(&[DOMAIN]);
    assert!(
        announced["announced"]
            .as_str()
            .unwrap()
            .ends_with("announces the policy 5")
    );
    assert_eq!(announced["policy"], Value::Null, "no mail has gone there");
    stage.until_policy(DOMAIN, |policy| policy.is_some()).await;
    let now = explain(&[DOMAIN]);
    let hosts = now["hosts"].as_array().unwrap();
    let said: Vec<_> = hosts
        .iter()
        .map(|host| {
            (
                host["decided_by"].as_str().unwrap(),
                host["is_skipped"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(said, [("sts", false), ("sts", true)]);
    assert_eq!(now["policy"]["mode"], "enforce");
    let words = stage.fleet.skeinctl(&["tls", "explain", DOMAIN]).unwrap();
    for part in [
        "mx.elsewhere.test",
        "does not name this host",
        "id 5",
        "MTA-STS: enforced",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let bad = stage
        .fleet
        .skeinctl(&["tls", "explain", "no domain"])
        .unwrap_err();
    assert!(format!("{bad:#}").contains("domain: "), "{bad:#}");
    let missing = stage
        .fleet
        .skeinctl(&["tls", "policy", "show", "other.test"])
        .unwrap_err();
    assert!(
        format!("{missing:#}").contains("skeinctl tls explain other.test"),
        "{missing:#}"
    );
}
