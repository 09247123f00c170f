//! What the leader of the meta group heard of each session, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use super::assign::unfit;
use super::command::Command;
use super::state::{session, sessions};
use crate::id::{GroupId, SessionId};
use crate::lease::{GRACE, HEARTBEAT, LEASE};
use crate::rows::ReadRows;
use crate::time::DurationMs;

/// A sender that has reached a spool group for less, or not for longer, keeps the slots that it has or has not: an
/// election takes up to 3 s, and slots do not move for one.
const REACH_LASTS: DurationMs = DurationMs::from_secs(5);

/// Two heartbeats and a little: a sender that was heard since then has not ended, whatever an operator says.
const SURELY_ALIVE: DurationMs = DurationMs(5500);

/// A heartbeat, and what one may take.
const MISSED: DurationMs = DurationMs(HEARTBEAT.0 + 1000);

/// A process that has a session, or wants one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The same for one that follows another in its place.
    pub number: u64,
    /// Where it runs, for people.
    pub place: String,
}

/// Why a session is not ended; with how long nothing was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StillHeld {
    Lives(DurationMs),
    MayLive(DurationMs),
}

/// In the leader's memory only. A new leader gives every session a whole lease.
///
/// `now` is read from a clock that never goes back.
#[derive(Debug, Default)]
pub struct Leases {
    /// The term that `heard` is of.
    term: u64,
    heard: BTreeMap<SessionId, Heard>,
    /// Sessions that this node has decided to end. The command may be committed at any moment, in a later term even, so
    /// none of them is renewed here again.
    ending: BTreeSet<SessionId>,
}

#[derive(Debug, Clone)]
struct Heard {
    at: DurationMs,
    /// Spool groups that the sender does not reach; none before its first heartbeat.
    unreachable: Option<BTreeSet<GroupId>>,
    /// When that changed.
    since: DurationMs,
    process: Option<Process>,
}

impl Heard {
    fn at(now: DurationMs) -> Self {
        Self {
            at: now,
            unreachable: None,
            since: now,
            process: None,
        }
    }
}

