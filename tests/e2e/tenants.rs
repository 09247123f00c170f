//! What the policy says of a tenant, and what its clients are told: pools, rates over all nodes, quotas and weights.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use skein_testkit::load::{Probe, Reply};
use skein_tests::fleet::{Fleet, Plan};

const WITHIN: Duration = Duration::from_secs(20);

/// Hosts of 127.0.0.21 are acme's, as credential `hosts`; of 127.0.0.22, too, as `slow`.
const HOSTS: &str = "
---
kind: credential
name: hosts
tenant: acme
networks: [127.0.0.21]
---
kind: credential
name: slow
tenant: acme
networks: [127.0.0.22]
rates: {messages: 2/day}
";

async fn fleet() -> Fleet {
    let plan = Plan {
        senders: 2,
        relay_networks: "[\"127.0.0.1/32\"]",
        ..Plan::default()
    };
    let fleet = Fleet::start(plan).await.unwrap();
    fleet
        .dns
        .host("mx.there.test", IpAddr::from([127, 0, 0, 99]));
    fleet.dns.mx("there.test", 10, "mx.there.test");
    fleet
}

fn apply(fleet: &Fleet, tenant: &str) {
    fleet
        .apply(&format!("kind: tenant\nname: acme\n{tenant}{HOSTS}"))
        .unwrap();
}

async fn connect(fleet: &Fleet, sender: usize, last: u8) -> Probe {
    let source = [127, 0, 0, last].into();
    let mut probe = Probe::connect_from(source, fleet.senders[sender].smtp)
        .await
        .unwrap();
    probe.reply().await.unwrap();
    probe.cmd("EHLO c").await.unwrap();
    probe
}

/// A message to so many recipients; the reply that refuses it, or the last.
async fn message(probe: &mut Probe, recipients: usize, header: &str) -> Reply {
    let mail = probe.cmd("MAIL FROM:<a@here.test>").await.unwrap();
    if !mail.positive() {
        return mail;
    }
    for nth in 0..recipients {
        let reply = probe
            .cmd(&format!("RCPT TO:<u{nth}@there.test>"))
            .await
            .unwrap();
        if !reply.positive() {
            probe.cmd("RSET").await.unwrap();
            return reply;
        }
    }
    assert_eq!(probe.cmd("DATA").await.unwrap().code, 354);
    probe
        .cmd(&format!("{header}Subject: x\r\n\r\nx\r\n."))
        .await
        .unwrap()
}

