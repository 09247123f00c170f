#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeSet;
use std::fs;

use skein_model::Reply;
use skein_model::retry::RetryPolicy;
use skein_model::{GroupId, MessageId, UnixMs};
use tempfile::TempDir;

use super::*;
use crate::outcome::{self, Attempt};
use crate::task::test_tasks;

fn report(n: u64, verdicts: &[Verdict]) -> (Report, LeasedTask) {
    let addresses: Vec<String> = (0..verdicts.len())
        .map(|n| format!("b{n}@there.test"))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut task = test_tasks::task(&addresses);
    task.id.message = MessageId::new(UnixMs(n), GroupId::FIRST_SPOOL, n);
    let verdicts = verdicts
        .iter()
        .map(|verdict| (*verdict, Reply::ours((2, 0, 0), "so be it")));
    let policy = RetryPolicy::default();
    let attempt = Attempt::default();
    let report = outcome::report(&policy, &task, &attempt, verdicts.collect(), UnixMs(5));
    (report, task)
}

fn delivered(n: u64) -> Fact {
    let (report, task) = report(n, &[Verdict::Delivered]);
    Fact::of(&report, &task, true).unwrap()
}

fn keys<'f>(facts: impl IntoIterator<Item = &'f Fact>) -> BTreeSet<Key> {
    facts.into_iter().map(Fact::key).collect()
}

fn reopened(dir: &TempDir) -> BTreeSet<Key> {
    let (_, facts) = Files::open(dir.path(), Limits::default()).unwrap();
    keys(&facts)
}

fn files(dir: &TempDir) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name != "lock"));
    paths.sort();
    paths
}

#[test]
fn what_is_not_forgotten_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (journal, before) = Journal::open(dir.path());
    assert_eq!(before, []);
    let facts: Vec<Fact> = (0..4).map(delivered).collect();
    for fact in &facts {
        journal.keep(fact.clone());
    }
    journal.forget(facts[1].key());
    // A mark goes with the next fact; this one has none.
    journal.keep(delivered(9));
    journal.forget(facts[2].key());
    drop(journal);
    let left = [&facts[0], &facts[2], &facts[3], &delivered(9)];
    assert_eq!(reopened(&dir), keys(left));
    assert_eq!(reopened(&dir), keys(left), "looking changes nothing");
}

#[test]
fn a_torn_record_costs_only_itself() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open(dir.path());
    journal.keep(delivered(1));
    journal.keep(delivered(2));
    drop(journal);
    let path = files(&dir).remove(0);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let (journal, facts) = Journal::open(dir.path());
    assert_eq!(facts, [delivered(1)]);
    journal.keep(delivered(3));
    drop(journal);
    assert_eq!(reopened(&dir), keys([&delivered(1), &delivered(3)]));
}

#[test]
fn files_rotate_and_keep_what_is_open() {
    let dir = TempDir::new().unwrap();
    let limits = Limits {
        file_bytes: 4_000,
        open_bytes: 2_000,
    };
    let (mut written, _) = Files::open(dir.path(), limits).unwrap();
    let oldest = delivered(0);
    written.keep(oldest.clone()).unwrap();
    for n in 1..200 {
        let fact = delivered(n);
        written.keep(fact.clone()).unwrap();
        if n < 199 {
            written.forget(fact.key());
        }
        let paths = files(&dir);
        assert_eq!(paths.len(), 1);
        assert!(fs::metadata(&paths[0]).unwrap().len() <= 4_000);
    }
    drop(written);
    let left = reopened(&dir);
    assert!(left.is_superset(&keys([&oldest, &delivered(199)])));
    assert!(left.len() <= 3, "only the last mark was not written");
}

#[test]
fn what_has_no_room_is_not_kept_and_the_rest_is() {
    let dir = TempDir::new().unwrap();
    let limits = Limits {
        file_bytes: 4_000,
        open_bytes: 600,
    };
    let (mut written, _) = Files::open(dir.path(), limits).unwrap();
    let results: Vec<bool> = (0..10)
        .map(|n| written.keep(delivered(n)).is_ok())
        .collect();
    assert!(results[0] && !results[9], "{results:?}");
    written.forget(delivered(0).key());
    written.keep(delivered(10)).unwrap();
}

#[test]
fn one_process_at_a_time_and_none_is_held_up() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open(dir.path());
    journal.keep(delivered(1));
    let (other, facts) = Journal::open(dir.path());
    assert_eq!(facts, [], "they are still the other's to report");
    other.keep(delivered(2));
    let (nowhere, _) = Journal::open(&dir.path().join("lock/below-a-file"));
    nowhere.keep(delivered(3));
}

#[test]
fn only_facts_are_kept_and_what_their_dsn_takes() {
    use Verdict::{Deferred, Delivered, Expired, Failed};
    for (verdicts, facts, needs_dsn) in [
        (&[Delivered][..], &[0][..], false),
        (&[Deferred], &[], false),
        (&[Expired], &[], false),
        (&[Failed], &[0], true),
        (&[Deferred, Delivered, Failed], &[1, 2], true),
        (&[Delivered, Deferred], &[0], false),
    ] {
        let (report, task) = report(1, verdicts);
        let fact = Fact::of(&report, &task, true);
        let outcomes = fact.iter().flat_map(|fact| &fact.report.outcomes);
        let kept: Vec<u32> = outcomes.map(|outcome| outcome.recipient).collect();
        assert_eq!(kept, facts, "{verdicts:?}");
        assert_eq!(
            fact.is_some_and(|fact| fact.dsn.is_some()),
            needs_dsn,
            "{verdicts:?}"
        );
    }
}
