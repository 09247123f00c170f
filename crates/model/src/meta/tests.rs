use std::collections::BTreeSet;

use super::*;
use crate::id::{Epoch, GroupId, SessionId, Slot};
use crate::rows::MemoryRows;
use crate::time::UnixMs;

fn open(rows: &mut MemoryRows, session: u64, sender: &str) -> Response {
    let open = Command::OpenSession {
        session: SessionId(session),
        sender: sender.into(),
        order: session,
    };
    apply(rows, UnixMs(1), &open)
}

fn held(rows: &MemoryRows, session: u64) -> usize {
    assignments(rows)
        .values()
        .filter(|held| held.session == SessionId(session))
        .count()
}

#[test]
fn every_slot_has_one_owner_and_few_move() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    assert_eq!(held(&rows, 1), 1024);
    let before = assignments(&rows);
    open(&mut rows, 2, "b");
    open(&mut rows, 3, "c");
    release(&mut rows, 1);
    assert_eq!(
        (
            held(&rows, 1),
            held(&rows, 1) + held(&rows, 2) + held(&rows, 3)
        ),
        (342, 1024)
    );
    let after = assignments(&rows);
    let kept = Slot::all()
        .filter(|slot| after[slot] == before[slot])
        .count();
    assert_eq!(kept, 342, "only what must move moves");
    assert!(after.values().all(|held| held.epoch <= Epoch(3)));
}

#[test]
fn a_sender_that_comes_back_replaces_itself_under_higher_epochs() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    open(&mut rows, 9, "a");
    assert_eq!(sessions(&rows).len(), 1);
    assert!(
        assignments(&rows)
            .values()
            .all(|held| held.session == SessionId(9) && held.epoch == Epoch(2))
    );
    let again = rows.clone();
    open(&mut rows, 9, "a");
    assert_eq!(rows, again, "a repeated command changes nothing");
}

#[test]
fn slots_wait_for_the_next_session_with_their_epochs_kept() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    apply(&mut rows, UnixMs(2), &Command::CloseSession(SessionId(1)));
    open(&mut rows, 2, "b");
    assert!(
        assignments(&rows)
            .values()
            .all(|held| held.session == SessionId(2) && held.epoch == Epoch(2))
    );
}

/// The slots that a session is asked to let go of.
fn leaving(rows: &MemoryRows, session: u64) -> Vec<(Slot, Epoch)> {
    assignments(rows)
        .into_iter()
        .filter(|(_, held)| held.session == SessionId(session) && held.moving_to.is_some())
        .map(|(slot, held)| (slot, held.epoch))
        .collect()
}

fn release(rows: &mut MemoryRows, session: u64) {
    let slots = leaving(rows, session);
    let session = SessionId(session);
    apply(rows, UnixMs(3), &Command::Release { session, slots });
}

#[test]
fn a_live_owner_keeps_its_slots_until_it_lets_go() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    open(&mut rows, 2, "b");
    assert_eq!((held(&rows, 1), held(&rows, 2)), (1024, 0));
    assert_eq!(leaving(&rows, 1).len(), 512);
    release(&mut rows, 1);
    assert_eq!((held(&rows, 1), held(&rows, 2)), (512, 512));
    assert_eq!(leaving(&rows, 1), []);
    let settled = rows.clone();
    let slots = vec![(Slot(0), Epoch(9)), (Slot(1), Epoch(1))];
    for session in [SessionId(1), SessionId(2), SessionId(3)] {
        let slots = slots.clone();
        apply(&mut rows, UnixMs(3), &Command::Release { session, slots });
    }
    assert_eq!(rows, settled, "only what is asked for is let go");
}

#[test]
fn a_registration_that_arrives_late_ends_no_session() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 5, "a");
    let settled = rows.clone();
    assert_eq!(
        open(&mut rows, 4, "a"),
        Response::Refused(Refusal::NotLatest)
    );
    assert_eq!(rows, settled);
    assert_eq!(open(&mut rows, 4, "b"), Response::Done);
}

#[test]
fn a_slot_that_stays_after_all_is_given_anew() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    open(&mut rows, 2, "b");
    let told = leaving(&rows, 1);
    apply(&mut rows, UnixMs(3), &Command::CloseSession(SessionId(2)));
    let slot = told[0].0;
    assert_eq!(assignments(&rows)[&slot].epoch, Epoch(2));
    let release = Command::Release {
        session: SessionId(1),
        slots: told,
    };
    open(&mut rows, 4, "d");
    let before = assignments(&rows);
    apply(&mut rows, UnixMs(4), &release);
    assert_eq!(assignments(&rows), before, "word of an earlier epoch");
}

#[test]
fn a_slot_on_its_way_follows_who_comes_and_goes() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    open(&mut rows, 2, "b");
    apply(&mut rows, UnixMs(3), &Command::CloseSession(SessionId(2)));
    assert_eq!(leaving(&rows, 1), [], "the target went away");
    open(&mut rows, 3, "c");
    apply(&mut rows, UnixMs(3), &Command::CloseSession(SessionId(1)));
    assert_eq!(held(&rows, 3), 1024, "the owner went away");
}

