//! Hosts that are away for a while: all that waited for them goes when they are back.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_testkit::sink::{Act, Phase, Sink};
use tokio::time::Instant;

use super::{World, accepted, address, wait_for};

/// The shortest pause between two looks at a host, an eighth of the time that it was away, and what a busy machine takes.
const BACK_WITHIN: Duration = Duration::from_secs(25);

impl World {
    /// Hands in so many messages for a domain, and waits until this many of them were tried: of a host that is away, the
    /// others hear five times a second.
    async fn try_in_vain(&self, domain: &str, count: usize, tried: usize) {
        for n in 0..count {
            self.send(&[&format!("b{n}@{domain}")]).await;
        }
        wait_for("attempts", || {
            let events = self.events();
            let deferred = events.iter().filter(|event| {
                let recipient = event["recipient"].as_str().unwrap_or_default();
                event["event"] == "deferred" && recipient.ends_with(domain)
            });
            let ids: BTreeSet<String> = deferred.map(|one| one["message_id"].to_string()).collect();
            (ids.len() >= tried).then_some(())
        })
        .await;
    }
}

/// Waits until all sinks have so much, and says how long that took.
async fn all_taken(sinks: &[&Sink], count: usize) -> Duration {
    let began = Instant::now();
    wait_for("all of it", || {
        let all = sinks.iter().all(|sink| accepted(sink).len() >= count);
        all.then_some(())
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_met_nobody_for_a_minute_goes_within_seconds_when_the_host_is_back() {
    const DOWN: Duration = Duration::from_secs(60);
    let mut world = World::new().await;
    world.dns.domain("plain.test", address(4));
    let route = format!(
        "[[delivery.route]]\ndomains = [\"smart.test\"]\nhosts = [\"127.0.0.3:{}\"]\n",
        world.port
    );
    world.start("", &route).await;
    let began = Instant::now();
    world.try_in_vain("smart.test", 500, 100).await;
    world.try_in_vain("plain.test", 50, 50).await;
    let waiting = world.explain(&["queue", "smart.test"]);
    assert!(waiting.contains("asked again then"), "{waiting}");
    tokio::time::sleep(DOWN.saturating_sub(began.elapsed())).await;

    let smart = Sink::start(world.sink_config(3)).await.unwrap();
    let plain = Sink::start(world.sink_config(4)).await.unwrap();
    let took = all_taken(&[&plain], 50).await;
    println!("the MX host had its 50 after {:.1} s", took.as_secs_f64());
    assert!(took < BACK_WITHIN, "{took:?}");
    let took = took + all_taken(&[&smart], 500).await;
    println!(
        "the smarthost had its 500 after {:.1} s, over {} connections",
        took.as_secs_f64(),
        smart.connections()
    );
    assert!(took < BACK_WITHIN, "{took:?}");
    let (smart, plain) = (accepted(&smart).len(), accepted(&plain).len());
    assert_eq!((smart, plain), (500, 50), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_goes_in_the_middle_of_transactions_has_them_again_when_it_is_back() {
    let mut world = World::new().await;
    let stuck = world.sink_config(3).script(|moment| match moment.phase {
        Phase::Rcpt => Act::Tarpit,
        _ => Act::Accept,
    });
    let sink = world.sink_of(stuck, "there.test").await;
    world.start("", "").await;
    for n in 0..30 {
        world.send(&[&format!("b{n}@there.test")]).await;
    }
    wait_for("transactions", || (sink.open() >= 5).then_some(())).await;
    // Dropping it closes all connections.
    drop(sink);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sink = wait_for_sink(&world).await;
    let took = all_taken(&[&sink], 30).await;
    println!("it had its 30 after {:.1} s", took.as_secs_f64());
    assert!(took < BACK_WITHIN, "{took:?}");
}

/// The address is free as soon as the sink before has ended.
async fn wait_for_sink(world: &World) -> Sink {
    for _ in 0..100 {
        if let Ok(sink) = Sink::start(world.sink_config(3)).await {
            return sink;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the address is never free");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_defers_waits_its_own_time_whoever_was_away_before() {
    let mut world = World::new().await;
    world.dns.domain("there.test", address(3));
    world.start("", "").await;
    world.try_in_vain("there.test", 2, 2).await;
    let later = world.sink_config(3).script(|moment| match moment.phase {
        Phase::Rcpt if moment.address.starts_with("b0") => Act::reply(450, "4.2.0 later"),
        _ => Act::Accept,
    });
    let sink = Sink::start(later).await.unwrap();
    let took = all_taken(&[&sink], 1).await;
    assert!(took < BACK_WITHIN, "{took:?}");
    let event = wait_for("the host's word", || {
        let mut events = world.events().into_iter();
        events.find(|event| event["event"] == "deferred" && event["code"] == 450)
    })
    .await;
    let waits = event["due"].as_str().map(str::to_owned);
    println!("attempt {} is due at {waits:?}", event["attempt"]);
    let explained = world
        .explained(&["queue", "there.test"], "450 4.2.0 later")
        .await;
    assert!(
        explained.contains("in 4m") || explained.contains("in 5m"),
        "the wait after one attempt that met somebody: {explained}"
    );
    let tried = sink.connections();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(sink.connections(), tried, "nobody is pressed");
}
