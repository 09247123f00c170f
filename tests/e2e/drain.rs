//! SIGTERM: what has not passed its final dot is given back at once, what has is waited for.

use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase};
use skein_tests::Bench;

async fn drained_while_the_host_takes_long(phase: Phase, delay: Duration, within: Duration) {
    let bench = Bench::new().await.unwrap();
    bench.sink.set_script(move |moment| {
        if moment.phase == phase {
            Act::Delay(delay)
        } else {
            Act::Accept
        }
    });
    let mut node = bench.start().await.unwrap();
    let to = vec!["someone@slow.test".to_owned()];
    let messages = vec![Injected::generated("slow", "a@b.test", to, 5_000)];
    let injected = Injector::new(InjectorConfig::to(bench.smtp))
        .offer(messages)
        .await;
    assert!(injected[0].acked());
    while bench.sink.open() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.term().unwrap();
    let status = node.wait(within).await.expect("the drain ends in time");
    assert!(status.success());

    bench.sink.set_script(|_| Act::Accept);
    let _node = bench.start().await.unwrap();
    let verdict = bench.settle(&injected, Duration::from_secs(30)).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let again = bench.settle(&injected, Duration::ZERO).await;
    assert!(again.is_clean(), "sent twice: {}", again.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_is_not_waited_for() {
    let hour = Duration::from_secs(3600);
    drained_while_the_host_takes_long(Phase::Connect, hour, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_being_looked_up_is_not_waited_for() {
    let hour = Duration::from_secs(3600);
    drained_while_the_host_takes_long(Phase::Rcpt, hour, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_a_final_dot_is_waited_for() {
    let some = Duration::from_secs(3);
    drained_while_the_host_takes_long(Phase::Dot, some, Duration::from_secs(20)).await;
}