impl Leases {
    fn enter(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            self.heard.clear();
        }
    }

    /// Takes a sign of life that a majority has confirmed. False if the session is about to be ended: its sender must
    /// not count on it.
    #[must_use]
    pub fn heard_from(
        &mut self,
        now: DurationMs,
        term: u64,
        session: SessionId,
        unreachable: Option<BTreeSet<GroupId>>,
    ) -> bool {
        self.enter(term);
        if self.ending.contains(&session) {
            return false;
        }
        let heard = self.heard.entry(session).or_insert_with(|| Heard::at(now));
        heard.at = now;
        if unreachable.is_some() && heard.unreachable != unreachable {
            heard.unreachable = unreachable;
            heard.since = now;
        }
        true
    }

    /// When each session was last heard of in this term.
    pub fn heard(&self) -> impl Iterator<Item = (SessionId, DurationMs)> {
        self.heard
            .iter()
            .map(|(session, heard)| (*session, heard.at))
    }

    /// A session says which process has it.
    pub fn is_of(&mut self, session: SessionId, process: Process) {
        if let Some(heard) = self.heard.get_mut(&session) {
            heard.process = Some(process);
        }
    }

    /// The process that has this session, if that is surely alive and another process than the one that asks. Two senders of one name
    /// would take it from each other for ever. One that has been silent for long is dead, or soon will be taken for it.
    pub fn holder(
        &mut self,
        now: DurationMs,
        term: u64,
        session: SessionId,
        number: u64,
    ) -> Option<Process> {
        self.enter(term);
        let heard = self.heard.get(&session)?;
        let is_alive = now.0.saturating_sub(heard.at.0) <= SURELY_ALIVE.0;
        let process = heard.process.as_ref().filter(|_| is_alive)?;
        let are_known = process.number != 0 && number != 0;
        (are_known && process.number != number).then(|| process.clone())
    }

    /// Whether a sender has missed a heartbeat. If it is dead, its slots would wait for another whole lease under a new
    /// leader.
    pub fn is_somebody_silent(&self, now: DurationMs) -> bool {
        let mut heard = self.heard.values();
        heard.any(|heard| now.0.saturating_sub(heard.at.0) > MISSED.0)
    }

    /// Decides to end a session because an operator says that its sender is gone, dead surely or presumably.
    ///
    /// # Errors
    /// It lives, or it may: its lease has not ended, and nobody says that it surely is dead.
    pub fn end(
        &mut self,
        now: DurationMs,
        term: u64,
        session: SessionId,
        is_dead: bool,
    ) -> Result<(), StillHeld> {
        self.enter(term);
        let heard = self.heard.entry(session).or_insert_with(|| Heard::at(now));
        let silent = DurationMs(now.0.saturating_sub(heard.at.0));
        if silent.0 < SURELY_ALIVE.0 {
            return Err(StillHeld::Lives(silent));
        }
        let ended = silent.0 > LEASE.0 + GRACE.0;
        if !is_dead && !ended {
            return Err(StillHeld::MayLive(silent));
        }
        self.ending.insert(session);
        Ok(())
    }

    /// What follows from what was heard in this term, and was not.
    pub fn due(
        &mut self,
        now: DurationMs,
        term: u64,
        rows: &(impl ReadRows + ?Sized),
    ) -> Vec<Command> {
        self.enter(term);
        let live = sessions(rows);
        self.heard.retain(|session, _| live.contains_key(session));
        self.ending.retain(|session| live.contains_key(session));
        let senders = live.iter().filter(|(_, row)| row.is_senders());
        let senders: BTreeSet<SessionId> = senders.map(|(session, _)| *session).collect();
        let mut due = Vec::new();
        for session in live.into_keys() {
            let heard = self.heard.entry(session).or_insert_with(|| Heard::at(now));
            if now.0.saturating_sub(heard.at.0) > LEASE.0 + GRACE.0 {
                self.ending.insert(session);
                due.push(Command::CloseSession(session));
            }
        }
        let lasting: BTreeMap<SessionId, BTreeSet<GroupId>> = self
            .heard
            .iter()
            .filter(|(session, _)| senders.contains(session) && !self.ending.contains(session))
            .filter(|(_, heard)| now.0.saturating_sub(heard.since.0) > REACH_LASTS.0)
            .filter_map(|(session, heard)| Some((*session, heard.unreachable.clone()?)))
            .collect();
        let unfit = unfit(&lasting);
        for session_id in lasting.into_keys() {
            let fit = !unfit.contains(&session_id);
            if session(rows, session_id).is_some_and(|row| row.fit != fit) {
                due.push(Command::SetFit {
                    session: session_id,
                    fit,
                });
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::super::apply;
    use super::*;
    use crate::rows::MemoryRows;
    use crate::time::UnixMs;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn rows() -> MemoryRows {
        let mut rows = MemoryRows::default();
        for (session, sender) in [(A, "a"), (B, "b")] {
            let open = Command::OpenSession {
                session,
                sender: sender.to_owned(),
                order: 1,
            };
            apply(&mut rows, UnixMs(1), &open);
        }
        rows
    }

    fn at(seconds: u64) -> DurationMs {
        DurationMs::from_secs(seconds)
    }

    #[test]
    fn a_silent_session_ends_and_is_not_renewed_while_it_does() {
        let rows = rows();
        let mut leases = Leases::default();
        assert_eq!(leases.due(at(0), 1, &rows), []);
        assert!(!leases.is_somebody_silent(at(3)));
        assert!(leases.heard_from(at(5), 1, A, None));
        assert!(leases.is_somebody_silent(at(5)), "not of B");
        assert_eq!(leases.due(at(11), 1, &rows), []);
        assert_eq!(leases.due(at(12), 1, &rows), [Command::CloseSession(B)]);
        assert!(!leases.heard_from(at(13), 1, B, None), "too late");
        assert!(!leases.heard_from(at(13), 2, B, None), "in no later term");
        assert_eq!(
            leases.due(at(13), 2, &rows),
            [],
            "another leader renewed it"
        );
    }

    #[test]
    fn a_new_leader_gives_every_session_a_whole_lease() {
        let rows = rows();
        let mut leases = Leases::default();
        assert_eq!(leases.due(at(0), 1, &rows), []);
        assert_eq!(leases.due(at(11), 3, &rows), []);
        assert_eq!(leases.due(at(22), 3, &rows), []);
        assert_eq!(leases.due(at(23), 3, &rows).len(), 2);
    }

    #[test]
    fn who_misses_a_group_for_a_while_is_unfit() {
        let rows = rows();
        let mut leases = Leases::default();
        let missed = BTreeSet::from([GroupId(1)]);
        assert!(leases.heard_from(at(0), 1, A, Some(missed.clone())));
        assert!(leases.heard_from(at(0), 1, B, Some(BTreeSet::new())));
        assert_eq!(leases.due(at(5), 1, &rows), []);
        assert!(leases.heard_from(at(6), 1, A, Some(missed)));
        let unfit = Command::SetFit {
            session: A,
            fit: false,
        };
        assert_eq!(leases.due(at(6), 1, &rows), [unfit]);
    }

    #[test]
    fn an_operator_ends_only_a_session_that_cannot_act() {
        use StillHeld::{Lives, MayLive};
        for (silent, is_dead, expected) in [
            (0, true, Err(Lives(DurationMs(0)))),
            (5499, true, Err(Lives(DurationMs(5499)))),
            (7000, false, Err(MayLive(DurationMs(7000)))),
            (7000, true, Ok(())),
            (12_000, false, Ok(())),
        ] {
            let mut leases = Leases::default();
            assert!(leases.heard_from(DurationMs(100), 1, A, None));
            let now = DurationMs(100 + silent);
            let ended = leases.end(now, 1, A, is_dead);
            assert_eq!(ended, expected, "{silent} {is_dead}");
            let is_renewed = leases.heard_from(now, 1, A, None);
            assert_eq!(
                is_renewed,
                ended.is_err(),
                "a session that is being ended is not renewed"
            );
        }
    }
}
