//! Sites whose hosts give no connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use skein_testkit::sink::{Act, Phase};
use tokio::time::Instant;

use super::{World, taken};

/// Tasks come again quickly, so that what keeps them from the hosts is not their own schedule.
const RETRY: &str = "[delivery.retry]\nfirst = \"100ms\"\ncap = \"300ms\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_turns_everybody_away_is_left_alone_and_comes_back_slowly() {
    let mut world = World::new().await;
    let is_busy = Arc::new(AtomicBool::new(true));
    let (open, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let script = {
        let (is_busy, open, most) = (is_busy.clone(), open.clone(), most.clone());
        move |moment: &skein_testkit::sink::Moment<'_>| match moment.phase {
            Phase::Connect if is_busy.load(Ordering::Relaxed) => {
                Act::reply(421, "4.7.0 try again later")
            }
            Phase::Connect => {
                let now = open.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(now, Ordering::Relaxed);
                Act::Accept
            }
            _ => Act::Accept,
        }
    };
    let config = world.sink_config(3).script(script);
    let busy = world.sink_of(config, "busy.test").await;
    let other = world.sink(4, "other.test").await;
    world.start("recipients_per_transaction = 1", RETRY).await;
    let to: Vec<String> = (0..300).map(|n| format!("b{n}@busy.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.send(&to).await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    // 300 tasks that are due three times a second each reach nobody; the first failures and one connection now and then do.
    let before = busy.connections();
    assert!((3..40).contains(&before), "{before} connections");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let during = busy.connections() - before;
    println!("connections: {before} at first, {during} in the next 6 s");
    assert!(during <= 2, "{during} connections");
    let began = Instant::now();
    world.send(&["c@other.test"]).await;
    taken(&other, 1).await;
    println!(
        "another site's mail took {} ms",
        began.elapsed().as_millis()
    );

    is_busy.store(false, Ordering::Relaxed);
    let began = Instant::now();
    super::wait_for("the first delivery", || {
        (!super::accepted(&busy).is_empty()).then_some(())
    })
    .await;
    println!("noticed after {:.1} s", began.elapsed().as_secs_f64());
    taken(&busy, 300).await;
    println!(
        "all of it taken after {:.1} s, by at most {} connections",
        began.elapsed().as_secs_f64(),
        most.load(Ordering::Relaxed)
    );
    let after = busy.connections() - before - during;
    assert!(after <= 30, "{after} connections for 300 tasks");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ip_that_a_site_turns_away_leaves_its_mail_to_the_others() {
    let mut world = World::new().await;
    let turned_away = |moment: &skein_testkit::sink::Moment<'_>| match moment.phase {
        Phase::Connect if moment.peer.ip() == super::address(1) => {
            Act::reply(421, "4.7.0 not from there")
        }
        _ => Act::Accept,
    };
    let config = world.sink_config(3).script(turned_away);
    let sink = world.sink_of(config, "choosy.test").await;
    world.start("recipients_per_transaction = 1", RETRY).await;
    world.apply(
        "kind: ip\nname: a1\nbind: 127.0.0.1\nehlo: a1.here.test\n---\n\
         kind: ip\nname: a2\nbind: 127.0.0.2\nehlo: a2.here.test\n---\n\
         kind: pool\nname: default\nmembers: [{ip: a1}, {ip: a2}]\n",
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let to: Vec<String> = (0..100).map(|n| format!("b{n}@choosy.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.send(&to).await;
    let records = taken(&sink, 100).await;
    let from_other =
        |record: &&Arc<skein_testkit::sink::Record>| record.peer.ip() == super::address(2);
    assert_eq!(records.iter().filter(from_other).count(), 100);
    println!("{} connections for 100 tasks", sink.connections());
}
