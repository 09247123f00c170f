//! So many messages in a short window, by one, three and six senders.

use std::time::Duration;

use super::{BIG, World, by_sender, most_within, times};

const COUNT: usize = 40;
/// Of the window.
const SPAN: u64 = 1000;
/// With a backlog all the time, after a start.
const STEADY: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(5);

fn used(times: &[u64], from: u64, lasts: Duration) -> f64 {
    let until = from + u64::try_from(lasts.as_millis()).unwrap();
    let count = times.iter().filter(|at| (from..until).contains(at)).count();
    count as f64 * 100.0 * SPAN as f64 / (COUNT as f64 * lasts.as_millis() as f64)
}

/// Sends with a backlog, and says what part of the limit was used.
async fn check(world: &World, what: &str) {
    let senders = world.senders.len();
    let all = COUNT * 36;
    world.offer(&world.all_senders(), "m", all / senders).await;
    let start = times(&world.accepted()).first().copied();
    tokio::time::sleep(START + STEADY).await;
    let times = times(&world.accepted());
    let start = start.unwrap_or(times[0]) + u64::try_from(START.as_millis()).unwrap();
    let (most, used) = (most_within(&times, SPAN), used(&times, start, STEADY));
    println!(
        "{what}, {senders} senders: at most {most} of {COUNT} in any {SPAN} ms, {used:.1} % used, by {:?}",
        by_sender(&world.accepted())
    );
    assert!(times.len() < all, "there was no backlog");
    assert!(most <= COUNT, "{most}");
    assert!(used >= 85.0, "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_a_site_holds_for_one_sender() {
    let world = World::start(1, 1).await;
    let figures = format!("{BIG}total: {{connections: 20, message_rate: {COUNT}/s}}\n");
    world.apply(&figures).await;
    check(&world, "site").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_through_the_death_of_a_sender_and_of_the_leader() {
    let mut world = World::start(3, 3).await;
    world.spread(16);
    let figures = format!("{BIG}total: {{connections: 60, message_rate: {COUNT}/s}}\n");
    world.apply(&figures).await;
    let all = COUNT * 39;
    world.offer(&world.all_senders(), "m", all / 3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.senders[2].kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let leader = world.meta_leader();
    world.control[leader].kill();
    let before = world.accepted().len();
    // Another leader gives every session a whole lease, that of the dead one too, which has its part until then.
    tokio::time::sleep(Duration::from_secs(22)).await;
    let times = times(&world.accepted());
    let most = most_within(&times, SPAN);
    let last = times[times.len() - 1] - 4000;
    let used = used(&times, last, Duration::from_secs(4));
    println!(
        "a dead sender and a dead leader: at most {most} of {COUNT} in any {SPAN} ms, {} in the 22 s after, {used:.1} % used in \
         the last 4 s, by {:?}",
        times.len() - before,
        by_sender(&world.accepted())
    );
    assert!(most <= COUNT, "{most}");
    assert!(used >= 85.0, "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_a_tenant_holds_for_three_senders() {
    let world = World::start(1, 3).await;
    world.spread(16);
    world
        .apply(&format!("{BIG}total: {{connections: 60}}\n---\nkind: tenant\nname: of-s1\nlimits: {{message_rate: {COUNT}/s}}\n"))
        .await;
    // All of it is the mail of one tenant, and any sender may have it.
    let all = COUNT * 36;
    world.offer(&[0], "m", all).await;
    tokio::time::sleep(START + STEADY).await;
    let times = times(&world.accepted());
    let start = times[0] + u64::try_from(START.as_millis()).unwrap();
    let (most, used) = (most_within(&times, SPAN), used(&times, start, STEADY));
    println!(
        "tenant, 3 senders: at most {most} of {COUNT} in any {SPAN} ms, {used:.1} % used, by {:?}",
        by_sender(&world.accepted())
    );
    assert!(most <= COUNT, "{most}");
    assert!(used >= 85.0, "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_a_spread_site_holds_for_six_senders() {
    let world = World::start(1, 6).await;
    world.spread(32);
    let figures = format!("{BIG}total: {{connections: 60, message_rate: {COUNT}/s}}\n");
    world.apply(&figures).await;
    check(&world, "spread site").await;
}
