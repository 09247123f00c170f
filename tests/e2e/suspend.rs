//! Mail that operators hold back waits, and all other mail goes on.

use std::time::Duration;

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase};
use skein_testkit::unix_ms;
use skein_tests::Bench;
use skein_tests::operator::try_skeinctl;

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
    assert!(
        moved.starts_with("1 tasks in 1 queues go through slow"),
        "{moved}"
    );
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
    assert!(said.starts_with("1 tasks in 1 queues go back"), "{said}");
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

fn fails(bench: &Bench, args: &[&str]) -> String {
    let output = try_skeinctl(bench.admin, args).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json(bench: &Bench, args: &[&str]) -> Value {
    let said = skeinctl(bench, &[args, &["--json"]].concat());
    serde_json::from_str(&said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_a_name_is_refused_and_what_is_met_is_counted_before_it_is_done() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    for (args, meant) in [
        (&["suspend", "--provider", "gooogle"][..], "\"google\""),
        (&["suspend", "--tenant", "defualt"], "\"default\""),
        (&["queue", "bounce", "--pool", "defalt"], "\"default\""),
        (
            &["queue", "move", "--site", "gogle", "--to", "default"],
            "\"google\"",
        ),
        (
            &["queue", "move", "--tenant", "default", "--to", "nowhere"],
            "no \"nowhere\"",
        ),
    ] {
        let said = fails(&bench, args);
        assert!(said.contains(meant), "{args:?}: {said}");
    }
    let nothing = skeinctl(&bench, &["suspend"]);
    assert_eq!(nothing.lines().count(), 1, "{nothing}");
    let forced = skeinctl(&bench, &["suspend", "--tenant", "to-come", "--force"]);
    assert!(
        forced.starts_with("0 tasks in 0 queues are held back"),
        "{forced}"
    );

    skeinctl(&bench, &["suspend", "--domain", "one.test"]);
    for n in 0..3 {
        submit(&bench, &format!("m{n}"), "one.test").await;
    }
    let dry = [
        (
            &["suspend", "--tenant", "default", "--dry-run"][..],
            "3 tasks in 1 queues would be held",
        ),
        (
            &["queue", "bounce", "--domain", "one.test", "--dry-run"],
            "3 tasks in 1 queues would go back",
        ),
        (
            &[
                "queue",
                "move",
                "--domain",
                "one.test",
                "--to",
                "default",
                "--dry-run",
            ],
            "0 tasks in 0 queues would go",
        ),
    ];
    for (args, expected) in dry {
        let said = skeinctl(&bench, args);
        assert!(
            said.starts_with(expected) && said.contains("Nothing was changed"),
            "{said}"
        );
    }
    let suspended = json(&bench, &["suspend"]);
    assert_eq!(suspended.as_array().unwrap().len(), 2, "{suspended}");
    let again = json(&bench, &["suspend", "--domain", "ONE.test"]);
    assert_eq!((&again["tasks"], &again["queues"]), (&3.into(), &1.into()));
    let resumed = skeinctl(&bench, &["resume", "--domain", "one.test"]);
    assert!(
        resumed.starts_with("3 tasks in 1 queues are let go"),
        "{resumed}"
    );
    assert!(resumed.contains("1 other suspensions"), "{resumed}");
    assert!(arrives(&bench, "m2").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_waits_until_it_is_let_go_and_nothing_else_is() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    skeinctl(&bench, &["suspend", "--campaign", "big"]);
    skeinctl(&bench, &["suspend", "--all", "--why", "a new cluster"]);
    submit(&bench, "first", "some.test").await;
    tokio::time::sleep(SOON).await;
    assert!(!has(&bench, "first"));
    let list = skeinctl(&bench, &["suspend"]);
    assert!(
        list.contains("everything") && list.contains("campaign big"),
        "{list}"
    );
    assert!(fails(&bench, &["suspend", "--all", "--tenant", "x"]).contains("--all is all mail"));
    let resumed = skeinctl(&bench, &["resume", "--all"]);
    assert!(resumed.contains("1 other suspensions"), "{resumed}");
    assert!(arrives(&bench, "first").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_queues_is_in_order_and_says_what_each_waits_for() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    bench.sink.set_script(|moment| match moment.phase {
        Phase::Rcpt => Act::reply(451, "4.7.1 later"),
        _ => Act::Accept,
    });
    skeinctl(
        &bench,
        &["suspend", "--domain", "held.test", "--why", "wrong list"],
    );
    for (domain, count) in [("b-few.test", 1), ("held.test", 3), ("a-some.test", 2)] {
        for n in 0..count {
            submit(&bench, &format!("{domain}-{n}"), domain).await;
        }
    }
    let list = |more: &[&str]| -> Vec<(String, String)> {
        let listed = json(&bench, &[&["queue", "list"], more].concat());
        let rows = listed.as_array().unwrap().iter();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.map(|row| (text(row, "domain"), text(row, "state")))
            .collect()
    };
    let domains = |more: &[&str]| -> Vec<String> {
        list(more).into_iter().map(|(domain, _)| domain).collect()
    };
    let by_tasks = ["held.test", "a-some.test", "b-few.test"];
    let by_name = ["a-some.test", "b-few.test", "held.test"];
    assert_eq!(domains(&[]), by_tasks);
    assert_eq!(domains(&["--limit", "0"]), by_tasks);
    assert_eq!(domains(&["--limit", "1"]), by_tasks[..1]);
    assert_eq!(domains(&["--sort", "name"]), by_name);
    assert_eq!(domains(&["--sort", "oldest"])[0], "b-few.test");
    assert_eq!(domains(&["--state", "suspended"]), ["held.test"]);
    assert_eq!(
        domains(&["--state", "suspended", "--limit", "0"]),
        ["held.test"]
    );
    assert_eq!(domains(&["--domain", "Held.Test"]), ["held.test"]);
    assert_eq!(domains(&["--campaign", "none"]), Vec::<String>::new());
    let held = list(&["--domain", "held.test"]);
    assert_eq!(held, [("held.test".to_owned(), "suspended".to_owned())]);
    // Between its attempts a queue waits for the next one.
    skein_tests::until(
        "a retry",
        Duration::from_secs(20),
        Duration::from_millis(50),
        || {
            let states = list(&["--domain", "b-few.test"]);
            (states[0].1 == "retry").then_some(())
        },
    )
    .await
    .unwrap();
    let table = skeinctl(&bench, &["queue", "list", "--limit", "1"]);
    assert!(table.contains("suspended until 2"), "{table}");
    assert!(
        table.contains("1 of 3 queues, with 6 tasks in all"),
        "{table}"
    );
    let said = fails(&bench, &["queue", "list", "--state", "suspend"]);
    assert!(said.contains("did you mean \"suspended\"?"), "{said}");
}
