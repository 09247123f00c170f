#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Command, Part, Response, apply};
use super::*;
use crate::id::{Epoch, Slot, mix};
use crate::lease::{GRACE, LEASE};
use crate::rows::MemoryRows;
use crate::throttle::{
    Before, Rate, Said, ShareAnswer, ShareReport, SharedLimit, TokenLeaseReport,
};
use crate::time::UnixMs;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);

struct Group {
    rows: MemoryRows,
    numbers: BTreeMap<SessionId, u64>,
}

fn s(seconds: u64) -> LimitMs {
    LimitMs(1_000_000 + seconds * 1000)
}

fn group(sessions: u64) -> Group {
    let mut rows = MemoryRows::default();
    for id in 1..=sessions {
        let open = Command::OpenSession {
            session: SessionId(id),
            sender: format!("s{id}"),
            order: 1,
        };
        apply(&mut rows, UnixMs(s(0).0), &open);
    }
    Group {
        rows,
        numbers: BTreeMap::new(),
    }
}

fn tenant(name: &str) -> LimitId {
    LimitId {
        scope: Scope::Tenant,
        key: name.into(),
        counts: Counted::Connections,
        nth: 0,
    }
}

fn of_site(site: &str) -> LimitId {
    LimitId {
        scope: Scope::Site,
        ..tenant(site)
    }
}

fn share(id: &LimitId, limit: SharedLimit, seen: u64, counted: u64, wants: u64) -> LimitReport {
    LimitReport {
        id: id.clone(),
        limit,
        policy: 1,
        said: Said::Share(ShareReport {
            seen,
            counted,
            wants,
        }),
        is_last: false,
        is_by_owner: id.site().is_some(),
        before: Before::default(),
    }
}

fn last(id: &LimitId, limit: SharedLimit) -> LimitReport {
    LimitReport {
        is_last: true,
        ..share(id, limit, 0, 0, 0)
    }
}

fn per(count: u64, seconds: u64) -> SharedLimit {
    SharedLimit::Rate(Rate::new(count, DurationMs::from_secs(seconds), None).unwrap())
}

impl Group {
    fn told(
        &mut self,
        session: SessionId,
        shared: u64,
        reports: Vec<LimitReport>,
    ) -> SessionReports {
        let number = self.numbers.entry(session).or_default();
        *number += 1;
        SessionReports {
            session,
            number: *number,
            shared,
            reports,
            alone: Vec::new(),
        }
    }

    fn commit(&mut self, at: LimitMs, told: Vec<SessionReports>) -> Vec<SessionAnswers> {
        let command = Command::ReportLimits { at, told };
        // The group's own time is a wall clock's, which jumps.
        match apply(&mut self.rows, UnixMs(7), &command) {
            Response::Limits(answers) => answers,
            other => panic!("{other:?}"),
        }
    }

    /// What one report of a session that knows all shared sites is answered.
    fn tell(&mut self, at: LimitMs, session: SessionId, report: LimitReport) -> LimitAnswer {
        let shared = shared_version(&self.rows);
        let told = self.told(session, shared, vec![report]);
        self.commit(at, vec![told])[0].answers[0]
    }

    fn end(&mut self, session: SessionId) {
        apply(&mut self.rows, UnixMs(8), &Command::CloseSession(session));
    }

    fn tend(&mut self, at: LimitMs) {
        let limits = due(&self.rows, at);
        apply(
            &mut self.rows,
            UnixMs(9),
            &Command::TendLimits { at, limits },
        );
    }

    /// Another group of rows of the limits' own, as it was in the beginning.
    fn is_empty(&self) -> bool {
        let rest = [LIMIT, HEARD, SHARED];
        let mut keys = self.rows.0.keys();
        !keys.any(|key| rest.iter().any(|tag| key.starts_with(tag)))
    }
}

