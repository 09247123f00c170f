//! Whatever happens to a message, every recipient ends once.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dispense::Dispenser;
use crate::event::AttemptFacts;
use crate::mail::{BodyRef, BodyType};
use crate::rows::MemoryRows;
use crate::{
    Domain, DurationMs, Envelope, Epoch, GroupId, MessageId, NodeId, Notify, Recipient, Reply,
};
use crate::{Priority, QueueId, SessionId, Slot, TaskId, UnixMs};

pub(crate) const OWNER: SessionId = SessionId(1);

pub(crate) fn envelope() -> Envelope {
    Envelope {
        return_path: "a@b.test".into(),
        body_type: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        ret: None,
        envid: None,
        tenant: "default".into(),
        pool: "default".into(),
        client: None,
        traceparent: None,
        campaign: None,
        tls_optional: false,
        priority: Priority::default(),
    }
}

pub(crate) fn accept(n: u64, recipients: usize) -> Accept {
    let all = (0..recipients).map(|r| {
        let address = format!("u{r}@d{}.test", r % 3);
        (
            Domain::new(&format!("d{}.test", r % 3)),
            Recipient {
                address,
                notify: Notify::default(),
                orcpt: None,
            },
        )
    });
    Accept {
        id: MessageId::new(UnixMs(n), GroupId(1), n),
        envelope: envelope(),
        body: BodyRef {
            bytes: 10,
            crc32c: 0,
            acks: vec![NodeId(1)],
            prefix_bytes: None,
        },
        tasks: NewTask::plan(all, 2, &BTreeMap::new(), |site| Slot::of(site, 0)),
        about: None,
    }
}

pub(crate) fn report(
    rows: &MemoryRows,
    task: TaskId,
    session: SessionId,
    verdicts: &[Verdict],
) -> Option<Report> {
    let row = query::task(rows, task)?;
    let outcomes = row.recipients.iter().zip(verdicts.iter().cycle());
    Some(Report {
        task,
        session,
        epoch: Epoch(1),
        facts: AttemptFacts {
            number: row.attempts + 1,
            queue: row.queue(&envelope()).id,
            domain: row.domain.clone(),
            site: String::new(),
            source: None,
            peer: None,
            tls: None,
            duration: DurationMs(1),
        },
        outcomes: outcomes
            .map(|((recipient, _), verdict)| Outcome {
                recipient: *recipient,
                verdict: *verdict,
                reply: Reply::ours((2, 0, 0), "x"),
            })
            .collect(),
        retry_after: DurationMs(1000),
        dsn: None,
        delay_notified: false,
        away_for: None,
    })
}

pub(crate) fn open_all(rows: &mut MemoryRows) {
    let slots = Slot::all().map(|slot| (slot, Epoch(1))).collect();
    apply(
        rows,
        UnixMs(0),
        &Command::OpenSlots(OpenSlots {
            session: OWNER,
            slots,
        }),
    );
}

#[derive(Debug, Clone)]
enum Step {
    Accept(u64, usize),
    Report {
        verdicts: Vec<Verdict>,
        owner: bool,
        again: bool,
    },
    Delete(u64),
    Wait(u64),
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![
        Verdict::Delivered,
        Verdict::Deferred,
        Verdict::Failed,
        Verdict::Expired,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u64, 1..8usize).prop_map(|(n, recipients)| Step::Accept(n, recipients)),
        (
            prop::collection::vec(verdict(), 1..4),
            prop::bool::weighted(0.8),
            any::<bool>()
        )
            .prop_map(|(verdicts, owner, again)| Step::Report {
                verdicts,
                owner,
                again
            }),
        (0..6u64).prop_map(Step::Delete),
        (0..3000u64).prop_map(Step::Wait),
    ]
}

