use proptest::prelude::*;

use super::shares::SHARERS_MAX;
use super::*;
use crate::codec;
use crate::id::SessionId;
use crate::lease::{LEASE, Lease};
use crate::time::{DurationMs, LimitMs};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const AT_ONCE: DurationMs = DurationMs(0);

fn s(seconds: u64) -> LimitMs {
    LimitMs(1_000_000 + seconds * 1000)
}

/// A session that keeps to what it was told, and uses all of it.
fn tell(shares: &mut Shares, at: LimitMs, session: SessionId, counted: u64, wants: u64) -> u64 {
    let seen = shares.answer(session).version;
    let report = ShareReport {
        seen,
        counted,
        wants,
    };
    shares.report(at, session, &report).may
}

#[test]
fn a_share_moves_when_its_turn_is_over_and_its_holder_has_let_go() {
    let mut shares = Shares::new(4, AT_ONCE);
    assert_eq!(tell(&mut shares, s(0), A, 0, 9), 4);
    assert_eq!(tell(&mut shares, s(1), B, 0, 9), 0, "the turn is not over");
    assert_eq!(shares.answer(A).may, 4);
    assert_eq!(shares.due_at(s(1)), Some(s(5)));
    shares.divide(s(5));
    assert_eq!((shares.answer(A).may, shares.answer(B).may), (2, 0));
    let unaware = ShareReport {
        seen: 0,
        counted: 1,
        wants: 9,
    };
    assert_eq!(shares.report(s(6), A, &unaware).may, 2);
    assert_eq!(
        tell(&mut shares, s(6), B, 0, 9),
        0,
        "the holder does not know"
    );
    assert_eq!(tell(&mut shares, s(7), A, 3, 9), 2);
    assert_eq!(tell(&mut shares, s(7), B, 0, 9), 1, "one is closed");
    assert_eq!(tell(&mut shares, s(8), A, 2, 9), 2);
    assert_eq!(tell(&mut shares, s(8), B, 1, 9), 2);
    assert_eq!(shares.held(s(8)), 4);
}

#[test]
fn nobody_waits_for_what_nobody_wants() {
    let mut shares = Shares::new(4, AT_ONCE);
    assert_eq!(tell(&mut shares, s(0), A, 0, 4), 4);
    assert_eq!(
        tell(&mut shares, s(60), A, 1, 1),
        4,
        "it keeps what nobody else wants"
    );
    assert_eq!(shares.due_at(s(60)), None);
    assert_eq!(tell(&mut shares, s(61), B, 0, 3), 0);
    assert_eq!(tell(&mut shares, s(66), A, 1, 1), 1);
    assert_eq!(tell(&mut shares, s(66), B, 0, 3), 3);
    assert_eq!(tell(&mut shares, s(67), A, 0, 0), 1);
    shares.session_gone(s(68), A);
    assert_eq!(tell(&mut shares, s(68), B, 3, 4), 4);
}

#[test]
fn what_an_ended_session_had_counts_for_a_window() {
    let per = DurationMs::from_secs(8);
    let mut shares = Shares::new(10, per);
    assert_eq!(tell(&mut shares, s(0), A, 0, 9), 9);
    shares.session_gone(s(10), A);
    assert_eq!(tell(&mut shares, s(11), B, 0, 9), 1);
    assert_eq!(shares.held(s(11)), 10);
    assert_eq!(shares.due_at(s(11)), Some(LimitMs(s(18).0 + 1)));
    shares.divide(s(19));
    assert_eq!(shares.answer(B).may, 9);
    let after = Shares::after_owners(10, per, s(0));
    assert_eq!((after.held(s(7)), after.held(s(9))), (10, 0));
    assert_eq!(Shares::after_owners(10, AT_ONCE, s(0)).held(s(0)), 0);
}

#[test]
fn a_lower_limit_holds_at_once_and_a_limit_of_two_serves_six() {
    let mut shares = Shares::new(12, AT_ONCE);
    let sessions: Vec<SessionId> = (1..=6).map(SessionId).collect();
    for session in &sessions {
        assert_eq!(tell(&mut shares, s(0), *session, 0, 2), 2);
    }
    shares.set(s(1), 2);
    let sum = |shares: &Shares| {
        sessions
            .iter()
            .map(|id| shares.answer(*id).may)
            .sum::<u64>()
    };
    assert_eq!((sum(&shares), shares.held(s(1))), (2, 12));
    let mut had = vec![0; 6];
    for second in 2..2 + 2 * 6 * 5 {
        for (nth, session) in sessions.iter().enumerate() {
            let may = shares.answer(*session).may;
            had[nth] += tell(&mut shares, s(second), *session, may, 2);
        }
        assert!(shares.held(s(second)) <= 2);
    }
    assert!(
        had.iter().all(|seconds| (15..=25).contains(seconds)),
        "{had:?}"
    );
}

#[test]
fn a_share_needs_a_lease_and_an_old_answer_is_ignored() {
    let mut held = ShareHeld::default();
    held.answered(ShareAnswer { may: 2, version: 7 });
    held.answered(ShareAnswer { may: 9, version: 6 });
    let lease = Lease::granted(DurationMs(0), LEASE);
    assert_eq!(held.may(DurationMs(8_999), lease), 2);
    assert_eq!(held.may(DurationMs(9_000), lease), 0);
    assert_eq!((held.is_over(2), held.is_over(3)), (false, true));
    let report = ShareReport {
        seen: 7,
        counted: 3,
        wants: 5,
    };
    assert_eq!(held.report(3, 5), report);
}

#[test]
fn sharers_are_bounded() {
    let mut shares = Shares::new(u64::MAX, AT_ONCE);
    for id in 1..=SHARERS_MAX as u64 {
        assert_eq!(tell(&mut shares, s(0), SessionId(id), 0, 1), 1);
    }
    assert_eq!(tell(&mut shares, s(0), SessionId(9999), 0, 1), 0);
    assert_eq!(tell(&mut shares, s(1), A, 0, 1), 1);
}

proptest! {
    /// Whatever anybody says, at any time and in any order, and whatever becomes of the rows.
    #[test]
    fn no_more_is_held_than_there_is(
        limit in 0u64..20,
        per in prop_oneof![Just(0u64), Just(3000)],
        steps in prop::collection::vec((0u64..4000, 1u64..6, 0u64..40, 0u64..30, 0u64..30, 0u8..12), 1..200),
    ) {
        let mut shares = Shares::new(limit, DurationMs(per));
        let mut at = s(0);
        for (later, session, seen, counted, wants, what) in steps {
            at = LimitMs(at.0 + later);
            let session = SessionId(session);
            match what {
                0 => shares.session_gone(at, session),
                1 => shares.divide(at),
                2..6 => {
                    tell(&mut shares, at, session, counted, wants);
                }
                _ => {
                    shares.report(at, session, &ShareReport { seen, counted, wants });
                }
            }
            prop_assert!(shares.held(at) <= limit);
            let read: Shares = codec::decode(&codec::encode(&shares)).expect("rows are read");
            prop_assert_eq!(&read, &shares);
            shares = read;
        }
    }
}