fn may(answer: LimitAnswer) -> u64 {
    match answer {
        LimitAnswer::Share(answer) => answer.may,
        other => panic!("{other:?}"),
    }
}

const TWO: SharedLimit = SharedLimit::Connections(2);

#[test]
fn one_command_takes_the_reports_of_several_sessions_and_answers_each() {
    let mut group = group(2);
    let (acme, other) = (tenant("acme"), tenant("other"));
    let of_a = group.told(
        A,
        0,
        vec![share(&acme, TWO, 0, 0, 2), share(&other, TWO, 0, 0, 1)],
    );
    let of_b = group.told(B, 0, vec![share(&acme, TWO, 0, 0, 1)]);
    let gone = group.told(SessionId(77), 0, vec![share(&acme, TWO, 0, 0, 1)]);
    let repeated = of_a.clone();
    let answers = group.commit(s(1), vec![of_a, of_b, gone, repeated]);
    let share = |may, version| LimitAnswer::Share(ShareAnswer { may, version });
    let told = |is_alive, answers: &[LimitAnswer]| SessionAnswers {
        is_alive,
        answers: answers.to_vec(),
    };
    assert_eq!(
        answers,
        [
            told(true, &[share(2, 1), share(1, 1)]),
            told(true, &[share(0, 0)]),
            told(false, &[]),
            told(true, &[]),
        ]
    );
    let names: Vec<String> = limits(&group.rows, None, 9)
        .iter()
        .map(|(id, _)| id.key.to_string())
        .collect();
    assert_eq!(names, ["acme", "other"]);
    let after: Vec<LimitId> = limits(&group.rows, Some(&acme), 9)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(after, [other]);
    let part = |session, may, held, wants| Part {
        session,
        may,
        held,
        wants,
    };
    let row = limit(&group.rows, &acme).unwrap();
    // The first contention begins a turn.
    assert_eq!(row.parts(), [part(A, 2, 2, 2), part(B, 0, 0, 1)]);
    assert_eq!((row.limit(), row.used(s(1))), (TWO, 2));
}

#[test]
fn what_a_session_had_that_ended_counts_for_a_window_from_when_that_is_noticed() {
    let mut group = group(2);
    let (acme, rate) = (tenant("acme"), per(5, 8));
    assert_eq!(may(group.tell(s(1), A, share(&acme, rate, 0, 0, 5))), 5);
    group.end(A);
    let refused = group.told(A, 0, vec![share(&acme, rate, 1, 0, 5)]);
    assert!(!group.commit(s(2), vec![refused])[0].is_alive);
    assert_eq!(may(group.tell(s(3), B, share(&acme, rate, 0, 0, 5))), 0);
    assert_eq!(may(group.tell(s(10), B, share(&acme, rate, 0, 0, 5))), 0);
    assert_eq!(may(group.tell(s(12), B, share(&acme, rate, 0, 0, 5))), 5);
}

#[test]
fn a_limit_that_nobody_counts_is_forgotten_and_its_versions_go_on() {
    let mut group = group(2);
    let (acme, rate) = (tenant("acme"), per(5, 8));
    assert_eq!(may(group.tell(s(1), A, share(&acme, rate, 0, 0, 5))), 5);
    assert_eq!(group.tell(s(2), A, last(&acme, rate)), LimitAnswer::Closed);
    assert_eq!(limits(&group.rows, None, 9), []);
    let again = group.tell(s(3), A, share(&acme, rate, 0, 0, 5));
    assert_eq!(
        again,
        LimitAnswer::Share(ShareAnswer { may: 5, version: 2 })
    );
    group.end(A);
    assert!(is_used(&group.rows));
    group.tend(s(4));
    group.tend(s(11));
    assert_eq!(
        limits(&group.rows, None, 9).len(),
        1,
        "the window is not over"
    );
    group.tend(s(13));
    assert!(group.is_empty() && !is_used(&group.rows));
    // Said twice, because the first answer was lost.
    assert_eq!(group.tell(s(13), B, last(&acme, rate)), LimitAnswer::Closed);
}

