//! Sites whose limit lets nothing go for long.

use std::time::Duration;

use tokio::time::Instant;

use super::{World, taken};

const SITES: u8 = 5;
/// Of each, which has a queue for each.
const DOMAINS: usize = 4;
/// Tasks of each site, of which a day takes so many.
const TASKS: usize = 20;
const OF_DAY: usize = 3;
/// Until a sender takes it that nothing more goes, and a little.
const STUCK: Duration = Duration::from_secs(7);
/// Queues that a limit holds up are closed for half a minute, and places that it keeps are not free at all.
const SOON: Duration = Duration::from_secs(20);
/// Less than the sites would hold with a few tasks each.
const DELIVERY: &str = "window = 24\nrecipients_per_transaction = 1";

fn policy(of_day: usize) -> String {
    let provider = |n| {
        format!(
            "kind: provider\nname: d{n}\ndomains: [\"*.d{n}.test\"]\ntotal: {{message_rate: {of_day}/day}}\n"
        )
    };
    (0..SITES).map(provider).collect::<Vec<_>>().join("---\n")
}

fn domain(site: u8, nth: usize) -> String {
    format!("x{nth}.d{site}.test")
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_whose_day_is_over_leave_places_for_others_until_the_limit_is_raised() {
    let mut world = World::new().await;
    let mut sinks = Vec::new();
    for n in 0..SITES {
        sinks.push(world.sink(3 + n, &domain(n, 0)).await);
        for nth in 1..DOMAINS {
            world
                .dns
                .mx(&domain(n, nth), 10, &format!("mx.{}", domain(n, 0)));
        }
    }
    let other = world.sink(3 + SITES, "other.test").await;
    world.start(DELIVERY, "").await;
    world.apply(&policy(OF_DAY));
    let many = |domain: &dyn Fn(usize) -> String| {
        let to = |n| format!("b{n}@{}", domain(n));
        (0..TASKS).map(to).collect::<Vec<_>>()
    };
    for n in 0..SITES {
        let to = many(&|nth| domain(n, nth % DOMAINS));
        world
            .send(&to.iter().map(String::as_str).collect::<Vec<_>>())
            .await;
    }
    for sink in &sinks {
        taken(sink, OF_DAY).await;
    }
    tokio::time::sleep(STUCK).await;

    let began = Instant::now();
    let to = many(&|_| "other.test".to_owned());
    world
        .send(&to.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    taken(&other, TASKS).await;
    let took = began.elapsed();
    println!("{TASKS} messages of another site took {took:?}");
    assert!(took < SOON, "{took:?}");
    for sink in &sinks {
        assert_eq!(sink.records().len(), OF_DAY);
    }

    // With one task of each site at hand, the rest follows at once, whatever queue it is in.
    world.apply(&policy(2 * TASKS));
    let began = Instant::now();
    for sink in &sinks {
        taken(sink, TASKS).await;
    }
    let took = began.elapsed();
    println!("the rest took {took:?}");
    assert!(took < SOON, "{took:?}");
}
