#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::time::UnixMs;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn entry(reason: Reason, expires: Option<UnixMs>) -> Entry {
    Entry {
        reason,
        source: String::new(),
        created: UnixMs(1),
        expires,
        note: String::new(),
    }
}

fn keys() -> Vec<Key> {
    let recipient = Written::parse("Ann@Example.com").unwrap().subject;
    lookup_keys("acme", Some("news"), &recipient)
}

/// The key and reason that win, of entries by the place of their key.
fn winner(kind: StreamKind, entries: &[(usize, Reason)]) -> Option<(usize, Reason)> {
    let keys = keys();
    let entries: Vec<_> = entries
        .iter()
        .map(|(place, reason)| (*place, entry(*reason, None)))
        .collect();
    let found = entries.iter().map(|(place, entry)| (&keys[*place], entry));
    let verdict = decide(kind, NOW, found)?;
    let place = keys.iter().position(|key| *key == verdict.key)?;
    Some((place, verdict.entry.reason))
}

#[test]
fn six_keys_are_looked_up_and_four_without_a_stream() {
    let keys = keys();
    let shown: Vec<_> = keys
        .iter()
        .map(|key| format!("{}: {}", key.scope, key.subject.as_str()))
        .collect();
    let expected = [
        "stream acme/news: ann@example.com",
        "stream acme/news: example.com",
        "tenant acme: ann@example.com",
        "tenant acme: example.com",
        "everybody: ann@example.com",
        "everybody: example.com",
    ];
    assert_eq!(shown, expected);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), KEYS_MAX);
    let whole_domain = Subject::Domain("example.com".into());
    assert_eq!(lookup_keys("acme", None, &whole_domain).len(), 2);
    assert_eq!(lookup_keys("acme", None, &keys[0].subject).len(), 4);
}

#[test]
fn the_gravest_reason_wins_and_then_the_most_specific_key() {
    use Reason::{Complaint, HardBounce, Manual, SoftBounce, Unsubscribe};
    let bulk = StreamKind::Bulk;
    for (entries, expected) in [
        (&[][..], None),
        (&[(5, HardBounce)], Some((5, HardBounce))),
        (&[(0, Manual), (5, HardBounce)], Some((5, HardBounce))),
        (&[(0, HardBounce), (5, Complaint)], Some((5, Complaint))),
        (&[(0, SoftBounce), (1, Unsubscribe)], Some((1, Unsubscribe))),
        // An address before its domain, whatever the scope.
        (&[(1, Manual), (4, Manual)], Some((4, Manual))),
        (&[(2, Manual), (0, Manual), (4, Manual)], Some((0, Manual))),
    ] {
        assert_eq!(winner(bulk, entries), expected, "{entries:?}");
    }
}

#[test]
fn an_unsubscribe_alone_does_not_stop_transactional_mail() {
    for reason in Reason::ALL {
        let (transactional, bulk) = (StreamKind::Transactional, StreamKind::Bulk);
        assert_eq!(winner(bulk, &[(0, reason)]), Some((0, reason)));
        let expected = (reason != Reason::Unsubscribe).then_some((0, reason));
        assert_eq!(winner(transactional, &[(0, reason)]), expected);
        // One that does not count hides none that does.
        let beside = [(0, Reason::Unsubscribe), (5, reason)];
        let expected = expected.map(|(_, reason)| (5, reason));
        assert_eq!(winner(transactional, &beside), expected);
    }
}

#[test]
fn an_entry_that_has_ended_does_not_count() {
    let keys = keys();
    for (expires, counts) in [
        (None, true),
        (Some(UnixMs(NOW.0 + 1)), true),
        (Some(NOW), false),
        (Some(UnixMs(0)), false),
    ] {
        let entry = entry(Reason::SoftBounce, expires);
        let verdict = decide(StreamKind::Bulk, NOW, [(&keys[0], &entry)]);
        assert_eq!(verdict.is_some(), counts, "{expires:?}");
    }
}