#[test]
fn tokens_of_long_windows_are_granted_and_given_back() {
    let mut group = group(1);
    let (acme, rate) = (tenant("acme"), per(32, 60));
    let token_lease = |ended, unused, seen, wants, is_last| LimitReport {
        said: Said::TokenLease(TokenLeaseReport {
            token_lease: 1,
            ended,
            returned: 0,
            unused,
            seen,
            wants,
        }),
        is_last,
        ..share(&acme, rate, 0, 0, 0)
    };
    let LimitAnswer::TokenLease(answer) = group.tell(s(1), A, token_lease(0, 0, 0, 9, false))
    else {
        panic!("it is a token lease");
    };
    assert_eq!(answer.granted, 2);
    assert_eq!(
        group.tell(s(2), A, token_lease(1, 1, 2, 0, true)),
        LimitAnswer::Closed
    );
    let row = limit(&group.rows, &acme).unwrap();
    assert_eq!(
        (row.used(s(2)), row.parts()),
        (1, vec![]),
        "the other one was not used"
    );
    let wrong = share(&acme, rate, 0, 0, 5);
    assert!(check(&wrong).is_err());
    assert_eq!(group.tell(s(3), A, wrong), LimitAnswer::Later);
    group.tend(s(70));
    assert_eq!(limits(&group.rows, None, 9), []);
}

#[test]
fn the_latest_policy_says_how_much_there_is() {
    let mut group = group(2);
    let acme = tenant("acme");
    let by = |policy, limit, wants| LimitReport {
        policy,
        ..share(&acme, limit, 0, 0, wants)
    };
    assert_eq!(
        may(group.tell(s(1), A, by(5, SharedLimit::Connections(4), 2))),
        2
    );
    let old = by(4, SharedLimit::Connections(9), 9);
    assert_eq!(may(group.tell(s(1), B, old)), 2, "of four");
    assert_eq!(
        may(group.tell(s(2), B, by(6, SharedLimit::Connections(6), 9))),
        4
    );

    let rate = LimitId {
        counts: Counted::Messages,
        ..acme
    };
    let by = |policy, limit| LimitReport {
        policy,
        ..share(&rate, limit, 0, 0, 9)
    };
    assert_eq!(may(group.tell(s(3), A, by(6, per(3, 1)))), 3);
    let another = group.tell(s(3), B, by(7, per(9, 5)));
    assert_eq!(may(another), 0, "another window begins as used up");
    assert_eq!(group.tell(s(4), A, by(6, per(3, 1))), LimitAnswer::Later);
    let known = s(3) + LEASE + GRACE;
    assert_eq!(may(group.tell(known, A, by(7, per(9, 5)))), 0);
    let over = known + DurationMs(5002);
    assert!(may(group.tell(over, A, by(7, per(9, 5)))) > 0);
}

#[test]
fn limits_are_bounded_and_the_rest_is_refused() {
    let mut group = group(1);
    let head = Head {
        limits: LIMITS_MAX - 1,
        ..Head::default()
    };
    group.rows.put(HEAD.to_vec(), codec::encode(&head));
    let (first, second) = (tenant("first"), tenant("second"));
    assert_eq!(may(group.tell(s(1), A, share(&first, TWO, 0, 0, 1))), 1);
    let refused = group.tell(s(1), A, share(&second, TWO, 0, 0, 1));
    assert_eq!(refused, LimitAnswer::Full);
    assert_eq!(group.tell(s(1), A, last(&first, TWO)), LimitAnswer::Closed);
    assert_eq!(may(group.tell(s(1), A, share(&second, TWO, 0, 0, 1))), 1);
}

