//! So many messages in a long window, while a slot changes hands.

use std::time::{Duration, Instant};

use skein_testkit::sink::most_within;

use super::{BIG, World, by_sender, times};

const COUNT: usize = 30;
const SPAN: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_window_goes_on_where_it_was_when_the_slot_moves() {
    let world = World::start(1, 2).await;
    let figures = format!("{BIG}total: {{connections: 5, message_rate: {COUNT}/20s}}\n");
    world.apply(&figures);
    world.offer(&[0], "first", COUNT / 2).await;
    let first = world.arrive(COUNT / 2, Duration::from_secs(10)).await;
    let from = by_sender(&first).into_keys().next().unwrap();
    assert_eq!(by_sender(&first).len(), 1, "a site has one slot");

    let to = match from.as_str() {
        "s1.skein.test" => "s2",
        _ => "s1",
    };
    let listed = world.fleet.ask(&["slot", "list", "--all"]).unwrap();
    let slot = skein_model::Slot::of("big", 0).0;
    assert!(listed.to_string().contains(&format!("\"slot\":{slot}")));
    world.skeinctl(&["slot", "move", &slot.to_string(), to]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let moved = Instant::now();
    world.offer(&[0], "second", COUNT).await;
    world.arrive(COUNT, Duration::from_secs(10)).await;
    let rest = moved.elapsed();
    let records = world.arrive(COUNT * 3 / 2, Duration::from_secs(40)).await;
    let times = times(&records);
    println!(
        "the other half of the window was used within {rest:?}, all after {:?}; at most {} of {COUNT} in any {SPAN} ms, by {:?}",
        moved.elapsed(),
        most_within(times.clone(), SPAN),
        by_sender(&records)
    );
    assert!(by_sender(&records).contains_key(&format!("{to}.skein.test")));
    assert!(most_within(times.clone(), SPAN) <= COUNT);
}