/// What is held of counted messages, from their tasks.
fn held(rows: &MemoryRows, accepted: &BTreeSet<OfMessage>) -> HeldRow {
    let messages: BTreeSet<MessageId> = accepted.iter().map(|(message, _)| *message).collect();
    let open = messages.into_iter().map(|message| {
        let row = query::message(rows, message).unwrap();
        let tasks = query::tasks_of(rows, message);
        let recipients = tasks.iter().map(|(_, task)| task.recipients.len() as u64);
        let (recipients, is_open) = (recipients.sum(), row.open_tasks > 0);
        match row.is_counted {
            Some(true) if is_open => HeldRow {
                recipients,
                bytes: row.body.bytes,
            },
            _ => HeldRow::default(),
        }
    });
    open.fold(HeldRow::default(), HeldRow::plus)
}

type OfMessage = (MessageId, String);

/// Terminal events by message and recipient, and the recipients that were accepted.
fn ends(rows: &MemoryRows) -> (BTreeMap<OfMessage, u32>, BTreeSet<OfMessage>) {
    let (mut ended, mut accepted) = (BTreeMap::new(), BTreeSet::new());
    for event in query::events(rows, 0, usize::MAX) {
        use crate::event::EventKind as Kind;
        let terminal = event.kind.is_terminal();
        match event.kind {
            Kind::Accepted { recipients, .. } => {
                accepted.extend(recipients.into_iter().map(|r| (event.message, r)))
            }
            Kind::Delivered { recipient, .. }
            | Kind::Deferred { recipient, .. }
            | Kind::Bounced { recipient, .. }
            | Kind::Expired { recipient, .. }
            | Kind::Deleted { recipient, .. } => {
                *ended.entry((event.message, recipient)).or_default() += u32::from(terminal);
            }
            Kind::OutOfBandBounce { .. } | Kind::Complained { .. } => {}
        }
    }
    (ended, accepted)
}

/// All that goes out when what went out before has ended.
pub fn all(dispenser: &mut Dispenser, rows: &MemoryRows, now: UnixMs) -> BTreeSet<TaskId> {
    let mut found = BTreeSet::new();
    loop {
        let taken = dispenser.take(rows, now, OWNER, |_| true, 1000, usize::MAX);
        if taken.is_empty() {
            return found;
        }
        for task in taken {
            let queue = QueueId(0);
            dispenser.on_effect(&Effect::Ended { queue, task });
            found.insert(task);
        }
    }
}

proptest! {
    #[test]
    fn every_recipient_is_open_or_ended_exactly_once(
        steps in prop::collection::vec(step(), 0..60),
        counts_from in 0..30usize,
    ) {
        let mut rows = MemoryRows::default();
        let mut dispenser = Dispenser::default();
        let mut now = UnixMs(1);
        open_all(&mut rows);
        for (nth, step) in steps.into_iter().enumerate() {
            let mut commands = Vec::new();
            if nth == counts_from {
                commands.push(Command::CountHeld);
            }
            match step {
                Step::Accept(n, recipients) => commands.push(Command::Accept(Box::new(accept(n, recipients)))),
                Step::Delete(n) => {
                    let message = MessageId::new(UnixMs(n), GroupId(1), n);
                    commands.push(Command::Delete { message, by: "test".into() });
                }
                Step::Wait(ms) => now = UnixMs(now.0 + ms),
                Step::Report { verdicts, owner, again } => {
                    for task in dispenser.take(&rows, now, OWNER, |_| true, 3, usize::MAX) {
                        let session = if owner { OWNER } else { SessionId(2) };
                        if let Some(report) = report(&rows, task, session, &verdicts) {
                            let command = Command::Report(Box::new(report));
                            commands.extend(std::iter::repeat_n(command, 1 + usize::from(again)));
                        }
                        if !owner {
                            dispenser.give_back(OWNER, task);
                        }
                    }
                }
            }
            for command in commands {
                let applied = apply(&mut rows, now, &command);
                applied.effects.iter().for_each(|effect| dispenser.on_effect(effect));
            }
        }
        let (ended, accepted) = ends(&rows);
        let mut open = BTreeSet::new();
        for (message, _) in &accepted {
            for (task, row) in query::tasks_of(&rows, *message) {
                open.extend(row.recipients.iter().map(|(_, r)| (task.message, r.address.clone())));
            }
        }
        for recipient in &accepted {
            let times = ended.get(recipient).copied().unwrap_or(0);
            prop_assert_eq!(times + u32::from(open.contains(recipient)), 1, "{:?}", recipient);
        }
        let state = query::state(&rows);
        let queued: u64 = query::queues(&rows, None, 1000).iter().map(|(_, row)| row.tasks).sum();
        prop_assert_eq!(state.open_tasks, queued);
        let mut counted = Vec::new();
        each_held(&rows, |tenant, held| counted.push((tenant, held)));
        let expected = held(&rows, &accepted);
        let expected = (expected != HeldRow::default()).then(|| ("default".to_owned(), expected));
        prop_assert_eq!(counted, Vec::from_iter(expected));
        // Nothing is stuck: once all is due, a fresh dispenser and the one that lived through it find the same.
        dispenser.session_gone(OWNER);
        let later = UnixMs(now.0 + 1_000_000);
        let mut fresh = Dispenser::load(&rows, BTreeSet::new());
        let found = all(&mut fresh, &rows, later);
        prop_assert_eq!(found.len() as u64, state.open_tasks);
        prop_assert_eq!(all(&mut dispenser, &rows, later), found);
    }
}