#[test]
fn a_report_that_changes_nothing_is_answered_without_a_command() {
    let mut group = group(2);
    let acme = tenant("acme");
    let first = group.told(A, 0, vec![share(&acme, TWO, 0, 0, 2)]);
    assert_eq!(answer(&group.rows, s(1), &first), None);
    let answers = group.commit(s(1), vec![first]);
    let same = group.told(A, 0, vec![share(&acme, TWO, 1, 1, 2)]);
    assert_eq!(answer(&group.rows, s(2), &same), Some(answers[0].clone()));
    let waits = group.told(B, 0, vec![share(&acme, TWO, 0, 0, 1)]);
    assert_eq!(answer(&group.rows, s(2), &waits), None);
    let ends = group.told(B, 0, vec![last(&acme, TWO)]);
    assert_eq!(answer(&group.rows, s(2), &ends), None, "its number is kept");
}

/// The owner of a site's slot, and another session.
fn owner_and_other(group: &Group, site: &str) -> (SessionId, SessionId) {
    let assigned = super::super::assignments(&group.rows);
    let owner = assigned[&Slot::of(site, 0)].session;
    (owner, if owner == A { B } else { A })
}

#[test]
fn the_owner_of_a_site_says_what_it_uses_before_others_get_a_part() {
    let mut group = group(2);
    let big = of_site("big");
    let three = SharedLimit::Connections(3);
    let (owner, other) = owner_and_other(&group, "big");
    let wants = share(&big, three, 0, 0, 3);
    let asked = group.told(other, 0, vec![wants.clone()]);
    assert_eq!(
        group.commit(s(1), vec![asked])[0].answers,
        [LimitAnswer::Later]
    );
    assert_eq!(
        shared_sites(&group.rows),
        BTreeSet::from(["big".to_owned()])
    );
    assert_eq!(group.tell(s(2), other, wants.clone()), LimitAnswer::Later);
    // The owner reports of something else, and does not know yet.
    let unaware = group.told(owner, 0, vec![share(&tenant("acme"), TWO, 0, 0, 1)]);
    group.commit(s(2), vec![unaware]);
    assert_eq!(group.tell(s(2), other, wants.clone()), LimitAnswer::Later);
    let aware = group.told(owner, 1, vec![share(&big, three, 0, 2, 2)]);
    assert_eq!(may(group.commit(s(3), vec![aware])[0].answers[0]), 2);
    assert_eq!(may(group.tell(s(3), other, wants)), 1);

    for session in [owner, other] {
        group.tell(s(4), session, last(&big, three));
    }
    group.tend(s(5));
    assert_eq!(
        shared_sites(&group.rows).len(),
        1,
        "it may be used again soon"
    );
    group.tend(s(64));
    assert!(shared_sites(&group.rows).is_empty());
    assert_eq!(shared_version(&group.rows), 2);
}

#[test]
fn an_owner_that_ended_may_have_used_all_of_it() {
    let mut group = group(3);
    let id = LimitId {
        counts: Counted::Messages,
        ..of_site("big")
    };
    let rate = per(5, 8);
    let owner = super::super::assignments(&group.rows)[&Slot::of("big", 0)].session;
    let other = if owner == A { B } else { A };
    let asks = share(&id, rate, 0, 0, 5);
    assert_eq!(group.tell(s(1), other, asks.clone()), LimitAnswer::Later);
    group.end(owner);
    assert_eq!(may(group.tell(s(2), other, asks.clone())), 0);
    assert_eq!(may(group.tell(s(9), other, asks.clone())), 0);
    assert_eq!(may(group.tell(s(11), other, asks)), 5);
}

