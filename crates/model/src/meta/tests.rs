use super::*;
use crate::id::{Epoch, SessionId, Slot};
use crate::rows::MemoryRows;
use crate::time::UnixMs;

fn open(rows: &mut MemoryRows, session: u64, sender: &str) {
    apply(
        rows,
        UnixMs(1),
        &Command::OpenSession {
            session: SessionId(session),
            sender: sender.into(),
        },
    );
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
