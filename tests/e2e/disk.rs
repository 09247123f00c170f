//! A full disk: mail is refused, what was taken is delivered, and results are recorded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Outcome};
use skein_testkit::process::http_get;
use skein_testkit::sink::{Act, Phase};
use skein_tests::small_disk::SmallDisk;
use skein_tests::{Bench, Extra};

const DISK_BYTES: u64 = 256 << 20;
const MESSAGE_BYTES: usize = 200_000;
/// Copying, fsyncs and compaction of a whole small disk, on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

/// A node whose marks are those of every installation, on a disk of its own; None where nothing can be mounted.
async fn on_small_disk() -> Option<(Bench, SmallDisk)> {
    let marks = |_: &Path| {
        Ok(Extra {
            sections: "[storage]\nsoft_mark = 80\n".to_owned(),
            ..Extra::default()
        })
    };
    let bench = Bench::with(marks).await.unwrap();
    let disk = SmallDisk::mount(&bench.data(), DISK_BYTES).unwrap()?;
    Some((bench, disk))
}

async fn gauge(bench: &Bench, name: &str) -> u64 {
    let (_, text) = http_get(bench.http, "/metrics").await.unwrap();
    let series = text.lines().filter(|line| line.starts_with(name));
    let values = series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    values.reduce(|sum, value| sum + value).unwrap()
}

/// Waits until a gauge is as wanted.
async fn wait_for(bench: &Bench, name: &str, wanted: impl Fn(u64) -> bool) {
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        let value = gauge(bench, name).await;
        if wanted(value) {
            return;
        }
        assert!(tokio::time::Instant::now() < until, "{name} stays {value}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The destination takes nothing for now.
fn close(bench: &Bench) {
    bench.sink.set_script(|moment| match moment.phase {
        Phase::Rcpt => Act::reply(451, "4.7.1 later"),
        _ => Act::Accept,
    });
}

fn open(bench: &Bench) {
    bench.sink.set_script(|_| Act::Accept);
}

async fn offer(bench: &Bench, prefix: &str, count: usize) -> Vec<Injected> {
    let config = InjectorConfig {
        connections: 4,
        messages_per_connection: count.div_ceil(4),
        sizes: vec![MESSAGE_BYTES],
        prefix: prefix.to_owned(),
        pipelining: false,
        ..InjectorConfig::to(bench.smtp)
    };
    Injector::new(config).run().await
}

fn is_452(message: &Injected) -> bool {
    matches!(&message.outcome, Outcome::Refused { code: 452, reply } if reply.starts_with("4.3.1"))
}

/// Offers mail until it is refused for lack of room; brings all that was offered.
async fn fill_with_mail(bench: &Bench) -> Vec<Injected> {
    let mut all = Vec::new();
    for round in 0..100 {
        let offered = offer(bench, &format!("fill{round}"), 40).await;
        let is_full = offered.iter().any(is_452);
        for message in &offered {
            assert!(message.acked() || is_452(message), "{:?}", message.outcome);
        }
        all.extend(offered);
        if is_full {
            return all;
        }
    }
    panic!("the disk took everything");
}

async fn intake_opens_again(bench: &Bench) {
    let until = tokio::time::Instant::now() + WITHIN;
    for round in 0.. {
        let offered = offer(bench, &format!("again{round}"), 4).await;
        if offered.iter().all(Injected::acked) {
            return;
        }
        assert!(tokio::time::Instant::now() < until, "{offered:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn all_delivered_once(bench: &Bench, offered: &[Injected]) {
    let verdict = bench.settle(offered, WITHIN).await;
    println!("{}", verdict.summary());
    assert!(verdict.is_clean(), "{}", verdict.summary());
    wait_for(bench, "skein_spool_messages", |open| open == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_full_of_mail_refuses_more_and_opens_when_it_is_delivered() {
    let Some((bench, _disk)) = on_small_disk().await else {
        return;
    };
    let _node = bench.start().await.unwrap();
    close(&bench);
    let offered = fill_with_mail(&bench).await;
    let taken = offered.iter().filter(|message| message.acked()).count();
    println!(
        "{taken} messages taken, {} % of the disk used",
        gauge(&bench, "skein_disk_used_percent").await
    );
    assert!(
        taken as u64 * MESSAGE_BYTES as u64 > DISK_BYTES / 2,
        "{taken}"
    );
    assert!(gauge(&bench, "skein_disk_ballast_bytes").await > 0);
    open(&bench);
    all_delivered_once(&bench, &offered).await;
    intake_opens_again(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_recorded_on_a_disk_that_something_else_filled_to_the_last_byte() {
    let Some((bench, disk)) = on_small_disk().await else {
        return;
    };
    let mut node = bench.start().await.unwrap();
    close(&bench);
    let mut offered = offer(&bench, "first", 100).await;
    assert!(offered.iter().all(Injected::acked));

    let foreign = disk.fill().unwrap();
    wait_for(&bench, "skein_disk_ballast_bytes", |held| held == 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = offer(&bench, "refused", 4).await;
    assert!(refused.iter().all(is_452), "{refused:?}");
    offered.extend(refused);
    open(&bench);
    all_delivered_once(&bench, &offered).await;
    assert!(node.running());

    fs::remove_file(foreign).unwrap();
    wait_for(&bench, "skein_disk_ballast_bytes", |held| held > 0).await;
    intake_opens_again(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_on_a_full_disk_and_records_results() {
    let Some((bench, disk)) = on_small_disk().await else {
        return;
    };
    let mut node = bench.start().await.unwrap();
    close(&bench);
    let offered = offer(&bench, "first", 100).await;
    assert!(offered.iter().all(Injected::acked));
    node.kill9().unwrap();
    let foreign = disk.fill().unwrap();

    let _node = bench.start().await.unwrap();
    assert_eq!(gauge(&bench, "skein_disk_ballast_bytes").await, 0);
    open(&bench);
    all_delivered_once(&bench, &offered).await;
    fs::remove_file(foreign).unwrap();
    intake_opens_again(&bench).await;
}

/// The process must end at a failed fsync, and must not have acknowledged what it was for.
async fn ends_when_a_sync_fails(failpoint: &str) {
    let bench = Bench::new().await.unwrap();
    let mut node = bench.start_to_fail(failpoint, 40).await.unwrap();
    let config = InjectorConfig {
        messages_per_connection: 50,
        tries: 2,
        ..InjectorConfig::to(bench.smtp)
    };
    let offered = Injector::new(config).run().await;
    let status = node.wait(WITHIN).await.expect("the process ends");
    assert!(!status.success());
    assert!(
        node.log_end().contains("ending the process"),
        "{}",
        node.log_end()
    );
    assert!(offered.iter().any(|message| !message.acked()));

    let _node = bench.start().await.unwrap();
    let verdict = bench.settle(&offered, WITHIN).await;
    assert!(
        verdict.lost.is_empty() && verdict.corrupted.is_empty(),
        "{}",
        verdict.summary()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_of_bodies_ends_the_process() {
    ends_when_a_sync_fails("body-fsync").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_of_the_write_ahead_log_ends_the_process() {
    ends_when_a_sync_fails("wal-fsync").await;
}
