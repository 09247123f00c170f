//! Damage on disk: it is noticed, never sent, and repaired where another node has what is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::Node;
use skein_testkit::sink::{Act, Phase};
use skein_tests::{Bench, Extra};

const WITHIN: Duration = Duration::from_secs(60);
/// Magic, message id, number of the part, length, checksum: see the store's segments.
const HEADER_BYTES: usize = 32;

async fn bench() -> Bench {
    // A copy of the data directory is quick then.
    let sections = "[storage]\nballast_bytes = 1048576\nsegment_bytes = 4194304".to_owned();
    let bench = Bench::with(|_| {
        Ok(Extra {
            sections,
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    close(&bench);
    bench
}

fn close(bench: &Bench) {
    bench.sink.set_script(|moment| match moment.phase {
        Phase::Rcpt => Act::reply(451, "4.7.1 later"),
        _ => Act::Accept,
    });
}

async fn offer(bench: &Bench, prefix: &str) -> Vec<Injected> {
    let config = InjectorConfig {
        sizes: vec![500, 5_000, 400_000],
        prefix: prefix.to_owned(),
        ..InjectorConfig::to(bench.smtp)
    };
    let offered = Injector::new(config).run().await;
    assert!(offered.iter().all(Injected::acked));
    offered
}

/// How far the database was durable, which is written once a second.
fn mark(bench: &Bench) -> Vec<u8> {
    fs::read(bench.data().join("durable")).unwrap()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The process must end by itself and say what is wrong and what to do.
async fn refuses(mut node: Node, what: &str) {
    let status = node.wait(WITHIN).await;
    let log = node.log_end();
    let status = status.unwrap_or_else(|_| panic!("{what}: it goes on:\n{log}"));
    assert!(!status.success(), "{what}");
    assert!(
        log.contains("skeinctl backup restore") && log.contains("joins as a new node"),
        "{what}: {log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_not_gone_on_with() {
    let bench = bench().await;
    let mut node = bench.start().await.unwrap();
    let mut offered = offer(&bench, "first").await;
    node.kill9().unwrap();
    // The second start writes what the log held into files.
    let mut node = bench.start().await.unwrap();
    offered.extend(offer(&bench, "second").await);
    // Attempts go on, so that what was taken comes to be behind the mark of what is durable.
    for _ in 0..2 {
        let before = mark(&bench);
        let look = || (mark(&bench) != before).then_some(());
        skein_tests::until("the mark", WITHIN, Duration::from_millis(50), look)
            .await
            .unwrap();
    }
    node.kill9().unwrap();

    let (data, whole) = (bench.data(), bench.data().with_extension("whole"));
    copy(&data, &whole);
    let db = data.join("db");
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("a flipped bit in the log", |db| {
            let log = files(db, "log").pop().unwrap();
            flip(&log, fs::metadata(&log).unwrap().len() as usize / 2);
        }),
        ("a log that is gone", |db| {
            fs::remove_file(files(db, "log").pop().unwrap()).unwrap();
        }),
        // How much the attempts of the last second, which may be lost, have written depends on the machine.
        ("a log that lost nearly all", |db| {
            let log = files(db, "log").pop().unwrap();
            cut(&log, fs::metadata(&log).unwrap().len() / 20);
        }),
        ("a table that is gone", |db| {
            fs::remove_file(files(db, "sst").pop().unwrap()).unwrap();
        }),
        ("a table that is too short", |db| {
            let table = files(db, "sst").pop().unwrap();
            cut(&table, fs::metadata(&table).unwrap().len() / 2);
        }),
        ("flipped bits in every table", |db| {
            for table in files(db, "sst") {
                flip(&table, 20);
            }
        }),
    ];
    for (what, damage) in damages {
        damage(&db);
        refuses(bench.launch(Vec::new()).unwrap(), what).await;
        fs::remove_dir_all(&data).unwrap();
        copy(&whole, &data);
    }

    let _node = bench.start().await.unwrap();
    bench.sink.set_script(|_| Act::Accept);
    let verdict = bench.settle(&offered, WITHIN).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_what_a_crash_leaves() {
    let bench = bench().await;
    let mut node = bench.start().await.unwrap();
    let offered = offer(&bench, "first").await;
    node.kill9().unwrap();
    let log = files(&bench.data().join("db"), "log").pop().unwrap();
    cut(&log, fs::metadata(&log).unwrap().len() - 5);
    let _node = bench.start().await.unwrap();
    bench.sink.set_script(|_| Act::Accept);
    // The record that was cut was one of the last; nothing that came before is lost.
    let verdict = bench.settle(&offered, WITHIN).await;
    assert!(
        verdict.lost.len() <= 1 && verdict.corrupted.is_empty(),
        "{}",
        verdict.summary()
    );
}

/// Damages the bodies that `wanted` names by the last byte of their id; says how many parts that were.
pub fn damage_bodies(data: &Path, wanted: impl Fn(u8) -> bool) -> usize {
    let mut damaged = 0;
    for segment in files(&data.join("bodies"), "seg") {
        let mut bytes = fs::read(&segment).unwrap();
        let mut place = 0;
        while bytes[place..].starts_with(b"SKb1") {
            let length: [u8; 4] = bytes[place + 24..place + 28].try_into().unwrap();
            let length = u32::from_be_bytes(length) as usize;
            if wanted(bytes[place + 19]) {
                bytes[place + HEADER_BYTES + length / 2] ^= 1;
                damaged += 1;
            }
            place += HEADER_BYTES + length;
        }
        fs::write(&segment, bytes).unwrap();
    }
    damaged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_body_is_never_sent() {
    let bench = bench().await;
    let mut node = bench.start().await.unwrap();
    let offered = offer(&bench, "first").await;
    node.kill9().unwrap();
    let damaged = damage_bodies(&bench.data(), |last| last % 4 == 0);
    assert!(damaged > 0);
    let _node = bench.start().await.unwrap();
    bench.sink.set_script(|_| Act::Accept);
    let expected = |lost: usize| lost > 0 && lost <= damaged;
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        let verdict = bench.settle(&offered, Duration::ZERO).await;
        assert!(verdict.corrupted.is_empty(), "{}", verdict.summary());
        if expected(verdict.lost.len()) {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{}", verdict.summary());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_are_cut_or_gone_lose_only_what_was_in_them() {
    let bench = bench().await;
    let mut node = bench.start().await.unwrap();
    let offered = offer(&bench, "first").await;
    node.kill9().unwrap();
    let segments = files(&bench.data().join("bodies"), "seg");
    assert!(segments.len() > 2, "{segments:?}");
    cut(&segments[0], 2 << 20);
    fs::remove_file(&segments[1]).unwrap();
    let _node = bench.start().await.unwrap();
    bench.sink.set_script(|_| Act::Accept);
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        let verdict = bench.settle(&offered, Duration::ZERO).await;
        assert!(verdict.corrupted.is_empty(), "{}", verdict.summary());
        if !verdict.delivered.is_empty() && verdict.lost.len() < offered.len() / 2 + 30 {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{}", verdict.summary());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
