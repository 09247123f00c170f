//! Any sequence of commands leaves rows that agree with each other, and senders that follow agree with them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::meta::suppressions::row_key::{expiry_key, newest_key};
use crate::suppression::{FeedPart, Filter, Follower};

const KEYS: usize = 12;

/// Three addresses and a domain under three scopes.
fn nth_key(nth: usize) -> Key {
    let scope = [Scope::Global, Scope::Tenant("acme".into()), stream()][nth % 3].clone();
    let text = ["a@x.example", "b@x.example", "c@y.example", "x.example"][nth / 3];
    key(scope, text)
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(Reason::ALL.as_slice())
}

fn item() -> impl Strategy<Value = NewEntry> {
    (0..KEYS, reason(), 0_u64..60, prop::option::of(0_u64..90)).prop_map(
        |(nth, reason, created, expires)| NewEntry {
            key: nth_key(nth),
            spelling: None,
            entry: Entry {
                created: at(created),
                expires: expires.map(at),
                ..entry(reason)
            },
        },
    )
}

fn removal() -> impl Strategy<Value = Removal> {
    (0..KEYS, prop::option::of(reason())).prop_map(|(nth, reason)| Removal {
        key: nth_key(nth),
        reason,
    })
}

fn scopes() -> impl Strategy<Value = ScopeFilter> {
    prop_oneof![
        Just(ScopeFilter::All),
        Just(ScopeFilter::Global),
        Just(ScopeFilter::Tenant("acme".into())),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let by = || "ann".to_owned();
    let add = prop::collection::vec(item(), 0..6);
    let remove = (prop::collection::vec(removal(), 0..4), any::<bool>());
    let undone = (reason(), 0_u64..60, 1_u64..40, scopes(), 1_u32..4);
    prop_oneof![
        4 => add.prop_map(move |items| Command::Add { items, by: by() }),
        2 => remove.prop_map(move |(items, may_remove_complaints)| Command::Remove {
            items,
            may_remove_complaints,
            note: "why".to_owned(),
            by: by(),
        }),
        1 => undone.prop_map(|(reason, from, span, scopes, limit)| Command::Undo(Undo {
            scopes,
            limit,
            may_remove_complaints: true,
            note: "why".to_owned(),
            ..undo(reason, at(from), at(from + span))
        })),
        1 => (0_u64..100, 1_u32..4).prop_map(|(before, limit)| Command::Expire {
            before: at(before),
            limit,
        }),
    ]
}

/// Index, expiries and counters are those of the entries.
fn check_rows(rows: &MemoryRows) {
    let entries = by_reason(rows);
    let keys_of = |tag: &[u8]| -> BTreeSet<Vec<u8>> {
        let keys = rows.0.keys().filter(|key| key.starts_with(tag));
        keys.cloned().collect()
    };
    let index = entries
        .iter()
        .map(|((key, reason), stored)| newest_key(stored.added, key, *reason));
    assert_eq!(keys_of(b"Sn"), index.collect());
    let expiries = entries.iter().filter_map(|((key, reason), stored)| {
        let expires = stored.entry.expires?;
        Some(expiry_key(expires, key, *reason))
    });
    assert_eq!(keys_of(b"Sx"), expiries.collect());
    let count = |is_counted: &dyn Fn(&Scope) -> bool| {
        let all = entries.keys().filter(|(key, _)| is_counted(&key.scope));
        all.count() as u64
    };
    let keys: BTreeSet<_> = entries.keys().map(|(key, _)| key).collect();
    let expected = Counts {
        keys: keys.len() as u64,
        global: count(&|scope| *scope == Scope::Global),
        tenants: count(&|scope| matches!(scope, Scope::Tenant(_))),
        streams: count(&|scope| matches!(scope, Scope::Stream { .. })),
    };
    assert_eq!(counts(rows), expected);
    assert_eq!(of_tenant(rows, "acme"), expected.tenants + expected.streams);
    let newest = newest(rows, &Newest::default(), usize::MAX).items;
    assert_eq!(newest.len(), entries.len());
    assert!(newest.is_sorted_by(|one, next| one.stored.added >= next.stored.added));
}

/// Loads all, page by page; a change of rows between pages is what `between` makes.
fn load(follower: &mut Follower, mut rows: MemoryRows, mut between: impl FnMut(&mut MemoryRows)) {
    let (since, mut after) = (version(&rows), None);
    loop {
        let is_first = after.is_none();
        let page = hashes(&rows, after.as_ref(), 2);
        after = page.next;
        let part = FeedPart::Page {
            since,
            hashes: page.items,
            is_first,
            is_last: after.is_none(),
        };
        assert_eq!(follower.take(part), Ok(()));
        if after.is_none() {
            return;
        }
        between(&mut rows);
    }
}

fn follow(rows: &MemoryRows, follower: &mut Follower) {
    loop {
        let since = follower.since().unwrap();
        match changes_since(rows, since, 3) {
            Changes::Next { changes, .. } if changes.is_empty() => return,
            Changes::Next { changes, next } => {
                let part = FeedPart::Changes { since, changes };
                assert_eq!(follower.take(part), Ok(()));
                assert_eq!(follower.since(), Some(next));
            }
            Changes::LoadAll => panic!("few have changed"),
        }
    }
}

/// Whether these are the hashes of all keys, and no others.
fn is_of(filter: &Filter, rows: &MemoryRows) -> bool {
    let keys: BTreeSet<_> = by_reason(rows).into_keys().map(|(key, _)| key).collect();
    filter.len() == keys.len() && keys.iter().all(|key| filter.contains(key.hash()))
}

proptest! {
    #[test]
    fn rows_agree_and_so_do_those_who_follow(
        commands in prop::collection::vec((command(), 0_u64..8), 1..40),
    ) {
        let (mut rows, mut now) = (MemoryRows::default(), 0);
        let mut follower = Follower::default();
        load(&mut follower, rows.clone(), |_| ());
        for (command, step) in commands {
            now += step;
            prop_assert_eq!(check(&command), Ok(()));
            let mut other = rows.clone();
            let answer = say(&mut rows, at(now), command.clone());
            prop_assert_eq!(say(&mut other, at(now), command), answer);
            prop_assert_eq!(&other, &rows);
            check_rows(&rows);
            follow(&rows, &mut follower);
            prop_assert!(is_of(follower.filter(), &rows));
        }
    }

    /// Pages are read while others write: what they lack or have too much of, the changes make good.
    #[test]
    fn who_loads_all_meanwhile_comes_to_the_same(
        before in prop::collection::vec(command(), 0..20),
        meanwhile in prop::collection::vec(command(), 0..20),
    ) {
        let mut rows = MemoryRows::default();
        for command in before {
            say(&mut rows, at(5), command);
        }
        let (mut follower, mut latest) = (Follower::default(), rows.clone());
        let mut meanwhile = meanwhile.into_iter();
        load(&mut follower, rows, |rows| {
            if let Some(command) = meanwhile.next() {
                say(rows, at(5), command);
            }
            latest = rows.clone();
        });
        for command in meanwhile {
            say(&mut latest, at(5), command);
        }
        follow(&latest, &mut follower);
        prop_assert!(is_of(follower.filter(), &latest));
    }

    /// What a backup holds is what was there, and it makes the same list again.
    #[test]
    fn a_list_is_restored(items in prop::collection::vec(item(), 0..40)) {
        let mut rows = MemoryRows::default();
        add(&mut rows, at(0), items);
        let mut backup = Vec::new();
        for (row_key, value) in &rows.0 {
            backup.extend(read_entry_key(row_key).zip(codec::decode(value).ok()));
        }
        for (key, row) in &backup {
            prop_assert_eq!(check_row(key, row), Ok(()));
        }
        let mut restored = MemoryRows::default();
        for _ in 0..2 {
            restore(&mut restored, at(0), &backup);
            check_rows(&restored);
            let mut expected = by_reason(&rows);
            expected.retain(|_, stored| stored.entry.counts_at(at(0)));
            prop_assert_eq!(by_reason(&restored), expected);
        }
    }

    #[test]
    fn any_place_to_go_on_from_is_taken(place in prop::collection::vec(any::<u8>(), 0..30)) {
        let mut rows = MemoryRows::default();
        add(&mut rows, at(1), vec![new(stream(), "a@x.example", entry(Reason::HardBounce))]);
        let after = Some(Cursor(place));
        newest(&rows, &Newest { after: after.clone(), ..Newest::default() }, 5);
        let undo = Undo { after, ..undo(Reason::HardBounce, at(0), at(5)) };
        say(&mut rows, at(2), Command::Undo(undo));
    }
}
