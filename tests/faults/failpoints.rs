//! kill -9 at every step of a message, of a node that is alone.

use std::time::Duration;

use skein_testkit::load::{Injector, InjectorConfig};
use skein_tests::Bench;

/// Messages of one run.
const MESSAGES: usize = 200;
const CONNECTIONS: usize = 8;
/// The process dies when it passes the failpoint for this time. One fsync may serve a message of each connection, so that there
/// are 25 at least.
const PASSES: u32 = 20;

async fn killed_at(point: &str, may_duplicate: bool) {
    let _shared = crate::MACHINE.read().await;
    let bench = Bench::new().await.unwrap();
    let mut node = bench.start_to_die(point, PASSES).await.unwrap();
    let config = InjectorConfig {
        connections: CONNECTIONS,
        messages_per_connection: MESSAGES / CONNECTIONS,
        sizes: vec![500, 5_000, 20_000],
        tries: 2,
        reply_wait: Duration::from_secs(30),
        ..InjectorConfig::to(bench.smtp)
    };
    let injected = Injector::new(config).run().await;
    node.wait(Duration::from_secs(60))
        .await
        .expect("the failpoint ends the process");

    let _node = bench.start().await.unwrap();
    let verdict = bench.settle(&injected, Duration::from_secs(60)).await;
    let acked = injected.iter().filter(|message| message.acked()).count();
    println!(
        "{point}: {acked} acknowledged, {} duplicates, {}",
        verdict.duplicates.len(),
        verdict.summary()
    );
    assert!(verdict.lost.is_empty(), "{point}: {}", verdict.summary());
    assert!(
        verdict.corrupted.is_empty(),
        "{point}: {}",
        verdict.summary()
    );
    assert!(
        may_duplicate || verdict.duplicates.is_empty(),
        "{point}: {}",
        verdict.summary()
    );
}

macro_rules! kills {
    ($($name:ident: $point:literal, $may_duplicate:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            killed_at($point, $may_duplicate).await;
        })*
    };
}

// A process that dies between a final dot and the committed result sends that message again (DESIGN section 6).
// At the other points deliveries of earlier messages may be in that window too.
kills! {
    after_the_body_is_fsynced: "body-after-fsync", true;
    after_the_proposal: "control-after-propose", true;
    after_the_commit_before_250: "ingress-before-250", true;
    before_the_dot: "sender-before-dot", true;
    after_the_dot: "sender-after-dot", true;
    after_250_before_the_report: "sender-after-250", true;
}