#[test]
fn who_may_not_own_slots_is_asked_for_them() {
    for (command, back) in [
        (
            Command::SetFit {
                session: SessionId(1),
                fit: false,
            },
            Some(Command::SetFit {
                session: SessionId(1),
                fit: true,
            }),
        ),
        (
            Command::SetDrained {
                sender: "a".into(),
                drained: true,
            },
            Some(Command::SetDrained {
                sender: "a".into(),
                drained: false,
            }),
        ),
        (Command::Retire(SessionId(1)), None),
    ] {
        let mut rows = MemoryRows::default();
        open(&mut rows, 1, "a");
        apply(&mut rows, UnixMs(2), &command);
        assert_eq!(leaving(&rows, 1).len(), 1024);
        release(&mut rows, 1);
        assert_eq!(held(&rows, 0), 1024, "nobody may have them");
        open(&mut rows, 2, "b");
        assert_eq!(held(&rows, 2), 1024);
        if let Some(back) = back {
            apply(&mut rows, UnixMs(2), &back);
            release(&mut rows, 2);
            assert_eq!(held(&rows, 1), 512);
        }
    }
}

#[test]
fn an_operator_moves_a_slot() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    open(&mut rows, 2, "b");
    release(&mut rows, 1);
    let of = |rows: &MemoryRows, slot| assignments(rows)[&slot].session;
    let slot = Slot::all().find(|slot| of(&rows, *slot) == SessionId(1));
    let slot = slot.expect("the first session has some");
    let to = SessionId(2);
    let moved = apply(&mut rows, UnixMs(3), &Command::MoveSlot { slot, to });
    assert_eq!(moved, Response::Done);
    release(&mut rows, 1);
    release(&mut rows, 2);
    assert_eq!(of(&rows, slot), to);
    assert_eq!((held(&rows, 1), held(&rows, 2)), (512, 512));
    let to = SessionId(7);
    let refused = apply(&mut rows, UnixMs(3), &Command::MoveSlot { slot, to });
    assert_eq!(refused, Response::Refused(Refusal::NoSession));
}

#[test]
fn who_misses_a_group_that_others_reach_is_unfit() {
    for (missed, expected) in [
        (vec![vec![], vec![1], vec![]], vec![1]),
        (vec![vec![1], vec![1]], vec![]),
        (vec![vec![1, 2], vec![1]], vec![0]),
        (vec![vec![1], vec![2]], vec![0, 1]),
        (vec![vec![1]], vec![]),
        (vec![], vec![]),
    ] {
        let missed_by = (0..).map(SessionId).zip(
            missed
                .iter()
                .map(|groups| groups.iter().copied().map(GroupId).collect()),
        );
        let found = unfit(&missed_by.collect());
        let expected: BTreeSet<SessionId> = expected.into_iter().map(SessionId).collect();
        assert_eq!(found, expected, "{missed:?}");
    }
}

fn lend(rows: &mut MemoryRows, session: u64, node: &str) -> Response {
    let open = Command::OpenEgress {
        session: SessionId(session),
        node: node.into(),
        order: session,
    };
    apply(rows, UnixMs(1), &open)
}

#[test]
fn a_node_that_only_lends_its_ips_gets_no_slot_whoever_is_there() {
    let mut rows = MemoryRows::default();
    assert_eq!(lend(&mut rows, 7, "egress"), Response::Done);
    assert!(assignments(&rows).is_empty(), "nobody may have them");
    open(&mut rows, 1, "a");
    open(&mut rows, 2, "b");
    release(&mut rows, 1);
    assert_eq!(
        (held(&rows, 1), held(&rows, 2), held(&rows, 7)),
        (512, 512, 0)
    );
    let to_it = Command::MoveSlot {
        slot: Slot(1),
        to: SessionId(7),
    };
    assert_eq!(
        apply(&mut rows, UnixMs(1), &to_it),
        Response::Refused(Refusal::NoSession)
    );
    let fit = Command::SetFit {
        session: SessionId(7),
        fit: true,
    };
    apply(&mut rows, UnixMs(1), &fit);
    for session in [1, 2] {
        apply(
            &mut rows,
            UnixMs(1),
            &Command::CloseSession(SessionId(session)),
        );
    }
    assert_eq!(held(&rows, 7), 0, "rather nobody");
    // It follows itself, and a sender's row is as it was before there were such nodes.
    assert_eq!(lend(&mut rows, 8, "egress"), Response::Done);
    open(&mut rows, 3, "a");
    let kinds: Vec<_> = sessions(&rows)
        .into_iter()
        .map(|(id, row)| (id.0, row.lends_only))
        .collect();
    assert_eq!(kinds, [(3, None), (8, Some(true))]);
    let row = session(&rows, SessionId(3)).expect("it is open");
    assert_eq!(
        crate::codec::encode(&row)[0],
        0x85,
        "five fields, as older versions write"
    );
}

#[test]
fn what_an_egress_node_reaches_says_nothing_of_senders() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 1, "a");
    lend(&mut rows, 7, "egress");
    let mut leases = Leases::default();
    let at = |seconds| crate::DurationMs::from_secs(seconds);
    let missed = BTreeSet::from([GroupId(1)]);
    for seconds in [0, 6] {
        assert!(leases.heard_from(at(seconds), 1, SessionId(1), Some(missed.clone())));
        assert!(leases.heard_from(at(seconds), 1, SessionId(7), Some(BTreeSet::new())));
    }
    assert_eq!(leases.due(at(6), 1, &rows), []);
    assert_eq!(
        leases.due(at(30), 1, &rows).len(),
        2,
        "both are ended when nothing is heard of them"
    );
}