#[test]
fn what_owners_before_the_last_one_used_counts_for_as_long_as_it_may() {
    let id = LimitId {
        counts: Counted::Messages,
        ..of_site("big")
    };
    let rate = per(5, 8);
    // What the owner says, and what is free for another at once and 6 s later.
    let cases = [
        (None, (0, 0)),
        (Some((1, None)), (5, 5)),
        (Some((1, Some(9_000))), (5, 5)),
        (Some((1, Some(3_000))), (0, 5)),
        // It does not know yet that another had the slot meanwhile.
        (Some((0, None)), (0, 0)),
    ];
    for (said, free) in cases {
        let mut group = group(2);
        let (owner, other) = owner_and_other(&group, "big");
        let asks = share(&id, rate, 0, 0, 5);
        group.tell(s(100), other, asks.clone());
        let aware = group.told(owner, 1, Vec::new());
        let alone = said.map(|(epoch, others_gone)| KeptAlone {
            site: "big".into(),
            epoch: Epoch(epoch),
            others_gone: others_gone.map(DurationMs),
        });
        let alone = alone.into_iter().collect();
        group.commit(s(101), vec![SessionReports { alone, ..aware }]);
        let at_once = may(group.tell(s(102), other, asks.clone()));
        let later = may(group.tell(s(108), other, asks));
        assert_eq!((at_once, later), free, "{said:?}");
    }
}

#[test]
fn rows_and_commands_are_read_as_they_were_written() {
    let id = LimitId {
        scope: Scope::IpSite,
        key: "a1 big".into(),
        counts: Counted::ConnectionAttempts,
        nth: 3,
    };
    assert_eq!(limit_of(&limit_key(&id)), Some(id.clone()));
    assert_eq!(id.site(), Some("big"));
    let command = Command::ReportLimits {
        at: s(1),
        told: vec![SessionReports {
            session: A,
            number: 3,
            shared: 4,
            reports: vec![share(&id, per(3, 60), 1, 2, 3)],
            alone: vec![KeptAlone {
                site: "big".into(),
                epoch: Epoch(2),
                others_gone: Some(DurationMs(5)),
            }],
        }],
    };
    assert_eq!(
        codec::decode::<Command>(&codec::encode(&command)).unwrap(),
        command
    );
}

proptest! {
    /// Whatever sessions say and whenever they end, no more counts than there is, and in the end nothing is left.
    #[test]
    fn no_limit_is_given_away_twice(seed: u64, steps in 20u64..200) {
        let mut group = group(5);
        let mut draws = (0u64..).map(|n| mix(seed ^ mix(n)));
        let mut draw = |below: u64| draws.next().unwrap() % below;
        let all = [
            (tenant("acme"), SharedLimit::Connections(3)),
            (LimitId { counts: Counted::Messages, ..tenant("acme") }, per(7, 3)),
            (of_site("big"), SharedLimit::Connections(2)),
            (LimitId { counts: Counted::Messages, ..of_site("big") }, per(5, 2)),
        ];
        let mut at = s(0);
        for _ in 0..steps {
            at = at + DurationMs(draw(1500));
            let session = SessionId(1 + draw(5));
            match draw(12) {
                0 => group.end(session),
                1 => group.tend(at),
                _ => {
                    let mut reports = Vec::new();
                    for (id, limit) in &all {
                        match draw(8) {
                            0 => reports.push(last(id, *limit)),
                            n if n < 6 => reports.push(share(id, *limit, draw(6), draw(4), draw(9))),
                            _ => {}
                        }
                    }
                    let shared = draw(3);
                    let told = group.told(session, shared, reports);
                    let trial = answer(&group.rows, at, &told);
                    let answers = group.commit(at, vec![told]);
                    if let Some(trial) = trial {
                        prop_assert_eq!(&trial, &answers[0]);
                    }
                }
            }
            let rows = limits(&group.rows, None, 99);
            prop_assert_eq!(head(&group.rows).limits, rows.len() as u64);
            for (id, row) in rows {
                // An owner may have had more before it said so.
                if id.site().is_none() {
                    prop_assert!(row.used(at) <= row.limit().count());
                }
            }
        }
        for id in 1..=5 {
            group.end(SessionId(id));
        }
        for _ in 0..3 {
            at = at + DurationMs(61_000);
            group.tend(at);
        }
        prop_assert!(group.is_empty());
    }
}
