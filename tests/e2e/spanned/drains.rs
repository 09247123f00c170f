//! A sender that is drained while its mail waits for limits: others go on with it at once.

use std::net::SocketAddr;
use std::time::Duration;

use skein_testkit::sink::{Sink, SinkConfig};
use skein_testkit::unix_ms;

use super::World;

/// What flows, and where it is noticed if it does not.
const FLOWS: &str = "kind: provider\nname: flows\ndomains: [flows.test]\ntotal: {connections: 20, message_rate: 20/s}\n";
/// What waits a long time for its turn.
const WAITS: &str = "kind: provider\nname: waits\ndomains: [waits.test]\ntotal: {connections: 60, message_rate: 200/60s}\n";
/// The promise.
const WITHIN_MS: u64 = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_drained_sender_goes_on_though_other_mail_of_it_waits_for_limits() {
    let world = World::start(3, 3).await;
    let mut sinks = Vec::new();
    for (domain, last) in [("flows.test", 71), ("waits.test", 72)] {
        let host = SocketAddr::from(([127, 0, 0, last], world.port));
        world.dns.domain(domain, host.ip());
        sinks.push(Sink::start(SinkConfig::at(host)).await.unwrap());
    }
    world.apply(&format!("{FLOWS}---\n{WAITS}")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world
        .offer_from("a@b.test", "flows.test", &[0], "flows", 3000)
        .await;
    world
        .offer_from("a@b.test", "waits.test", &[0], "waits", 2500)
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut worst = 0;
    for nth in 0..10 {
        let last = sinks[0].records().last().unwrap().helo.clone();
        let is_it = |one: &super::One| last == format!("{}.skein.test", one.name);
        let owner = world.senders.iter().position(is_it).unwrap();
        let name = &world.senders[owner].name;
        let began = unix_ms();
        world.skeinctl(&["node", "drain", name]);
        let first = loop {
            let records = sinks[0].records();
            let others = records.iter().rev().take_while(|one| one.helo != last);
            if let Some(first) = others.last() {
                break first.at_ms;
            }
            if unix_ms() > began + 20_000 {
                println!("gone");
                break unix_ms();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        println!("drain {nth} of {name}: {} ms", first - began);
        worst = worst.max(first - began);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.skeinctl(&["node", "resume", name]);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(worst < WITHIN_MS, "{worst} ms");
}
