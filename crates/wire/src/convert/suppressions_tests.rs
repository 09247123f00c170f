use super::*;
use crate::words::Words;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn told() -> v1::Suppression {
    v1::Suppression {
        key: Some(v1::SuppressionKey {
            subject: "Ann@Example.com".into(),
            scope: v1::SuppressionScope::Stream.into(),
            tenant: "acme".into(),
            stream: "news".into(),
        }),
        reason: v1::SuppressionReason::SoftBounce.into(),
        source: "01KG".into(),
        created_at_ms: 5,
        expires_at_ms: Some(9),
        note: "a note".into(),
        added_at_ms: 0,
    }
}

/// What is read of the usual entry, changed like this; or why it is not.
fn read(
    change: impl Fn(&mut v1::Suppression, &mut v1::SuppressionKey),
) -> Result<NewEntry, String> {
    let mut told = told();
    let mut key = told.key.take().unwrap_or_default();
    change(&mut told, &mut key);
    told.key = Some(key);
    new_suppression(told, NOW).map_err(|error| error.to_string())
}

#[test]
fn an_entry_is_read_as_it_is_told() {
    let read_again = |new: NewEntry| new_suppression(suppression_told(&new), NOW).ok();
    for reason in v1::SuppressionReason::ALL.iter().skip(1) {
        for scope in v1::SuppressionScope::ALL.iter().skip(1) {
            let new = read(|told, key| {
                told.reason = (*reason).into();
                key.scope = (*scope).into();
            });
            let new = new.ok();
            assert!(new.is_some());
            assert_eq!(new.clone().and_then(read_again), new);
        }
    }
    let new = read(|_, _| ()).ok();
    let spelling = new.as_ref().and_then(|new| new.spelling.as_deref());
    assert_eq!(spelling, Some("Ann@example.com"));
    let created = read(|told, _| told.created_at_ms = 0).map(|new| new.entry.created);
    assert_eq!(created, Ok(NOW));
}

#[test]
fn words_of_both_sides_are_the_same() {
    for reason in Reason::ALL {
        assert_eq!(v1::SuppressionReason::from(reason).word(), reason.name());
    }
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |expected: &str, read: Result<NewEntry, String>| {
        assert_eq!(read.err().as_deref(), Some(expected));
    };
    refused("reason: it is missing", read(|told, _| told.reason = 0));
    refused(
        "reason: there is no value 99",
        read(|told, _| told.reason = 99),
    );
    refused("key.scope: it is missing", read(|_, key| key.scope = 0));
    refused(
        "key.scope: there is no value 99",
        read(|_, key| key.scope = 99),
    );
    refused(
        "scope: \"\" is no name of a stream: up to 64 letters, digits, dots, - and _",
        read(|_, key| key.stream = String::new()),
    );
    refused(
        "subject: there is nothing where an address or a domain is to be",
        read(|_, key| key.subject = String::new()),
    );
    refused(
        "note has a control character, such as the end of a line",
        read(|told, _| told.note = "a\nb".into()),
    );
    let without = v1::Suppression {
        key: None,
        ..told()
    };
    assert_eq!(new_suppression(without, NOW), Err(BadSuppression::NoKey));
}

#[test]
fn places_are_handed_back() {
    for place in [
        None,
        Some(Cursor(vec![0, 255, 16])),
        Some(Cursor(vec![7; 90])),
    ] {
        let text = suppression_place(place.as_ref());
        assert_eq!(cursor(&text), Ok(place));
    }
    for text in ["0", "zz", "0\u{e4}", "+1"] {
        assert_eq!(cursor(text), Err(BadSuppression::Place), "{text}");
    }
}

#[test]
fn what_is_asked_for_has_limits_and_scopes() {
    let scopes = |scope: v1::SuppressionScope| v1::SuppressionScopes {
        scope: scope.into(),
        tenant: "acme".into(),
        stream: "news".into(),
    };
    for (limit, expected) in [(0, 100), (7, 7), (9_999, 1_000)] {
        let told = v1::ListSuppressionsRequest {
            limit,
            prefix: "Ann".into(),
            scopes: Some(scopes(v1::SuppressionScope::Tenant)),
            ..v1::ListSuppressionsRequest::default()
        };
        let read = newest_suppressions(told);
        let newest = Newest {
            prefix: "ann".into(),
            scopes: ScopeFilter::Tenant("acme".into()),
            ..Newest::default()
        };
        assert_eq!(read, Ok((newest, expected)));
    }
    assert_eq!(suppression_scopes(None), Ok(ScopeFilter::All));
    let told = v1::UndoSuppressionsRequest {
        reason: v1::SuppressionReason::HardBounce.into(),
        to_ms: 5,
        scopes: Some(scopes(v1::SuppressionScope::Stream)),
        ..v1::UndoSuppressionsRequest::default()
    };
    let undo = suppression_undo(told, "ann".into()).ok();
    assert_eq!(
        undo.map(|undo| (undo.limit, undo.to)),
        Some((5_000, UnixMs(5)))
    );
    let asked = v1::CheckSuppressionRequest {
        recipient: "Ann@Example.com".into(),
        tenant: "acme".into(),
        stream: String::new(),
        kind: 0,
    };
    let expected = Asked {
        tenant: "acme".into(),
        stream: None,
        kind: StreamKind::Bulk,
        recipient: Subject::Address("ann@example.com".into()),
    };
    assert_eq!(suppression_asked(asked.clone()), Ok(expected));
    let nobody = v1::CheckSuppressionRequest {
        tenant: String::new(),
        ..asked
    };
    assert!(suppression_asked(nobody).is_err());
}

#[test]
fn outcomes_are_told_in_order() {
    let added = [Added::Full, Added::Added, Added::Changed, Added::WasThere];
    let told = added_suppressions(&added).results;
    let words: Vec<_> = told.iter().map(|one| one.outcome().word()).collect();
    assert_eq!(words, ["full", "added", "changed", "was there"]);
    let removed = [Removed::Complaint, Removed::Removed, Removed::WasNotThere];
    let told = removed_suppressions(&removed).results;
    let words: Vec<_> = told.iter().map(|one| one.outcome().word()).collect();
    assert_eq!(words, ["complaint", "removed", "was not there"]);
}
