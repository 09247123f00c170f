//! Two connections for a whole provider.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{BIG, Watch, World, by_sender};

/// By the sender that took a message in, which is another tenant's each.
fn tenants(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in world.accepted() {
        let id = record.test_id.clone().unwrap_or_default();
        let tenant = id.rsplit_once('-').map_or("", |(tenant, _)| tenant);
        *counts.entry(tenant.to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_serve_six_senders_in_turn_and_a_dead_holder_lets_go() {
    let mut world = World::start(1, 6).await;
    world
        .apply(&format!("{BIG}total: {{connections: 2}}\n"))
        .await;
    world.skeinctl(&["slot", "fan", "big", "32"]);
    // Intakes hear of the fan with a heartbeat.
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.each_message_takes(Duration::from_millis(100));
    let watch = Watch::over(&world.sink);
    let injected = world.offer(&world.all_senders(), "m", 150).await;

    // Every sender has had its turn.
    let began = Instant::now();
    while by_sender(&world.accepted()).len() < 6 && began.elapsed() < Duration::from_secs(40) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let turns = by_sender(&world.accepted());
    println!(
        "every sender had a turn after {:?}: {turns:?}",
        began.elapsed()
    );
    assert_eq!(turns.len(), 6, "{turns:?}");

    let last = world.accepted().last().unwrap().helo.clone();
    let holder = last.trim_end_matches(".skein.test").to_owned();
    let killed = world.senders.iter_mut().find(|one| one.name == holder);
    killed.unwrap().kill();
    let (killed_at, before) = (Instant::now(), world.accepted().len());
    // Both are in use again when two other senders, or two connections of one, are served at a time.
    let free_after = loop {
        let since = world.accepted().split_off(before);
        let used: BTreeSet<u64> = since
            .iter()
            .rev()
            .take(6)
            .filter(|record| record.helo != last)
            .map(|record| record.connection)
            .collect();
        if used.len() == 2 && world.sink.open() == 2 {
            break killed_at.elapsed();
        }
        assert!(
            killed_at.elapsed() < Duration::from_secs(15),
            "not free yet"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    println!("a killed holder's connection was used again after {free_after:?}");

    world.each_message_takes(Duration::from_millis(1));
    world.arrive(injected.len(), Duration::from_secs(40)).await;
    println!("the most connections at once: {}", watch.most());
    println!("by tenant: {:?}", tenants(&world));
    assert_eq!(watch.most(), 2);
}
