use std::collections::BTreeMap;
use std::time::Instant;

use skein_testkit::load::Injected;
use skein_testkit::sink::most_at_once;

use super::sockets::Sockets;
use super::stage::{NO_LIMITS, Plan, Stage, ip, last_byte, pool, wait_for};

const MESSAGES: usize = 3000;

#[tokio::test(flavor = "multi_thread")]
async fn mail_comes_from_the_ips_of_a_pool_by_weight_wherever_they_are() {
    let plan = Plan {
        senders: 3,
        has_certificates: true,
        ..Plan::default()
    };
    let stage = Stage::new(plan).await;
    let ips: String = [(1, "s1"), (2, "s2"), (3, "s3")]
        .map(|(n, home)| ip(&format!("e{n}"), 10 + n, &format!("home: {home}")))
        .concat();
    let members = pool(
        "default",
        "{ip: e1, weight: 5}, {ip: e2, weight: 3}, {ip: e3, weight: 2}",
    );
    let policy = format!("{ips}{members}{NO_LIMITS}");
    stage.fleet.apply(&policy).unwrap();
    stage
        .placed(&[("e1", "s1"), ("e2", "s2"), ("e3", "s3")])
        .await;

    let sockets = Sockets::watch(stage.sink.address(), stage.pids());
    let domains = stage.domains(30);
    let began = std::time::Instant::now();
    let injected = stage.offer(stage.injector("w", domains), MESSAGES).await;
    let acked = injected.iter().filter(|message| message.acked()).count();
    assert_eq!(acked, MESSAGES);
    wait_for("all mail to arrive", || {
        (stage.sink.accepted() as usize >= MESSAGES).then_some(())
    })
    .await;
    let took = began.elapsed();

    let mut shares: BTreeMap<u8, usize> = BTreeMap::new();
    let mut connections: BTreeMap<(u8, String), usize> = BTreeMap::new();
    let mut unknown = 0;
    let mut seen = std::collections::BTreeSet::new();
    for record in stage.sink.records() {
        let last = last_byte(record.peer.ip());
        *shares.entry(last).or_default() += 1;
        assert_eq!(record.helo, format!("e{}.here.test", last - 10));
        if seen.insert(record.peer) {
            match sockets.owner(record.peer, Instant::now()) {
                Some(owner) => *connections.entry((last, owner)).or_default() += 1,
                None => unknown += 1,
            }
        }
    }
    let mut delivered = Vec::new();
    for number in 0..3 {
        let count = stage
            .metric(number, "skein_delivery_recipients_total")
            .await;
        delivered.push(count);
    }
    println!(
        "{MESSAGES} messages in {took:.1?}: by address {shares:?}, connections by owner {connections:?} \
         ({unknown} too short to be seen), attempts by sender {delivered:?}"
    );
    for (last, weight) in [(11, 5), (12, 3), (13, 2)] {
        let expected = MESSAGES * weight / 10;
        let share = shares.get(&last).copied().unwrap_or(0);
        assert!(
            share.abs_diff(expected) <= MESSAGES / 50,
            "127.0.0.{last}: {share}"
        );
    }
    for (last, owner) in connections.keys() {
        assert_eq!(
            *owner,
            format!("s{}", last - 10),
            "an IP is used by its node alone"
        );
    }
    assert!(sockets.shared().is_empty(), "{:?}", sockets.shared());
    // Each sender had tasks, and so sent most of them through the others.
    assert!(delivered.iter().all(|count| *count > 100), "{delivered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ip_has_no_more_connections_than_its_limit_whoever_sends() {
    const LIMIT: usize = 3;
    const MESSAGES: usize = 400;
    let stage = Stage::new(Plan {
        senders: 3,
        ..Plan::default()
    })
    .await;
    let ip = ip("e1", 15, "home: s1\nlimits: {connections: 3}");
    let members = pool("default", "{ip: e1}");
    let policy = format!("{ip}{members}{NO_LIMITS}");
    stage.fleet.apply(&policy).unwrap();
    stage.placed(&[("e1", "s1")]).await;
    let began = std::time::Instant::now();
    let config = stage.injector("cap", stage.domains(24));
    let injected = stage.offer(config, MESSAGES).await;
    assert!(injected.iter().all(Injected::acked));
    wait_for("all mail to arrive", || {
        (stage.sink.accepted() as usize >= MESSAGES).then_some(())
    })
    .await;
    let mut delivered = Vec::new();
    for number in 0..3 {
        delivered.push(
            stage
                .metric(number, "skein_delivery_recipients_total")
                .await,
        );
    }
    let mut visits = stage.sink.visits();
    visits.retain(|visit| last_byte(visit.peer.ip()) == 15);
    let (most, at_ms) = most_at_once(&visits, 0..u64::MAX);
    println!(
        "{MESSAGES} messages in {:.1?} over at most {most} connections, attempts by sender {delivered:?}",
        began.elapsed()
    );
    assert!(
        (1..=LIMIT).contains(&most),
        "{most} at {at_ms}: {visits:#?}"
    );
    assert!(delivered.iter().all(|count| *count > 0), "{delivered:?}");
}
