//! What may be proposed.

use super::*;
use crate::suppression::{NOTE_BYTES_MAX, Subject};

#[test]
fn what_cannot_be_is_not_proposed() {
    let good = || new(stream(), "ann@example.com", entry(Reason::Manual));
    let add = |change: &dyn Fn(&mut NewEntry)| {
        let mut item = good();
        change(&mut item);
        check(&Command::Add {
            items: vec![item],
            by: String::new(),
        })
    };
    assert_eq!(add(&|_| {}), Ok(()));
    let bad: [&dyn Fn(&mut NewEntry); 8] = [
        &|item| item.key.scope = Scope::Tenant(String::new()),
        &|item| item.key.subject = Subject::Address("Ann@example.com".into()),
        &|item| item.key.subject = Subject::Domain("ann@example.com".into()),
        &|item| item.spelling = Some("a\nb@example.com".into()),
        &|item| item.entry.note = "x".repeat(NOTE_BYTES_MAX + 1),
        &|item| item.entry.source = "a\u{7}".into(),
        &|item| item.entry.created = UnixMs(u64::MAX),
        &|item| item.entry.expires = Some(UnixMs(u64::MAX)),
    ];
    for (nth, change) in bad.into_iter().enumerate() {
        assert!(add(change).is_err(), "{nth}");
    }
    let many = |count: usize, note: usize| {
        let mut item = good();
        item.entry.note = "x".repeat(note);
        let items = vec![item; count];
        let by = String::new();
        let command = Command::Add { items, by };
        let is_good = check(&command).is_ok();
        assert!(!is_good || codec::encode(&command).len() <= ITEMS_BYTES_MAX + 1024);
        is_good
    };
    assert!(many(ITEMS_MAX, 9) && !many(ITEMS_MAX + 1, 9) && !many(ITEMS_MAX, 250));
    let remove = |may_remove_complaints, note: &str| {
        let (note, by) = (note.to_owned(), String::new());
        check(&Command::Remove {
            items: Vec::new(),
            may_remove_complaints,
            note,
            by,
        })
    };
    assert!(remove(false, "").is_ok() && remove(true, "why").is_ok() && remove(true, "").is_err());
    let good = || undo(Reason::HardBounce, at(0), at(1));
    for (undo, is_good) in [
        (good(), true),
        (undo(Reason::Complaint, at(0), at(1)), false),
        (undo(Reason::HardBounce, at(1), at(1)), false),
        (Undo { limit: 0, ..good() }, false),
        (
            Undo {
                limit: 5_001,
                ..good()
            },
            false,
        ),
        (
            Undo {
                may_remove_complaints: true,
                ..good()
            },
            false,
        ),
        (
            Undo {
                after: Some(Cursor(vec![0; 900])),
                ..good()
            },
            false,
        ),
        (
            Undo {
                scopes: ScopeFilter::Tenant("a b".into()),
                ..good()
            },
            false,
        ),
    ] {
        assert_eq!(
            check(&Command::Undo(undo.clone())).is_ok(),
            is_good,
            "{undo:?}"
        );
    }
    let twice = Stored {
        entry: entry(Reason::Manual),
        added: NOW,
    };
    let row = |entries| Suppressed {
        spelling: None,
        entries,
    };
    let ann = key(stream(), "ann@example.com");
    assert!(check_row(&ann, &row(vec![twice.clone()])).is_ok());
    assert!(check_row(&ann, &row(vec![twice.clone(), twice])).is_err());
    assert!(check_row(&ann, &row(Vec::new())).is_err());
}
