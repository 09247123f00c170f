#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::super::policy::RESOURCE_BYTES_MAX;
use super::super::policy_change::{PolicyChange, Put};
use super::super::{Command, Refusal, Response, apply};
use super::*;
use crate::rows::MemoryRows;

fn put(key: &str, text: &str, source: Option<&str>) -> Put {
    Put {
        key: key.to_owned(),
        text: text.to_owned(),
        source: source.map(str::to_owned),
    }
}

fn change(put: Vec<Put>, delete: Vec<String>, made: Made) -> Command {
    Command::ChangePolicy(Box::new(PolicyChange {
        base: None,
        put,
        delete,
        by: "ops".to_owned(),
        made,
    }))
}

/// What brings the policy to these resources.
fn towards(rows: &MemoryRows, target: &BTreeMap<String, Kept>, made: Made) -> Command {
    let now = kept(rows);
    let others = target
        .iter()
        .filter(|(key, kept)| now.get(*key) != Some(kept));
    let others = others.map(|(key, kept)| put(key, &kept.text, kept.source.as_deref()));
    let gone = now.keys().filter(|key| !target.contains_key(*key));
    change(others.collect(), gone.cloned().collect(), made)
}

type Step = (Vec<(u8, String, Option<u8>)>, Vec<u8>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0u8..6, "[a-z]{0,8}", proptest::option::of(0u8..3));
    let step = (
        proptest::collection::vec(put, 0..4),
        proptest::collection::vec(0u8..6, 0..3),
    );
    proptest::collection::vec(step, 1..20)
}

fn step_command((puts, deletes): &Step) -> Command {
    let puts = puts.iter().map(|(key, text, source)| {
        let source = source.map(|source| format!("s{source}"));
        put(&format!("ip/{key}"), text, source.as_deref())
    });
    let deletes = deletes.iter().map(|key| format!("ip/{key}"));
    change(puts.collect(), deletes.collect(), Made::Applied)
}

proptest! {
    /// Every version is known as it was, and going back to one and forth again leaves everything as it was.
    #[test]
    fn a_rollback_takes_a_change_back(steps in steps()) {
        let mut rows = MemoryRows::default();
        let mut seen = vec![kept(&rows)];
        for (nth, step) in steps.iter().enumerate() {
            prop_assert_eq!(apply(&mut rows, UnixMs(nth as u64), &step_command(step)), Response::Done);
            seen.push(kept(&rows));
        }
        for (version, resources) in seen.iter().enumerate() {
            let then = policy_at(&rows, version as u64);
            prop_assert_eq!(then.as_ref(), Some(resources));
        }
        prop_assert_eq!(policy_at(&rows, seen.len() as u64), None);
        for (version, resources) in seen.iter().enumerate() {
            let before = kept(&rows);
            let back = towards(&rows, &policy_at(&rows, version as u64).unwrap(), Made::RolledBack(version as u64));
            prop_assert_eq!(apply(&mut rows, UnixMs(99), &back), Response::Done);
            prop_assert_eq!(&kept(&rows), resources);
            let forth = policy_at(&rows, policy_version(&rows) - 1).unwrap();
            prop_assert_eq!(&forth, &before);
            let forth = towards(&rows, &forth, Made::Applied);
            prop_assert_eq!(apply(&mut rows, UnixMs(99), &forth), Response::Done);
            prop_assert_eq!(&kept(&rows), &before);
        }
    }
}

#[test]
fn a_group_of_older_versions_has_the_rows_that_they_have() {
    let mut rows = MemoryRows::default();
    let old = Command::SetPolicy {
        base: None,
        put: vec![("ip/a".to_owned(), "1".to_owned())],
        delete: Vec::new(),
    };
    assert_eq!(apply(&mut rows, UnixMs(1), &old), Response::Done);
    let keys: Vec<u8> = rows.0.keys().map(|key| key[0]).collect();
    assert!(!keys.iter().any(|tag| b"mhs".contains(tag)), "{keys:?}");
    assert!(!has_history(&rows) && policy_at(&rows, 0).is_none());
    assert!(policy_at(&rows, 1).is_some());

    let new = change(
        vec![put("ip/a", "2", Some("git"))],
        Vec::new(),
        Made::Applied,
    );
    assert_eq!(apply(&mut rows, UnixMs(2), &new), Response::Done);
    assert_eq!(policy_at(&rows, 1).unwrap()["ip/a"].text, "1");
    // Every member keeps versions now, so this one is kept as well; the resource stays whose it was.
    let old = Command::SetPolicy {
        base: Some(2),
        put: vec![("ip/a".to_owned(), "3".to_owned())],
        delete: Vec::new(),
    };
    assert_eq!(apply(&mut rows, UnixMs(3), &old), Response::Done);
    let history = policy_history(&rows);
    assert_eq!(history.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(
        (history[&2].by.as_str(), history[&3].by.as_str()),
        ("ops", "")
    );
    assert_eq!(kept(&rows)["ip/a"].source.as_deref(), Some("git"));
}

#[test]
fn what_is_kept_has_a_bound_in_versions_and_in_bytes() {
    let mut rows = MemoryRows::default();
    for n in 0..HISTORY_VERSIONS_MAX as u64 + 20 {
        let one = change(
            vec![put("ip/a", &n.to_string(), None)],
            Vec::new(),
            Made::Applied,
        );
        assert_eq!(apply(&mut rows, UnixMs(n), &one), Response::Done);
    }
    let history = policy_history(&rows);
    assert_eq!(history.len(), HISTORY_VERSIONS_MAX);
    assert_eq!(policy_at(&rows, 20).unwrap()["ip/a"].text, "19");
    assert_eq!(policy_at(&rows, 19), None);

    let large = |letter: &str| {
        let text = letter.repeat(RESOURCE_BYTES_MAX);
        let all = (0..20).map(|n| put(&format!("ip/{n}"), &text, None));
        change(all.collect(), Vec::new(), Made::Applied)
    };
    for letter in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        assert_eq!(
            apply(&mut rows, UnixMs(500), &large(letter)),
            Response::Done
        );
        let history = policy_history(&rows);
        let bytes = history.values().map(|row| codec::encode(row).len() as u64);
        assert!(bytes.sum::<u64>() <= HISTORY_BYTES_MAX);
    }
    assert!((5..8).contains(&policy_history(&rows).len()));
}

#[test]
fn a_change_that_is_refused_leaves_no_version() {
    let mut rows = MemoryRows::default();
    let mut late = PolicyChange {
        base: Some(7),
        put: vec![put("ip/a", "1", None)],
        delete: Vec::new(),
        by: "ops".to_owned(),
        made: Made::Applied,
    };
    let refused = apply(
        &mut rows,
        UnixMs(1),
        &Command::ChangePolicy(Box::new(late.clone())),
    );
    assert_eq!(refused, Response::Refused(Refusal::PolicyChanged));
    late.base = None;
    late.put[0].text = "x".repeat(RESOURCE_BYTES_MAX + 1);
    let refused = apply(&mut rows, UnixMs(1), &Command::ChangePolicy(Box::new(late)));
    assert_eq!(refused, Response::Refused(Refusal::PolicyTooLarge));
    assert!(policy_history(&rows).is_empty());
}
