use super::*;

fn page(since: u64, hashes: &[u64], is_first: bool, is_last: bool) -> FeedPart {
    FeedPart::Page {
        since,
        hashes: hashes.to_vec(),
        is_first,
        is_last,
    }
}

fn changes(since: u64, changes: &[(u64, bool)]) -> FeedPart {
    let changes = changes.iter();
    FeedPart::Changes {
        since,
        changes: changes
            .map(|&(hash, is_added)| Change { hash, is_added })
            .collect(),
    }
}

#[test]
fn a_sender_asks_of_everybody_until_it_knows_all() {
    let key = Key {
        scope: Scope::Global,
        subject: Subject::Domain("example.com".into()),
    };
    let keys = [key];
    let hash = keys[0].hash();
    let mut follower = Follower::default();
    let mut check = |part: FeedPart, taken: Result<(), Gap>, since: Option<u64>, may: bool| {
        let shown = format!("{part:?}");
        assert_eq!(follower.take(part), taken, "{shown}");
        assert_eq!(follower.since(), since, "{shown}");
        assert_eq!(follower.may_be_suppressed(&keys), may, "{shown}");
    };
    check(changes(0, &[(hash, true)]), Err(Gap), None, true);
    check(page(5, &[1], false, false), Err(Gap), None, true);
    check(page(5, &[1], true, false), Ok(()), None, true);
    check(page(6, &[2], false, true), Err(Gap), None, true);
    check(changes(5, &[]), Err(Gap), None, true);
    check(page(5, &[2], false, true), Ok(()), Some(5), false);
    check(
        changes(5, &[(hash, true), (9, true)]),
        Ok(()),
        Some(7),
        true,
    );
    check(changes(5, &[(hash, false)]), Err(Gap), Some(7), true);
    check(changes(7, &[(hash, false)]), Ok(()), Some(8), false);
    check(changes(8, &[(hash, true)]), Ok(()), Some(9), true);
    // Whoever has missed too much begins again, and what has gone meanwhile is not known.
    check(page(99, &[3], true, true), Ok(()), Some(99), false);
    check(changes(9, &[]), Err(Gap), Some(99), false);
    let filter: Filter = [3].into_iter().collect();
    assert_eq!(follower.filter(), &filter);
}