fn accepted(reply: &Reply) -> bool {
    match reply.code {
        250 => true,
        450 => {
            assert!(reply.text().starts_with("4.7.1 The "), "{reply:?}");
            assert!(reply.text().contains("may hand in"), "{reply:?}");
            assert!(reply.text().contains("try again in"), "{reply:?}");
            false
        }
        _ => panic!("{reply:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_hold_over_all_nodes_and_a_lower_one_from_apply_on() {
    let fleet = fleet().await;
    apply(&fleet, "rates: {messages: 20/h}\n");
    let (mut one, mut other) = (connect(&fleet, 0, 21).await, connect(&fleet, 1, 21).await);
    let mut taken = 0;
    let refused = Instant::now() + WITHIN;
    // One is the faster; both ask until there is nothing left, wherever it was.
    let mut in_vain = 0;
    while in_vain < 4 && Instant::now() < refused {
        let mut round = 0;
        for probe in [&mut one, &mut other] {
            for _ in 0..3 {
                round += u32::from(accepted(&message(probe, 1, "").await));
            }
        }
        taken += round;
        in_vain = if round == 0 { in_vain + 1 } else { 0 };
    }
    println!("{taken} of 20 messages were taken");
    assert!((18..=20).contains(&taken), "{taken}");
    let told = message(&mut one, 1, "").await;
    assert!(
        told.text()
            .contains("The tenant acme may hand in 20 messages in 1h"),
        "{told:?}"
    );

    // Another limit, whose tokens nobody has yet.
    apply(
        &fleet,
        "rates: {messages: 1000/h, recipients: 6/h, recipients_per_message: 4}\n",
    );
    let many = message(&mut one, 5, "").await;
    assert!(
        many.code == 452 && many.text().contains("has at most 4 recipients"),
        "{many:?}"
    );
    let mut recipients = 0;
    for _ in 0..2 {
        for probe in [&mut one, &mut other] {
            recipients += 2 * u32::from(accepted(&message(probe, 2, "").await));
        }
    }
    assert!((4..=6).contains(&recipients), "{recipients}");

    // Not one goes in under a limit that was lowered, once apply has returned.
    apply(&fleet, "rates: {messages: 1/h}\n");
    for probe in [&mut one, &mut other] {
        for _ in 0..5 {
            assert!(!accepted(&message(probe, 1, "").await));
        }
    }
    // Without a limit all do.
    apply(&fleet, "");
    for probe in [&mut one, &mut other] {
        assert!(accepted(&message(probe, 9, "").await));
    }
    // A credential has its own.
    let mut slow = connect(&fleet, 0, 22).await;
    let replies = [(); 4];
    let mut taken = 0;
    for () in replies {
        taken += u32::from(accepted(&message(&mut slow, 1, "").await));
    }
    assert_eq!(taken, 2);
    let told = message(&mut slow, 1, "").await;
    assert!(
        told.text()
            .contains("The credential slow may hand in 2 messages in 1d"),
        "{told:?}"
    );
    assert!(accepted(&message(&mut one, 1, "").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_comes_to_nothing_uses_nothing() {
    let fleet = fleet().await;
    apply(&fleet, "rates: {messages: 3/h, recipients: 3/h}\n");
    let mut probe = connect(&fleet, 0, 21).await;
    for _ in 0..20 {
        for line in ["MAIL FROM:<a@here.test>", "RCPT TO:<u@there.test>", "RSET"] {
            assert_eq!(probe.cmd(line).await.unwrap().code, 250, "{line}");
        }
    }
    for nth in 0..5 {
        assert_eq!(
            accepted(&message(&mut probe, 1, "").await),
            nth < 3,
            "{nth}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_pools_a_quota_and_a_weight() {
    let fleet = fleet().await;
    let pools = "
---
kind: pool
name: own
members: [{ip: i}]
---
kind: pool
name: other
members: [{ip: i}]
---
kind: ip
name: i
bind: 127.0.0.1
ehlo: a.here.test
---
kind: route
name: choice
header: true
pools: [own, other]
";
    fleet
        .apply(&format!(
            "kind: tenant\nname: acme\npools: [own]\nweight: 7\nquota: {{tasks: 5}}\n{HOSTS}{pools}"
        ))
        .unwrap();
    let mut probe = connect(&fleet, 0, 21).await;
    for (pool, code) in [("own", 250), ("other", 550), ("none", 550)] {
        let reply = message(&mut probe, 1, &format!("X-Skein-Pool: {pool}\r\n")).await;
        assert_eq!(reply.code, code, "{pool}: {reply:?}");
    }
    assert_eq!(message(&mut probe, 1, "").await.code, 250);
    let queues = fleet.ask(&["queue", "list"]).unwrap();
    let queues = queues["queues"]
        .as_array()
        .or(queues.as_array())
        .unwrap()
        .clone();
    assert!(
        queues.iter().all(|queue| queue["pool"] == "own"),
        "{queues:?}"
    );

    // Whose quota is used up is told within seconds, and others are not.
    for _ in 0..3 {
        assert_eq!(message(&mut probe, 1, "").await.code, 250);
    }
    let full = async {
        loop {
            let reply = message(&mut probe, 1, "").await;
            if reply.code != 250 {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let reply = tokio::time::timeout(WITHIN, full).await.unwrap();
    assert!(
        reply.code == 452 && reply.text().contains("5 tasks waiting"),
        "{reply:?}"
    );
    let mut stranger = connect(&fleet, 0, 1).await;
    assert_eq!(message(&mut stranger, 1, "").await.code, 250);
    let raised = format!(
        "kind: tenant\nname: acme\npools: [own]\nweight: 7\nquota: {{tasks: 500}}\n{HOSTS}{pools}"
    );
    fleet.apply(&raised).unwrap();
    let free = async {
        // Sessions end after a number of refusals.
        while message(&mut connect(&fleet, 0, 21).await, 1, "").await.code != 250 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WITHIN, free).await.unwrap();

    // The policy says what share a tenant has, and an operator's word does not change it.
    let weight = |tenant: &str| {
        let tenants = fleet.ask(&["tenant", "list"]).unwrap();
        let tenants = tenants.as_array().unwrap().clone();
        let found = tenants.iter().find(|one| one["name"] == tenant);
        found.map(|one| one["weight"].as_u64().unwrap())
    };
    assert_eq!(weight("acme"), Some(7));
    let refused = fleet
        .try_skeinctl(0, &["tenant", "set", "acme", "--weight", "9"])
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("the policy gives tenant"),
        "{said}"
    );
    fleet
        .skeinctl(&["tenant", "set", "other", "--weight", "9"])
        .unwrap();
    assert_eq!((weight("acme"), weight("other")), (Some(7), Some(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_quotas_of_recipients_and_octets() {
    let mut fleet = fleet().await;
    let mut probe = connect(&fleet, 0, 21).await;
    let held = |fleet: &Fleet, key: &str| {
        let tenants = fleet.ask(&["tenant", "list"]).unwrap();
        let tenants = tenants.as_array().unwrap().clone();
        let found = tenants.iter().find(|one| one["name"] == "acme");
        found.map_or(0, |one| one[key].as_u64().unwrap())
    };
    apply(&fleet, "quota: {tasks: 100, recipients: 6}\n");
    for nth in 1..=2 {
        assert_eq!(message(&mut probe, 3, "").await.code, 250);
        assert_eq!(held(&fleet, "recipients"), 3 * nth);
    }
    let bytes = held(&fleet, "bytes");
    assert!((100..5000).contains(&bytes), "{bytes}");
    // Each quota in turn, when the one before is raised.
    for (quota, told) in [
        ("{tasks: 100, recipients: 6}", "6 recipients waiting"),
        ("{recipients: 100, bytes: 50}", "mail of 50 bytes waiting"),
        ("{tasks: 1, bytes: 1GB}", "1 tasks waiting"),
    ] {
        apply(&fleet, &format!("quota: {quota}\n"));
        let full = async {
            loop {
                let reply = message(&mut connect(&fleet, 0, 21).await, 1, "").await;
                if reply.code != 250 && reply.text().contains(told) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let reply = tokio::time::timeout(WITHIN, full).await;
        assert_eq!(reply.expect(told).code, 452);
    }
    // A restart counts nothing twice.
    let before = (held(&fleet, "recipients"), held(&fleet, "bytes"));
    fleet.control[0].stop().await.unwrap();
    fleet.control[0].start().await.unwrap();
    let is_same = |fleet: &Fleet| {
        let tenants = fleet.ask(&["tenant", "list"]).ok()?;
        let acme = tenants
            .as_array()?
            .iter()
            .find(|one| one["name"] == "acme")?;
        Some((acme["recipients"].as_u64()?, acme["bytes"].as_u64()?))
    };
    let after = fleet.until("the node", WITHIN, is_same).await.unwrap();
    assert_eq!(after, before);
}