#[test]
fn late_facts_count_and_late_actions_do_not() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let message = accept(1, 1);
    apply(
        &mut rows,
        UnixMs(5),
        &Command::Accept(Box::new(message.clone())),
    );
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    let deferred = report(&rows, task, SessionId(9), &[Verdict::Deferred]).unwrap();
    let refused = apply(&mut rows, UnixMs(6), &Command::Report(Box::new(deferred))).response;
    assert_eq!(refused, Response::Refused(Refusal::StaleEpoch));
    let delivered = report(&rows, task, SessionId(9), &[Verdict::Delivered]).unwrap();
    let taken = apply(&mut rows, UnixMs(7), &Command::Report(Box::new(delivered)));
    assert_eq!(taken.response, Response::Done);
    assert!(taken.effects.contains(&Effect::BodyFree {
        message: message.id
    }));
    assert!(query::task(&rows, task).is_none());
}

#[test]
fn a_task_that_an_earlier_owner_delivered_is_out_at_nobody() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let message = accept(1, 1);
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let mut dispenser = Dispenser::load(&rows, BTreeSet::new());
    let taken = dispenser.take(&rows, UnixMs(9), OWNER, |_| true, 10, usize::MAX);
    assert_eq!((taken, dispenser.in_flight()), (vec![task], 1));

    let told = report(&rows, task, SessionId::NONE, &[Verdict::Delivered]).unwrap();
    let applied = apply(
        &mut rows,
        UnixMs(9),
        &Command::Report(Box::new(told.clone())),
    );
    for effect in &applied.effects {
        dispenser.on_effect(effect);
    }
    assert_eq!(dispenser.in_flight(), 0);
    dispenser.give_back(OWNER, task);
    dispenser.session_gone(OWNER);
    assert_eq!(
        dispenser.take(&rows, UnixMs(9), OWNER, |_| true, 10, usize::MAX),
        []
    );
    let own = Report {
        session: OWNER,
        ..told
    };
    let again = apply(&mut rows, UnixMs(9), &Command::Report(Box::new(own)));
    assert_eq!(
        again.response,
        Response::Done,
        "the owner's own result is no error"
    );
}

#[test]
fn nobodys_report_ends_recipients_and_defers_none() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let message = accept(1, 4);
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let before = query::task(&rows, task).unwrap();
    assert_eq!(before.recipients.len(), 2);
    let verdicts = [Verdict::Delivered, Verdict::Deferred];
    let told = report(&rows, task, SessionId::NONE, &verdicts).unwrap();
    apply(&mut rows, UnixMs(9), &Command::Report(Box::new(told)));
    let after = query::task(&rows, task).unwrap();
    assert_eq!(after.recipients, before.recipients[1..]);
    assert_eq!((after.attempts, after.due), (before.attempts, before.due));
}

