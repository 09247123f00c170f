#![expect(clippy::unwrap_used, reason = "tests")]

mod checks;
mod queries;
mod random;

use std::collections::BTreeMap;

use super::*;
use crate::codec;
use crate::rows::MemoryRows;
use crate::suppression::{NewEntry, Reason, Scope, ScopeFilter, Written};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn at(ms: u64) -> UnixMs {
    UnixMs(NOW.0 + ms)
}

fn stream() -> Scope {
    Scope::Stream {
        tenant: "acme".into(),
        stream: "news".into(),
    }
}

fn key(scope: Scope, text: &str) -> Key {
    let subject = Written::parse(text).unwrap().subject;
    Key { scope, subject }
}

fn entry(reason: Reason) -> Entry {
    Entry {
        reason,
        source: "e1".into(),
        created: at(0),
        expires: None,
        note: String::new(),
    }
}

fn new(scope: Scope, text: &str, entry: Entry) -> NewEntry {
    let Written { subject, spelling } = Written::parse(text).unwrap();
    NewEntry {
        key: Key { scope, subject },
        spelling,
        entry,
    }
}

/// As a command that is proposed and committed.
fn say(rows: &mut MemoryRows, now: UnixMs, command: Command) -> Response {
    let command: Command = codec::decode(&codec::encode(&command)).unwrap();
    assert_eq!(check(&command), Ok(()));
    apply(rows, now, &command)
}

fn add(rows: &mut MemoryRows, now: UnixMs, items: Vec<NewEntry>) -> Vec<Added> {
    let by = "ann".to_owned();
    match say(rows, now, Command::Add { items, by }) {
        Response::Added(added) => added,
        other => panic!("{other:?}"),
    }
}

fn remove(rows: &mut MemoryRows, of: &Key, reason: Option<Reason>, may: bool) -> Removed {
    let command = Command::Remove {
        items: vec![Removal {
            key: of.clone(),
            reason,
        }],
        may_remove_complaints: may,
        note: "she asked for it".to_owned(),
        by: "ann".to_owned(),
    };
    match say(rows, at(100), command) {
        Response::Removed(removed) => removed[0],
        other => panic!("{other:?}"),
    }
}

fn undo(reason: Reason, from: UnixMs, to: UnixMs) -> Undo {
    Undo {
        reason,
        from,
        to,
        scopes: ScopeFilter::All,
        limit: 2,
        after: None,
        may_remove_complaints: false,
        note: String::new(),
        by: "ann".to_owned(),
    }
}

