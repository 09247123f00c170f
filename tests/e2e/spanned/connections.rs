//! Two connections for a whole provider.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{BIG, World, by_sender, most_connections};

/// By tenant: each sender took in the mail of two.
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
    world.spread(32);
    let figures = format!("{BIG}total: {{connections: 2}}\n");
    world.apply(&figures);
    world.each_message_takes(Duration::from_millis(100));
    let relayed = world.offer(&world.all_senders(), "m", 75).await;
    for sender in world.all_senders() {
        world.offer_as_user(sender, "there.test", 75).await;
    }
    let all = relayed.len() + 6 * 75;

    tokio::time::sleep(Duration::from_secs(6)).await;

    let last = world.accepted().last().unwrap().helo.clone();
    let holder = last.trim_end_matches(".skein.test").to_owned();
    let mut senders = world.fleet.senders.iter_mut();
    let killed = senders.find(|one| one.name == holder);
    killed.unwrap().kill().unwrap();
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

    // Every sender has its turn.
    let began = Instant::now();
    let turns = loop {
        let turns = by_sender(&world.accepted());
        if turns.len() == 6 {
            break turns;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{turns:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    println!(
        "every sender had a turn {:?} later: {turns:?}",
        began.elapsed()
    );
    world.each_message_takes(Duration::from_millis(1));
    world.arrive(all, Duration::from_secs(40)).await;
    let most = most_connections(&world.sink);
    println!("the most connections at once: {most}");
    // What the killed holder had may have come twice, and counts among all.
    let each = || {
        let tenants = tenants(&world);
        let has_all = tenants.values().all(|count| *count >= 75);
        has_all.then_some(tenants)
    };
    let (within, every) = (Duration::from_secs(20), Duration::from_millis(100));
    let tenants = skein_tests::until("the mail of each tenant", within, every, each);
    let tenants = tenants.await.unwrap();
    println!("by tenant: {tenants:?}");
    assert_eq!(most, 2);
    assert_eq!(tenants.len(), 12);
}
