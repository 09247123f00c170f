//! A site that is spread over several slots.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase};
use skein_tests::Bench;

use crate::skeinctl;

const DOMAIN: &str = "big.test";

/// The slots in which the site has waiting tasks.
fn slots(bench: &Bench) -> BTreeSet<u64> {
    let listed = skeinctl(bench, &["queue", "list", "--domain", DOMAIN, "--json"]);
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let slots = listed.iter().map(|queue| queue["slot"].as_u64().unwrap());
    slots.collect()
}

async fn offer(bench: &Bench, name: &str, count: usize) -> Vec<Injected> {
    let message = |n| {
        let to = vec![format!("user{n}@{DOMAIN}")];
        Injected::generated(&format!("{name}{n}"), "a@b.test", to, 500)
    };
    let injector = Injector::new(InjectorConfig::to(bench.smtp));
    let injected = injector.offer((0..count).map(message).collect()).await;
    assert!(injected.iter().all(Injected::acked), "{injected:?}");
    injected
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_site_with_a_fan_is_spread_and_all_of_it_arrives() {
    let bench = Bench::new().await.unwrap();
    let hour = Duration::from_secs(3600);
    bench.sink.set_script(move |moment| match moment.phase {
        Phase::Connect => Act::Delay(hour),
        _ => Act::Accept,
    });
    let mut node = bench.start().await.unwrap();
    let mut injected = offer(&bench, "before", 10).await;
    assert_eq!(slots(&bench).len(), 1);

    // All mail goes to the smarthost, and that is its site.
    let site = bench.sink.address().to_string();
    skeinctl(&bench, &["slot", "fan", &site, "4"]);
    let listed = skeinctl(&bench, &["slot", "list"]);
    let fan = listed
        .lines()
        .find(|line| line.contains(&site))
        .unwrap_or_default();
    assert!(fan.contains(" 4 ") && fan.contains("policy"), "{listed}");
    // Intakes hear of it with a heartbeat.
    for round in 0.. {
        injected.extend(offer(&bench, &format!("round{round}-"), 10).await);
        if slots(&bench).len() == 4 {
            break;
        }
        assert!(round < 100, "still in {:?}", slots(&bench));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let shown = skeinctl(&bench, &["queue", "show", DOMAIN]);
    assert_eq!(
        shown.matches("default").count(),
        2 * 4,
        "tenant and pool of four queues: {shown}"
    );
    assert!(shown.contains(&format!("user0@{DOMAIN}")), "{shown}");

    skeinctl(&bench, &["slot", "fan", &site, "auto"]);
    assert_eq!(skeinctl(&bench, &["slot", "fan", "--json"]).trim(), "[]");
    // A connection that waits for its greeting is not waited for.
    node.term().unwrap();
    node.wait(Duration::from_secs(30)).await.unwrap();
    bench.sink.set_script(|_| Act::Accept);
    let _node = bench.start().await.unwrap();
    let verdict = bench.settle(&injected, Duration::from_secs(30)).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}
