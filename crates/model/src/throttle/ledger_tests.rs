#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::id::SessionId;
use crate::time::{DurationMs, LimitMs};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const MINUTE: u64 = 60;

fn s(seconds: u64) -> LimitMs {
    LimitMs(1_000_000 + seconds * 1000)
}

fn rolling(count: u64, seconds: u64) -> Rate {
    Rate::new(count, DurationMs::from_secs(seconds), None).unwrap()
}

/// A token lease whose tokens are all used at once.
fn spend(ledger: &mut Ledger, at: LimitMs, session: SessionId, ended: u64) -> u64 {
    let report = TokenLeaseReport {
        token_lease: 1,
        ended,
        returned: 0,
        unused: 0,
        seen: ended,
        wants: 1000,
    };
    ledger.report(at, session, &report).granted
}

#[test]
fn tokens_count_from_their_grant_until_a_window_after_their_end() {
    let mut ledger = Ledger::new(rolling(16, MINUTE));
    assert_eq!(spend(&mut ledger, s(0), A, 0), 1, "a sixteenth");
    assert_eq!(ledger.used(s(600)), 1, "however long it is out");
    assert_eq!(spend(&mut ledger, s(600), A, 1), 2);
    assert_eq!((ledger.used(s(659)), ledger.used(s(661))), (2, 1));
    let report = TokenLeaseReport {
        token_lease: 1,
        ended: 1,
        returned: 1,
        seen: 2,
        ..TokenLeaseReport::default()
    };
    let answer = ledger.report(s(659), A, &report);
    assert_eq!((answer.granted, answer.accounted), (2, 2));
    assert_eq!(ledger.used(s(659)), 1, "what was returned is not spent");
}

#[test]
fn an_answer_that_is_lost_grants_nothing_twice() {
    let mut ledger = Ledger::new(rolling(160, MINUTE));
    for _ in 0..5 {
        let lost = spend(&mut ledger, s(0), A, 0);
        assert_eq!(lost, 10);
    }
    assert_eq!(ledger.used(s(0)), 10);
}

#[test]
fn tokens_of_a_dead_holder_and_of_a_forgotten_token_lease_are_spent() {
    let mut ledger = Ledger::new(rolling(160, MINUTE));
    assert_eq!(spend(&mut ledger, s(0), A, 0), 10);
    ledger.session_gone(s(12), A);
    assert_eq!((ledger.used(s(71)), ledger.used(s(73))), (10, 0));
    let report = |token_lease| TokenLeaseReport {
        token_lease,
        wants: 10,
        ..TokenLeaseReport::default()
    };
    assert_eq!(ledger.report(s(80), B, &report(1)).granted, 10);
    assert_eq!(ledger.report(s(80), B, &report(2)).granted, 10);
    assert_eq!(ledger.used(s(80)), 20);
    assert_eq!(
        ledger.report(s(80), B, &report(1)).granted,
        0,
        "it is forgotten"
    );
    assert_eq!(ledger.used(s(141)), 10);
}

#[test]
fn too_few_tokens_go_to_those_who_have_waited_longest() {
    let mut ledger = Ledger::new(rolling(1, MINUTE));
    assert_eq!(spend(&mut ledger, s(0), A, 0), 1);
    assert_eq!(spend(&mut ledger, s(0), B, 0), 0);
    assert_eq!(spend(&mut ledger, s(59), B, 0), 0);
    assert_eq!(spend(&mut ledger, s(0), A, 1), 1);
    assert_eq!(spend(&mut ledger, s(61), B, 0), 1, "it is the turn of B");
    assert_eq!(spend(&mut ledger, s(62), B, 1), 1);
    assert_eq!(spend(&mut ledger, s(122), A, 1), 1);
    assert_eq!(spend(&mut ledger, s(127), B, 1), 1, "A is before it");
    assert_eq!(
        spend(&mut ledger, s(128), B, 1),
        2,
        "A does not come any more"
    );
}