/// How many entries each command of an undo has taken back, until none is left.
fn undo_all(rows: &mut MemoryRows, mut undo: Undo) -> Vec<u32> {
    let mut counts = Vec::new();
    loop {
        match say(rows, at(100), Command::Undo(undo.clone())) {
            Response::Undone { removed, next } => {
                counts.push(removed);
                if next.is_none() {
                    return counts;
                }
                undo.after = next;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn shown(items: &[Item]) -> Vec<String> {
    items
        .iter()
        .map(|item| {
            let subject = item.key.subject.as_str();
            format!("{subject} {}", item.stored.entry.reason.name())
        })
        .collect()
}

fn all_newest(rows: &MemoryRows, mut asked: Newest, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = newest(rows, &asked, limit);
        assert!(page.items.len() <= limit);
        found.extend(shown(&page.items));
        asked.after = page.next;
        if asked.after.is_none() {
            return found;
        }
    }
}

#[test]
fn an_entry_is_added_once_and_what_comes_again_only_makes_it_longer() {
    let mut rows = MemoryRows::default();
    let soft = |expires: u64| Entry {
        expires: Some(at(expires)),
        ..entry(Reason::SoftBounce)
    };
    let of = |entry: Entry| new(Scope::Tenant("acme".into()), "Ann@example.com", entry);
    for (now, entry, expected) in [
        (1, soft(50), Added::Added),
        (2, soft(40), Added::WasThere),
        (3, soft(60), Added::Changed),
        (4, entry(Reason::Unsubscribe), Added::Added),
        (5, entry(Reason::Unsubscribe), Added::WasThere),
        // The first has ended by then.
        (70, soft(90), Added::Added),
    ] {
        assert_eq!(
            add(&mut rows, at(now), vec![of(entry)]),
            [expected],
            "{now}"
        );
    }
    let key = key(Scope::Tenant("acme".into()), "ann@example.com");
    let row = entries(&rows, &key).unwrap();
    assert_eq!(row.spelling.as_deref(), Some("Ann@example.com"));
    let added: Vec<_> = row
        .entries
        .iter()
        .map(|one| (one.added, one.entry.expires))
        .collect();
    assert_eq!(added, [(at(70), Some(at(90))), (at(4), None)]);
    let counts = counts(&rows);
    assert_eq!((counts.keys, counts.tenants, counts.entries()), (1, 2, 2));
    assert_eq!(of_tenant(&rows, "acme"), 2);
    assert_eq!(version(&rows), 1, "its key came once");
}

#[test]
fn complaints_are_removed_only_by_who_may_and_with_a_word() {
    let mut rows = MemoryRows::default();
    let ann = key(Scope::Global, "ann@example.com");
    for reason in [Reason::Complaint, Reason::HardBounce] {
        add(
            &mut rows,
            NOW,
            vec![new(Scope::Global, "ann@example.com", entry(reason))],
        );
    }
    let hard = Some(Reason::HardBounce);
    assert_eq!(remove(&mut rows, &ann, None, false), Removed::Complaint);
    assert_eq!(remove(&mut rows, &ann, hard, false), Removed::Removed);
    assert_eq!(remove(&mut rows, &ann, hard, false), Removed::WasNotThere);
    assert_eq!(
        remove(&mut rows, &ann, Some(Reason::Complaint), false),
        Removed::Complaint
    );
    assert_eq!(remove(&mut rows, &ann, None, true), Removed::Removed);
    assert_eq!(remove(&mut rows, &ann, None, true), Removed::WasNotThere);
    assert_eq!(counts(&rows), Counts::default());
    let left = rows.0.keys().filter(|key| !key.starts_with(b"Sl"));
    let left: Vec<_> = left.map(|key| String::from_utf8_lossy(key)).collect();
    assert_eq!(left, ["Sh", "Sk"]);
}

#[test]
fn a_wrong_hour_of_bounces_is_undone_and_nothing_else() {
    let mut rows = MemoryRows::default();
    let hard = || entry(Reason::HardBounce);
    for (now, text, entry) in [
        (1, "before@example.com", hard()),
        (10, "a@example.com", hard()),
        (11, "b@example.com", hard()),
        (11, "b@example.com", entry(Reason::Unsubscribe)),
        (12, "c@example.com", hard()),
        (12, "d@example.com", entry(Reason::Manual)),
        (19, "e@example.com", hard()),
        (20, "after@example.com", hard()),
    ] {
        add(&mut rows, at(now), vec![new(stream(), text, entry)]);
    }
    add(
        &mut rows,
        at(15),
        vec![new(Scope::Global, "a@example.com", hard())],
    );
    let of_tenant = Undo {
        scopes: ScopeFilter::Tenant("acme".into()),
        ..undo(Reason::HardBounce, at(10), at(20))
    };
    assert_eq!(undo_all(&mut rows, of_tenant), [2, 2]);
    let left = [
        "after@example.com hard_bounce",
        "a@example.com hard_bounce",
        "d@example.com manual",
        "b@example.com unsubscribe",
        "before@example.com hard_bounce",
    ];
    assert_eq!(all_newest(&rows, Newest::default(), 2), left);
    assert_eq!(
        undo_all(&mut rows, undo(Reason::HardBounce, at(10), at(20))),
        [1]
    );
    assert_eq!(
        undo_all(&mut rows, undo(Reason::SoftBounce, at(0), at(90))),
        [0]
    );
}

/// What is passed over counts, so that one command is short however long the list is.
#[test]
fn an_undo_and_a_page_look_at_so_many_entries_and_go_on() {
    let mut rows = MemoryRows::default();
    let count = LOOKED_AT_MAX * 2 + 5;
    let (mut items, mut now) = (Vec::new(), 0);
    for n in 0..count {
        let reason = if n % LOOKED_AT_MAX == 3 {
            Reason::HardBounce
        } else {
            Reason::Manual
        };
        items.push(new(stream(), &format!("a{n}@example.com"), entry(reason)));
        if items.len() == ITEMS_MAX || n + 1 == count {
            now += 1;
            add(&mut rows, at(now), std::mem::take(&mut items));
        }
    }
    let hard = Newest {
        reason: Some(Reason::HardBounce),
        ..Newest::default()
    };
    assert_eq!(all_newest(&rows, hard, 5).len(), 3);
    let counts = undo_all(&mut rows, undo(Reason::HardBounce, at(0), at(90)));
    assert_eq!(counts.iter().sum::<u32>(), 3);
    assert_eq!(counts.len(), 3);
}

#[test]
fn entries_that_have_ended_are_forgotten_in_parts() {
    let mut rows = MemoryRows::default();
    for (name, expires) in [("a", 5), ("b", 6), ("c", 7), ("d", 8)] {
        let soft = Entry {
            expires: Some(at(expires)),
            ..entry(Reason::SoftBounce)
        };
        add(
            &mut rows,
            NOW,
            vec![new(Scope::Global, &format!("{name}@example.com"), soft)],
        );
    }
    add(
        &mut rows,
        NOW,
        vec![new(Scope::Global, "a@example.com", entry(Reason::Manual))],
    );
    let mut expire = |now: u64, before: u64, limit: u32| {
        let before = at(before);
        match say(&mut rows, at(now), Command::Expire { before, limit }) {
            Response::Expired { removed, is_more } => (removed, is_more),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        expire(4, 99, 9),
        (0, false),
        "none has ended, whatever is said"
    );
    assert_eq!(expire(7, 7, 2), (2, true));
    assert_eq!(expire(7, 7, 2), (1, false));
    assert_eq!(expire(99, 7, 2), (0, false));
    let left = ["d@example.com soft_bounce", "a@example.com manual"];
    let mut found = all_newest(&rows, Newest::default(), 9);
    found.sort();
    let mut left = left.to_vec();
    left.sort_unstable();
    assert_eq!(found, left);
}

/// All rows of a list but what hangs on the order of changes.
fn by_reason(rows: &MemoryRows) -> BTreeMap<(Key, Reason), Stored> {
    let page = by_key(rows, &ScopeFilter::All, None, usize::MAX);
    let items = page.items.into_iter();
    items
        .map(|item| ((item.key, item.stored.entry.reason), item.stored))
        .collect()
}
