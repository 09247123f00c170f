//! A sender process that is killed after a host took a message and before that is committed: the process after it knows.

use std::time::{Duration, Instant};

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::oracle::{self, Reconciliation};
use skein_tests::apart::Apart;

const READY: Duration = Duration::from_secs(60);

fn inject(apart: &Apart) -> tokio::task::JoinHandle<Vec<Injected>> {
    let config = InjectorConfig {
        connections: 4,
        messages_per_connection: 20,
        ..InjectorConfig::to(apart.smtp)
    };
    tokio::spawn(Injector::new(config).run())
}

/// Waits until the control node has nothing open any more, and judges.
async fn settle(apart: &Apart, injected: &[Injected]) -> Reconciliation {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let status = super::skeinctl_at(apart.admin, &["status", "--json"]);
        let verdict = oracle::judge(injected, &apart.sink.records());
        let is_quiet = status.contains("\"open_messages\": 0");
        if (verdict.lost.is_empty() && is_quiet) || Instant::now() > until {
            return verdict;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// With one connection to the sink, no other message is between its dot and its reply when this one was taken.
fn apart(delivery: &str) -> impl Future<Output = anyhow::Result<Apart>> {
    Apart::new("", format!("connections_per_destination = 1\n{delivery}"))
}

const KILLED: &[(&str, &str)] = &[("SKEIN_KILL_AT", "sender-after-250:30")];

async fn killed_and_started_again(scratch: &str) -> (Reconciliation, String) {
    let apart = apart(scratch).await.unwrap();
    let _control = apart.control().await.unwrap();
    let mut sender = apart.sender(KILLED).unwrap();
    sender.ready(READY).await.unwrap();
    let injecting = inject(&apart);
    sender.wait(READY).await.expect("the failpoint ends it");
    let mut sender = apart.sender(&[]).unwrap();
    sender.ready(READY).await.unwrap();
    let verdict = settle(&apart, &injecting.await.unwrap()).await;
    println!("{scratch:?}: {}", verdict.summary());
    assert!(verdict.lost.is_empty(), "{}", verdict.summary());
    (verdict, apart.sender_log().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_took_is_not_sent_again() {
    let (verdict, log) = killed_and_started_again("").await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
    assert!(
        log.contains("what the process before this one learnt"),
        "{log}"
    );
}

/// So the test above can fail.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_it_is() {
    let (verdict, _) = killed_and_started_again("scratch_dir = \"\"").await;
    assert!(!verdict.duplicates.is_empty(), "{}", verdict.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_held_while_nobody_can_be_told_about_it() {
    let apart = apart("").await.unwrap();
    let mut control = apart.control().await.unwrap();
    let mut sender = apart.sender(KILLED).unwrap();
    sender.ready(READY).await.unwrap();
    let injecting = inject(&apart);
    sender.wait(READY).await.expect("the failpoint ends it");
    control.kill9().unwrap();
    let mut sender = apart.sender(&[]).unwrap();
    let until = Instant::now() + READY;
    while !apart.sender_log().unwrap().contains("those tasks are held") {
        assert!(Instant::now() < until, "{}", apart.sender_log().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _control = apart.control().await.unwrap();
    sender.ready(READY).await.unwrap();
    let verdict = settle(&apart, &injecting.await.unwrap()).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}
