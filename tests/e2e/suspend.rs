//! Mail that operators hold back waits, and all other mail goes on.

use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::unix_ms;
use skein_tests::Bench;

use crate::skeinctl;

/// Enough for a delivery that nothing holds back.
const SOON: Duration = Duration::from_millis(1500);

async fn submit(bench: &Bench, id: &str, domain: &str) {
    let injector = Injector::new(InjectorConfig::to(bench.smtp));
    let to = vec![format!("user@{domain}")];
    let message = format!("X-Test-Id: {id}\r\n\r\nx\r\n");
    let message = Injected::given(id, "a@b.test", to, message.as_bytes());
    let sent = injector.run_plan(vec![vec![message]]).await;
    assert!(sent[0].acked(), "{:?}", sent[0]);
}

fn has(bench: &Bench, id: &str) -> bool {
    let records = bench.sink.records();
    records
        .iter()
        .any(|record| record.test_id.as_deref() == Some(id))
}

async fn arrives(bench: &Bench, id: &str) -> bool {
    for _ in 0..200 {
        if has(bench, id) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_held_back_waits_through_a_restart_until_it_is_let_go() {
    let bench = Bench::new().await.unwrap();
    let node = bench.start().await.unwrap();
    skeinctl(
        &bench,
        &[
            "suspend",
            "--domain",
            "Wrong.test",
            "--for",
            "10m",
            "--why",
            "wrong list",
        ],
    );
    submit(&bench, "held", "wrong.test").await;
    submit(&bench, "other", "right.test").await;
    assert!(arrives(&bench, "other").await);
    drop(node);
    let _node = bench.start().await.unwrap();
    tokio::time::sleep(SOON).await;
    assert!(!has(&bench, "held"));
    let list = skeinctl(&bench, &["suspend"]);
    let mut rows = list.lines().map(str::trim_start);
    let row = rows.find(|row| row.starts_with("domain wrong.test"));
    let row = row.unwrap_or_else(|| panic!("{list}"));
    assert!(row.contains(" 1 ") && row.contains("wrong list"), "{list}");
    skeinctl(&bench, &["resume", "--domain", "wrong.test"]);
    assert!(arrives(&bench, "held").await);
    assert_eq!(
        skeinctl(&bench, &["suspend"]).lines().count(),
        1,
        "only the header"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_ends_by_itself() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let before = unix_ms();
    skeinctl(&bench, &["suspend", "--tenant", "default", "--for", "3s"]);
    submit(&bench, "late", "some.test").await;
    assert!(arrives(&bench, "late").await);
    let came = bench.sink.records()[0].at_ms;
    // The kernel notes arrivals in ticks of up to 10 ms.
    assert!(came + 20 >= before + 3000, "after {} ms", came - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_held_back_alone_and_its_name_goes_no_further() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    skeinctl(&bench, &["suspend", "--campaign", "may-news"]);
    for (id, campaign) in [("may", "may-news"), ("june", "june-news")] {
        let message = format!("X-Skein-Campaign: {campaign}\r\nX-Test-Id: {id}\r\n\r\nx\r\n");
        let to = vec!["user@some.test".to_owned()];
        let message = Injected::given(id, "a@b.test", to, message.as_bytes());
        let injector = Injector::new(InjectorConfig::to(bench.smtp));
        let sent = injector.run_plan(vec![vec![message]]).await;
        assert!(sent[0].acked(), "{:?}", sent[0]);
    }
    assert!(arrives(&bench, "june").await);
    tokio::time::sleep(SOON).await;
    assert!(!has(&bench, "may"));
    let list = skeinctl(&bench, &["queue", "list"]);
    let row = list.lines().find(|line| line.contains("some.test"));
    assert!(row.is_some_and(|row| row.contains("may-news")), "{list}");
    skeinctl(&bench, &["resume", "--campaign", "may-news"]);
    assert!(arrives(&bench, "may").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_mail_goes_through_the_pool_that_an_operator_moves_it_to() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let policy = folder.path().join("pools.yaml");
    let text = "kind: ip\nname: a9\nbind: 127.0.0.9\nehlo: a9.here.test\n---\n\
                kind: pool\nname: slow\nmembers: [{ip: a9}]\n";
    std::fs::write(&policy, text).unwrap();
    skeinctl(&bench, &["apply", "-f", policy.to_str().unwrap()]);
    skeinctl(&bench, &["suspend", "--domain", "some.test"]);
    submit(&bench, "moved", "some.test").await;
    let moved = skeinctl(
        &bench,
        &["queue", "move", "--domain", "some.test", "--to", "slow"],
    );
    assert!(moved.starts_with("1 tasks go through slow"), "{moved}");
    skeinctl(&bench, &["resume", "--domain", "some.test"]);
    assert!(arrives(&bench, "moved").await);
    let records = bench.sink.records();
    let record = records
        .iter()
        .find(|record| record.test_id.as_deref() == Some("moved"));
    assert_eq!(record.unwrap().peer.ip().to_string(), "127.0.0.9");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_given_up_goes_back_though_it_was_held_back() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    skeinctl(&bench, &["suspend", "--tenant", "default"]);
    submit(&bench, "wrong", "some.test").await;
    let args = [
        "queue",
        "bounce",
        "--domain",
        "some.test",
        "--why",
        "wrong list",
    ];
    let said = skeinctl(&bench, &args);
    assert!(said.starts_with("1 tasks go back"), "{said}");
    skeinctl(&bench, &["resume", "--tenant", "default"]);
    for _ in 0..200 {
        if bench
            .sink
            .records()
            .iter()
            .any(|record| record.sender().is_empty())
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let records = bench.sink.records();
    let report = records.iter().find(|record| record.sender().is_empty());
    let report = report.expect("a DSN goes to who sent it");
    assert_eq!(report.delivered_to().collect::<Vec<_>>(), ["a@b.test"]);
    let text = String::from_utf8_lossy(&report.message);
    assert!(
        text.contains("Status: 5.7.1") && text.contains("wrong list"),
        "{text}"
    );
    assert_eq!(records.len(), 1, "the mail itself went nowhere");
}
