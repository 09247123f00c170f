//! A site that is spread over several slots.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase};
use skein_testkit::unix_ms;
use skein_tests::Bench;
use skein_tests::fleet::{Fleet, Plan};

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
async fn mail_for_a_site_with_several_slots_is_spread_and_all_of_it_arrives() {
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
    skeinctl(&bench, &["site", "spread", &site, "4"]);
    let listed = skeinctl(&bench, &["slot", "list"]);
    let spread = listed
        .lines()
        .find(|line| line.contains(&site))
        .unwrap_or_default();
    assert!(
        spread.contains(" 4 ") && spread.contains("policy"),
        "{listed}"
    );
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

    skeinctl(&bench, &["site", "spread", &site, "auto"]);
    assert_eq!(skeinctl(&bench, &["site", "spread", "--json"]).trim(), "[]");
    // A connection that waits for its greeting is not waited for.
    node.term().unwrap();
    node.wait(Duration::from_secs(30)).await.unwrap();
    bench.sink.set_script(|_| Act::Accept);
    let _node = bench.start().await.unwrap();
    let verdict = bench.settle(&injected, Duration::from_secs(30)).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

const LIMITED: &str = "kind: provider\nname: limited\ndomains: [limited.test]\ntotal: {connections: 10, message_rate: 40/s}\n---\n\
     kind: provider\nname: open\ndomains: [open.test]\ntotal: {connections: 1000, message_rate: 5000/s}\nper_ip: {connections: 200, message_rate: 1000/s}\n";
/// Recipients of one message, each of which is a task.
const RECIPIENTS: usize = 100;
const WAITING: usize = 10_000;

/// The leader looks every five seconds, and must not find a reason in three looks.
const LOOKS: Duration = Duration::from_secs(20);
const WINDOW_MS: u64 = 10_000;

/// `SKEIN_SPREAD_WAITING=100000` takes some minutes.
fn waiting() -> usize {
    let given = std::env::var("SKEIN_SPREAD_WAITING");
    given.map_or(WAITING, |tasks| tasks.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_limit_binds_stays_with_one_sender_and_its_rate_is_used() {
    let plan = Plan {
        senders: 6,
        delivery: "recipients_per_transaction = 1".to_owned(),
        ..Plan::default()
    };
    let fleet = Fleet::start(plan).await.unwrap();
    let limited = fleet.sink(3, "mx.limited.test", &["limited.test"]).await;
    let limited = limited.unwrap();
    let open = fleet.sink(4, "mx.open.test", &["open.test"]).await.unwrap();
    let hour = Duration::from_secs(3600);
    open.set_script(move |moment| match moment.phase {
        Phase::Connect => Act::Delay(hour),
        _ => Act::Accept,
    });
    fleet.apply(LIMITED).unwrap();
    let message = |n: usize| {
        let domain = ["limited.test", "open.test"][n % 2];
        let to = (0..RECIPIENTS).map(|to| format!("user{n}-{to}@{domain}"));
        Injected::generated(&format!("m{n}"), "a@b.test", to.collect(), 500)
    };
    let injector = Injector::new(InjectorConfig::to(fleet.senders[0].smtp));
    let injected = injector.offer((0..2 * waiting() / RECIPIENTS).map(message).collect());
    assert!(injected.await.iter().all(Injected::acked));

    tokio::time::sleep(LOOKS).await;
    let spread = fleet.skeinctl(&["site", "spread"]).unwrap();
    assert!(spread.contains("open"), "hot and not limited:\n{spread}");
    assert!(!spread.contains("limited"), "{spread}");
    // A disk or processor that stands still for a second takes a tenth of a look, so there are others.
    for look in 1..=3 {
        let mut records = limited.records();
        let until = unix_ms();
        records.retain(|one| one.accepted && one.at_ms + WINDOW_MS > until && one.at_ms <= until);
        let senders: BTreeSet<_> = records.iter().map(|one| one.helo.as_str()).collect();
        assert_eq!(senders.len(), 1, "{senders:?}");
        let used = records.len() as u64 * 100 / (40 * WINDOW_MS / 1000);
        println!("look {look}: {used} % of the limit were used, by {senders:?}");
        if used >= 95 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(WINDOW_MS)).await;
    }
    panic!("less than 95 % of the limit were used in each look");
}