#[test]
fn a_later_word_of_the_same_reason_shortens_nothing() {
    let at = |ms: u64| UnixMs(NOW.0 + ms);
    let said = |created: UnixMs, expires: Option<UnixMs>, source: &str| Entry {
        created,
        source: source.into(),
        ..entry(Reason::SoftBounce, expires)
    };
    for (before, later, merged, expected) in [
        (
            said(at(0), Some(at(9)), "a"),
            said(at(1), Some(at(5)), "b"),
            Merged::Same,
            said(at(0), Some(at(9)), "a"),
        ),
        (
            said(at(1), Some(at(5)), "a"),
            said(at(2), Some(at(9)), "b"),
            Merged::Changed,
            said(at(1), Some(at(9)), "b"),
        ),
        (
            said(at(1), Some(at(5)), "a"),
            said(at(0), None, "b"),
            Merged::Changed,
            said(at(0), None, "b"),
        ),
        (
            said(at(1), None, "a"),
            said(at(0), Some(at(5)), "b"),
            Merged::Changed,
            said(at(0), None, "a"),
        ),
        (
            said(UnixMs(1), Some(NOW), "a"),
            said(at(0), Some(at(5)), "b"),
            Merged::Replaced,
            said(at(0), Some(at(5)), "b"),
        ),
    ] {
        let mut entry = before;
        assert_eq!(entry.merge(later, NOW), merged);
        assert_eq!(entry, expected);
    }
}

#[test]
fn words_and_numbers_of_reasons_stay_what_they_are() {
    let numbers: Vec<_> = Reason::ALL.iter().map(|one| one.number()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    for reason in Reason::ALL {
        assert_eq!(Reason::of(reason.name()), Some(reason));
        assert_eq!(Reason::of_number(reason.number()), Some(reason));
        assert_eq!(crate::codec::encode(&reason), [reason.number()]);
    }
    let gravities: BTreeSet<_> = Reason::ALL.iter().map(|one| one.gravity()).collect();
    assert_eq!(gravities.len(), Reason::ALL.len());
}

#[test]
fn names_of_scopes_are_checked() {
    let stream = |tenant: &str, stream: &str| {
        let (tenant, stream) = (tenant.to_owned(), stream.to_owned());
        Scope::Stream { tenant, stream }
    };
    let long = "x".repeat(65);
    for (scope, is_good) in [
        (Scope::Global, true),
        (Scope::Tenant("acme".into()), true),
        (Scope::Tenant("a b".into()), false),
        (Scope::Tenant(String::new()), false),
        (stream("acme", "news-1"), true),
        (stream("acme", &long), false),
        (stream("", "news"), false),
    ] {
        assert_eq!(scope.check().is_ok(), is_good, "{scope:?}");
    }
    let of_acme = ScopeFilter::Tenant("acme".into());
    assert!(
        of_acme.admits(&stream("acme", "news")) && of_acme.admits(&Scope::Tenant("acme".into()))
    );
    assert!(!of_acme.admits(&Scope::Global) && !of_acme.admits(&Scope::Tenant("other".into())));
    assert!(ScopeFilter::All.admits(&Scope::Global) && ScopeFilter::Global.admits(&Scope::Global));
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(Reason::ALL.as_slice())
}

proptest! {
    /// The order in which entries are found decides nothing.
    #[test]
    fn the_verdict_is_the_same_in_any_order(
        entries in prop::collection::btree_set((0_usize..6, 0_u8..5), 0..12),
        swap in any::<prop::sample::Index>(),
        transactional in any::<bool>(),
    ) {
        let mut entries: Vec<_> = entries
            .into_iter()
            .filter_map(|(place, number)| Some((place, Reason::of_number(number)?)))
            .collect();
        let kind = if transactional { StreamKind::Transactional } else { StreamKind::Bulk };
        let found = winner(kind, &entries);
        entries.reverse();
        prop_assert_eq!(winner(kind, &entries), found);
        if !entries.is_empty() {
            let middle = swap.index(entries.len());
            entries.rotate_left(middle);
            prop_assert_eq!(winner(kind, &entries), found);
        }
    }

    /// In whatever order words come, what is kept began the earliest and ends the latest.
    #[test]
    fn merging_keeps_the_longest(
        said in prop::collection::vec((0_u64..100, prop::option::of(101_u64..200)), 1..8),
        reason in reason(),
    ) {
        let mut words = said.iter().map(|(created, expires)| Entry {
            created: UnixMs(*created),
            ..entry(reason, expires.map(UnixMs))
        });
        let mut kept = words.next().unwrap();
        for word in words {
            kept.merge(word, UnixMs(100));
        }
        let created = said.iter().map(|(created, _)| *created).min();
        let ends = said.iter().map(|(_, expires)| expires.unwrap_or(u64::MAX)).max();
        prop_assert_eq!(Some(kept.created.0), created);
        prop_assert_eq!(Some(kept.expires.map_or(u64::MAX, |ends| ends.0)), ends);
    }
}
