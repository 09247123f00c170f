//! Connections at once to one host, while the slot of its site changes hands.

use std::time::Duration;

use super::{BIG, World, by_sender, most_connections};

const MOST: usize = 2;
const MOVES: usize = 8;

/// Mail is always at the host when the slot moves: its answer is waited for on a connection of the sender that had the slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_brings_no_connections_beside_those_of_the_sender_before() {
    let world = World::start(1, 3).await;
    let figures = format!("{BIG}total: {{connections: {MOST}}}\n");
    world.apply(&figures);
    world.each_message_takes(Duration::from_millis(700));
    world.offer(&[0], "m", 60).await;
    world.arrive(1, Duration::from_secs(10)).await;

    let slot = skein_model::Slot::of("big", 0).0.to_string();
    for _ in 0..MOVES {
        let last = world.accepted().last().unwrap().helo.clone();
        let is_another = |name: &&str| last != format!("{name}.skein.test");
        let to = ["s1", "s2", "s3"].into_iter().find(is_another).unwrap();
        world.skeinctl(&["slot", "move", &slot, to]);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let records = world.arrive(60, Duration::from_secs(40)).await;
    let most = most_connections(&world.sink);
    println!("at most {most} at once, by {:?}", by_sender(&records));
    assert!(by_sender(&records).len() > 1);
    assert_eq!(most, MOST);
}