#[test]
fn a_new_leader_waits_for_those_who_may_hold_tasks() {
    let mut rows = MemoryRows::default();
    let ids: Vec<TaskId> = (1..=3)
        .map(|n| {
            let message = accept(n, 1);
            let task = TaskId {
                message: message.id,
                number: 0,
            };
            apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
            task
        })
        .collect();
    let (back, gone) = (SessionId(1), SessionId(2));
    let mut dispenser = Dispenser::load(&rows, BTreeSet::from([back, gone]));
    let take = |dispenser: &mut Dispenser| {
        dispenser.take(&rows, UnixMs(9), gone, |_| true, 10, usize::MAX)
    };
    assert_eq!(take(&mut dispenser), []);
    dispenser.session_back(&rows, back, &[(ids[1], 0)].into(), |_| true);
    assert_eq!(take(&mut dispenser), [], "one may still come back");
    dispenser.session_gone(gone);
    assert_eq!(take(&mut dispenser), [ids[0], ids[2]]);
    dispenser.give_back(back, ids[0]);
    assert_eq!(take(&mut dispenser), [], "it is out at another session");
    dispenser.give_back(gone, ids[0]);
    dispenser.give_back(back, ids[1]);
    assert_eq!(take(&mut dispenser), [ids[0], ids[1]]);
}

#[test]
fn an_attempt_that_was_recorded_is_not_held_any_more() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let message = accept(1, 1);
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let deferred = report(&rows, task, OWNER, &[Verdict::Deferred]).unwrap();
    apply(&mut rows, UnixMs(6), &Command::Report(Box::new(deferred)));
    // The answer was lost: the sender comes back with the attempt, to another leader.
    let mut dispenser = Dispenser::load(&rows, BTreeSet::from([OWNER]));
    dispenser.session_back(&rows, OWNER, &[(task, 0)].into(), |_| true);
    let due = UnixMs(6 + 1000);
    let taken = dispenser.take(&rows, due, OWNER, |_| true, 10, usize::MAX);
    assert_eq!(taken, [task], "the next attempt waits for nobody");
    let mut dispenser = Dispenser::load(&rows, BTreeSet::from([OWNER]));
    dispenser.session_back(&rows, OWNER, &[(task, 1)].into(), |_| true);
    assert_eq!(
        dispenser.take(&rows, due, OWNER, |_| true, 10, usize::MAX),
        []
    );
}

#[test]
fn a_fact_from_an_old_owner_leaves_the_rest_of_its_attempt_uncounted() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let mut message = accept(1, 1);
    let recipient = message.tasks[0].recipients[0].clone();
    message.tasks[0].recipients.push(recipient);
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let late = [Verdict::Delivered, Verdict::Deferred];
    let late = report(&rows, task, SessionId(9), &late).unwrap();
    let applied = apply(&mut rows, UnixMs(6), &Command::Report(Box::new(late)));
    assert_eq!(applied.response, Response::Done);
    assert!(query::is_before_attempt(&rows, task, 1));
    let deferred = report(&rows, task, OWNER, &[Verdict::Deferred]).unwrap();
    apply(&mut rows, UnixMs(7), &Command::Report(Box::new(deferred)));
    assert!(!query::is_before_attempt(&rows, task, 1));
}

#[test]
fn a_task_stays_with_the_live_session_that_has_it() {
    let mut rows = MemoryRows::default();
    let message = accept(1, 1);
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let (paused, other) = (SessionId(1), SessionId(2));
    for (other_lives, has_it) in [(true, other), (false, paused)] {
        let mut dispenser = Dispenser::load(&rows, BTreeSet::new());
        let take = |dispenser: &mut Dispenser| {
            dispenser.take(&rows, UnixMs(9), other, |_| true, 1, usize::MAX)
        };
        assert_eq!(take(&mut dispenser), [task]);
        dispenser.session_back(&rows, paused, &[(task, 0)].into(), |_| other_lives);
        for session in [paused, other] {
            dispenser.give_back(session, task);
            assert_eq!(take(&mut dispenser).is_empty(), session != has_it);
            if session == has_it {
                break;
            }
        }
    }
}
