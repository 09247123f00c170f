//! What goes from the addresses of the nodes themselves, of which each sender has its own.

use std::time::Duration;

use super::{BIG, World};

const SENDERS: u8 = 3;
const MESSAGES: usize = 150;
const PER_SENDER: u8 = 5;

/// A site takes more connections from all nodes together than from one. Each sender opens its own and keeps them, because
/// nobody else has a part in them.
#[tokio::test(flavor = "multi_thread")]
async fn senders_keep_the_connections_of_their_own_addresses() {
    let world = World::start(1, SENDERS.into()).await;
    world.spread(SENDERS);
    world.apply(&format!(
        "{BIG}per_ip: {{connections: {PER_SENDER}}}\ntotal: {{message_rate: 100/s}}\n"
    ));
    world.each_message_takes(Duration::from_millis(200));
    let senders = world.all_senders();
    world.offer(&senders, "own", MESSAGES).await;
    let offered = senders.len() * MESSAGES;
    world.arrive(offered, Duration::from_secs(30)).await;
    let opened = world.sink.visits().len();
    let most = usize::from(SENDERS * PER_SENDER);
    assert!(opened <= most, "{opened} connections, {most} at once");
}