#[test]
fn who_does_not_use_its_token_keeps_nobody_waiting() {
    let mut ledger = Ledger::new(rolling(2, MINUTE));
    let slow = TokenLeaseReport {
        token_lease: 1,
        unused: 1,
        seen: 1,
        wants: 1000,
        ..TokenLeaseReport::default()
    };
    assert_eq!(spend(&mut ledger, s(0), A, 0), 1);
    assert_eq!(spend(&mut ledger, s(0), B, 0), 1);
    assert_eq!(spend(&mut ledger, s(1), B, 1), 1);
    for second in 1..62 {
        assert_eq!(ledger.report(s(second), A, &slow).granted, 1);
    }
    assert_eq!(spend(&mut ledger, s(62), B, 1), 2);
}

#[test]
fn a_limit_that_was_local_is_closed_for_a_window() {
    let mut ledger = Ledger::after_owners(rolling(100, MINUTE), s(0));
    assert_eq!(spend(&mut ledger, s(60), A, 0), 0);
    assert_eq!(spend(&mut ledger, s(61), A, 0), 6);
}

#[test]
fn a_changed_limit_holds_for_new_tokens() {
    let mut ledger = Ledger::new(rolling(160, MINUTE));
    assert_eq!(spend(&mut ledger, s(0), A, 0), 10);
    ledger.set(s(1), rolling(10, MINUTE));
    assert_eq!(spend(&mut ledger, s(1), A, 10), 10);
    ledger.set(s(2), rolling(11, 3600));
    assert_eq!(spend(&mut ledger, s(2), A, 10), 11);
    assert_eq!(ledger.rate(), rolling(11, 3600));
    assert_eq!(ledger.used(s(3600)), 11);
}

#[test]
fn what_is_granted_keeps_the_pace() {
    let rate = Rate::new(600, DurationMs::from_secs(600), Some(5)).unwrap();
    let mut ledger = Ledger::new(rate);
    assert_eq!(
        spend(&mut ledger, s(0), A, 0),
        7,
        "a burst, and two seconds more"
    );
    assert_eq!(spend(&mut ledger, s(0), A, 7), 7);
    assert_eq!(spend(&mut ledger, s(3), A, 7), 10);
    let report = TokenLeaseReport {
        token_lease: 1,
        ended: 7,
        returned: 3,
        seen: 10,
        ..TokenLeaseReport::default()
    };
    assert_eq!(ledger.report(s(3), A, &report).granted, 10);
    assert_eq!(spend(&mut ledger, s(3), B, 0), 3, "what A gave back");
}

#[test]
fn holders_are_bounded() {
    let mut ledger = Ledger::new(rolling(1_000_000, MINUTE));
    for id in 1..=HOLDERS_MAX as u64 {
        assert!(spend(&mut ledger, s(0), SessionId(id), 0) > 0);
    }
    assert_eq!(spend(&mut ledger, s(0), SessionId(9999), 0), 0);
    ledger.session_gone(s(1), A);
    assert!(spend(&mut ledger, s(1), SessionId(9999), 0) > 0);
}

#[test]
fn what_one_had_used_alone_counts_beside_what_it_has_under_way() {
    let mut ledger = Ledger::new(rolling(60, MINUTE));
    ledger.begin_with(s(0), 50, 8, s(90));
    assert_eq!(ledger.used(s(1)), 58);
    assert_eq!(ledger.used(s(62)), 8);
    assert_eq!(ledger.used(s(152)), 0);
}

proptest! {
    /// Whatever anybody reports, in any order, and whatever becomes of the rows.
    #[test]
    fn no_more_is_counted_than_the_limit(
        limit in 0u64..100,
        steps in prop::collection::vec((0u64..9000, 1u64..6, (0u64..4, 0u64..60, 0u64..60, 0u64..60, 0u64..60, 0u64..60), 0u8..12), 1..200),
    ) {
        let mut ledger = Ledger::new(rolling(limit, MINUTE));
        let mut at = s(0);
        for (later, session, (token_lease, ended, returned, unused, seen, wants), what) in steps {
            at = LimitMs(at.0 + later);
            let session = SessionId(session);
            let report = TokenLeaseReport { token_lease, ended, returned, unused, seen, wants };
            match what {
                0 => ledger.session_gone(at, session),
                _ => {
                    ledger.report(at, session, &report);
                }
            }
            prop_assert!(ledger.used(at) <= limit);
            let read: Ledger = codec::decode(&codec::encode(&ledger)).expect("rows are read");
            prop_assert_eq!(&read, &ledger);
            ledger = read;
        }
    }
}
