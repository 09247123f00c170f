//! What is found of recipients and of scopes.

use super::*;
use crate::suppression::StreamKind;

#[test]
fn a_recipient_is_looked_up_under_all_scopes() {
    let mut rows = MemoryRows::default();
    let ann = Written::parse("Ann@Example.com").unwrap().subject;
    let news = ("acme", Some("news"), StreamKind::Bulk);
    let codes = ("acme", Some("news"), StreamKind::Transactional);
    let reason = |rows: &MemoryRows, of, now: u64| {
        let verdict = verdict(rows, at(now), of, &ann);
        verdict.map(|verdict| (verdict.key.scope, verdict.entry.reason))
    };
    assert_eq!(reason(&rows, news, 0), None);
    add(
        &mut rows,
        NOW,
        vec![new(stream(), "ann@example.com", entry(Reason::Unsubscribe))],
    );
    assert_eq!(
        reason(&rows, news, 0),
        Some((stream(), Reason::Unsubscribe))
    );
    assert_eq!(reason(&rows, codes, 0), None);
    let soft = Entry {
        expires: Some(at(9)),
        ..entry(Reason::SoftBounce)
    };
    add(
        &mut rows,
        NOW,
        vec![new(Scope::Global, "example.com", soft)],
    );
    assert_eq!(
        reason(&rows, codes, 0),
        Some((Scope::Global, Reason::SoftBounce))
    );
    assert_eq!(reason(&rows, codes, 9), None);
    assert_eq!(
        reason(&rows, ("other", None, StreamKind::Bulk), 0)
            .unwrap()
            .0,
        Scope::Global
    );
    let keys: Vec<_> = found(&rows, "acme", Some("news"), &ann)
        .into_iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(
        keys,
        [
            key(stream(), "ann@example.com"),
            key(Scope::Global, "example.com")
        ]
    );
}

#[test]
fn pages_by_key_are_of_the_scopes_that_are_asked_for() {
    let mut rows = MemoryRows::default();
    for scope in [
        Scope::Global,
        Scope::Tenant("acme".into()),
        stream(),
        Scope::Tenant("acme2".into()),
    ] {
        for name in ["a", "b"] {
            let text = format!("{name}@example.com");
            add(
                &mut rows,
                NOW,
                vec![new(scope.clone(), &text, entry(Reason::Manual))],
            );
        }
    }
    let tenant = |name: &str| ScopeFilter::Tenant(name.into());
    let of_stream = ScopeFilter::Stream {
        tenant: "acme".into(),
        stream: "news".into(),
    };
    for (scopes, expected) in [
        (ScopeFilter::All, 8),
        (ScopeFilter::Global, 2),
        (tenant("acme"), 4),
        (tenant("acme2"), 2),
        (tenant("acm"), 0),
        (of_stream, 2),
    ] {
        for limit in [1, 3, 99] {
            let (mut after, mut items) = (None, Vec::new());
            loop {
                let page = by_key(&rows, &scopes, after.as_ref(), limit);
                items.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(items.len(), expected, "{scopes:?} {limit}");
            assert!(items.is_sorted_by_key(|item| row_key::entry_key(&item.key)));
            let newest = Newest {
                scopes: scopes.clone(),
                prefix: "b@".into(),
                ..Newest::default()
            };
            assert_eq!(all_newest(&rows, newest, limit).len(), expected / 2);
        }
    }
}
