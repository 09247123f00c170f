#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{OWNER, accept, all, open_all, report};
use super::*;
use crate::dispense::Dispenser;
use crate::rows::{MemoryRows, ReadRows};
use crate::{
    Domain, Epoch, Priority, QueueId, SessionId, Slot, TaskId, TraceContext, UnixMs, codec,
};

const SITES: [Option<&str>; 4] = [None, Some("provider"), Some("(a|b).hosts.test"), Some("x")];

fn refile(rows: &MemoryRows, task: TaskId, session: SessionId, site: usize) -> Option<Refile> {
    let row = query::task(rows, task)?;
    let site = SITES[site].map(str::to_owned);
    Some(Refile {
        task,
        session,
        epoch: Epoch(1),
        slot: Slot::of(site.as_deref().unwrap_or(row.domain.as_str()), 0),
        site,
        moves: row.moves,
    })
}

#[derive(Debug, Clone)]
enum Step {
    Accept(u64, usize),
    Refile {
        site: usize,
        is_owner: bool,
        times: usize,
        /// Whether the sender is told, after which the task is anybody's.
        is_told: bool,
    },
    /// All tasks to a pool.
    Move(&'static str),
    Defer,
    GiveBack,
    NewLeader,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let refile = (
        0..SITES.len(),
        prop::bool::weighted(0.8),
        1..3usize,
        any::<bool>(),
    );
    prop_oneof![
        (0..6u64, 1..8usize).prop_map(|(n, recipients)| Step::Accept(n, recipients)),
        refile.prop_map(|(site, is_owner, times, is_told)| Step::Refile {
            site,
            is_owner,
            times,
            is_told
        }),
        prop::sample::select(vec!["default", "slow"]).prop_map(Step::Move),
        Just(Step::Defer),
        Just(Step::GiveBack),
        Just(Step::NewLeader),
        (0..3000u64).prop_map(Step::Wait),
    ]
}

/// The queues in whose order of due times each task stands.
fn places(rows: &MemoryRows) -> BTreeMap<TaskId, Vec<(QueueId, UnixMs)>> {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    ReadRows::scan(rows, b"d", &[], &mut |row_key, _| {
        let queue = QueueId(u64::from_be_bytes(row_key[1..9].try_into().unwrap()));
        let (due, task) = key::read_due(row_key).unwrap();
        places.entry(task).or_default().push((queue, due));
        true
    });
    places
}

fn check(rows: &MemoryRows) -> Result<(), TestCaseError> {
    let places = places(rows);
    let mut counts: BTreeMap<QueueId, u64> = BTreeMap::new();
    for (task, found) in &places {
        let row = query::task(rows, *task).unwrap();
        let message = query::message(rows, task.message).unwrap();
        let queue = row.queue(&message.envelope);
        prop_assert_eq!(found, &[(queue.id, row.due)], "{} is in one queue", task);
        prop_assert!(row.moves <= MOVES_MAX);
        *counts.entry(queue.id).or_default() += 1;
    }
    let queues = query::queues(rows, None, 1000);
    for (id, row) in &queues {
        prop_assert_eq!(row.queue().id, *id);
    }
    let told: BTreeMap<QueueId, u64> = queues.iter().map(|(id, row)| (*id, row.tasks)).collect();
    prop_assert_eq!(counts, told);
    prop_assert_eq!(query::state(rows).open_tasks, places.len() as u64);
    Ok(())
}

proptest! {
    #[test]
    fn a_task_is_in_exactly_one_queue_wherever_it_is_filed(steps in prop::collection::vec(step(), 0..60)) {
        let mut rows = MemoryRows::default();
        let mut dispenser = Dispenser::default();
        let mut now = UnixMs(1);
        let mut held: Vec<TaskId> = Vec::new();
        open_all(&mut rows);
        for step in steps {
            let mut commands = Vec::new();
            let mut back = None;
            let of_ours = |task: Option<TaskId>| task.into_iter();
            match step {
                Step::Accept(n, recipients) => commands.push(Command::Accept(Box::new(accept(n, recipients)))),
                Step::Wait(ms) => now = UnixMs(now.0 + ms),
                Step::NewLeader => {
                    dispenser = Dispenser::load(&rows, BTreeSet::from([OWNER]));
                    let held = held.iter().map(|task| (*task, query::task(&rows, *task).unwrap().attempts));
                    dispenser.session_back(&rows, OWNER, &held.collect(), |_| true);
                }
                Step::Move(pool) => for (queue, _) in query::queues(&rows, None, 1000) {
                    let pool = pool.to_owned();
                    commands.push(Command::MoveTasks { queue, pool });
                },
                Step::GiveBack => back = held.pop(),
                Step::Defer => for task in of_ours(held.pop()) {
                    let report = report(&rows, task, OWNER, &[Verdict::Deferred]);
                    commands.extend(report.map(|report| Command::Report(Box::new(report))));
                },
                Step::Refile { site, is_owner, times, is_told } => {
                    let taken = dispenser.take(&rows, now, OWNER, |_| true, 2, usize::MAX);
                    prop_assert!(taken.iter().all(|task| !held.contains(task)));
                    held.extend(taken);
                    for task in of_ours(held.last().copied()) {
                        let session = if is_owner { OWNER } else { SessionId(2) };
                        let refile = refile(&rows, task, session, site).unwrap();
                        let command = Command::Refile(Box::new(refile));
                        commands.extend(std::iter::repeat_n(command, times));
                        if is_told {
                            held.pop();
                            back = Some(task);
                        }
                    }
                }
            }
            for command in commands {
                let before = rows.clone();
                let applied = apply(&mut rows, now, &command);
                if matches!(applied.response, Response::Refused(_)) {
                    prop_assert!(applied.effects.is_empty());
                    prop_assert_eq!(places(&before), places(&rows));
                }
                applied.effects.iter().for_each(|effect| dispenser.on_effect(effect));
                check(&rows)?;
            }
            prop_assert_eq!(dispenser.in_flight(), held.len() + usize::from(back.is_some()));
            if let Some(task) = back {
                dispenser.give_back(OWNER, task);
            }
        }
        // What is out stays out, and nothing else is stuck: some waits until there are fewer of its site out.
        let later = UnixMs(now.0 + 1_000_000);
        let open = query::state(&rows).open_tasks;
        let mut fresh = Dispenser::load(&rows, BTreeSet::new());
        let everything = all(&mut fresh, &rows, later);
        let held: BTreeSet<TaskId> = held.into_iter().collect();
        let mut waiting = all(&mut dispenser, &rows, later);
        for task in held.iter().copied() {
            let delivered = report(&rows, task, OWNER, &[Verdict::Delivered]).unwrap();
            let applied = apply(&mut rows, later, &Command::Report(Box::new(delivered)));
            applied.effects.iter().for_each(|effect| dispenser.on_effect(effect));
        }
        waiting.append(&mut all(&mut dispenser, &rows, later));
        prop_assert!(waiting.is_disjoint(&held));
        prop_assert_eq!((waiting.len() + held.len()) as u64, open);
        prop_assert_eq!(everything, &waiting | &held);
    }
}

#[test]
fn only_the_holder_of_the_slot_moves_a_task_and_not_for_ever() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let message = accept(1, 1);
    let task = TaskId {
        message: message.id,
        number: 0,
    };
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let before = query::task(&rows, task).unwrap();
    let apply_it = |refile: &Refile, rows: &mut MemoryRows| {
        apply(rows, UnixMs(9), &Command::Refile(Box::new(refile.clone())))
    };
    let stale = refile(&rows, task, SessionId(9), 1).unwrap();
    let refused = Response::Refused(Refusal::StaleEpoch);
    assert_eq!(apply_it(&stale, &mut rows).response, refused);

    let first = refile(&rows, task, OWNER, 1).unwrap();
    assert_eq!(apply_it(&first, &mut rows).response, Response::Done);
    let second = refile(&rows, task, OWNER, 2).unwrap();
    assert_eq!(apply_it(&second, &mut rows).response, Response::Done);
    let again = apply_it(&first, &mut rows);
    assert_eq!(
        (again.response, again.effects),
        (Response::Done, Vec::new())
    );
    let row = query::task(&rows, task).unwrap();
    assert_eq!(row.site(), "(a|b).hosts.test");
    assert_eq!((row.attempts, row.due), (before.attempts, before.due));

    let third = refile(&rows, task, OWNER, 0).unwrap();
    assert_eq!(apply_it(&third, &mut rows).response, Response::Done);
    let fourth = refile(&rows, task, OWNER, 1).unwrap();
    let refused = Response::Refused(Refusal::MovedEnough);
    assert_eq!(apply_it(&fourth, &mut rows).response, refused);
    let delivered = report(&rows, task, OWNER, &[Verdict::Delivered]).unwrap();
    apply(&mut rows, UnixMs(9), &Command::Report(Box::new(delivered)));
    assert_eq!(query::queues(&rows, None, 10), []);
    assert_eq!(apply_it(&fourth, &mut rows).response, Response::Done);
}

#[test]
fn an_operator_moves_a_queue_to_another_pool_and_back() {
    let mut rows = MemoryRows::default();
    open_all(&mut rows);
    let message = accept(1, 3);
    apply(&mut rows, UnixMs(5), &Command::Accept(Box::new(message)));
    let all_to = |pool: &str, rows: &mut MemoryRows| {
        let mut moved = 0;
        for (queue, _) in query::queues(rows, None, 10) {
            let pool = pool.to_owned();
            let applied = apply(rows, UnixMs(6), &Command::MoveTasks { queue, pool });
            let Response::Count(count) = applied.response else {
                panic!("{applied:?}");
            };
            assert_eq!(applied.effects.len() as u64, count);
            moved += count;
        }
        moved
    };
    let before = query::queues(&rows, None, 10);
    let tasks = query::state(&rows).open_tasks;
    assert_eq!(all_to("slow", &mut rows), tasks);
    assert_eq!(all_to("slow", &mut rows), 0);
    let moved = query::queues(&rows, None, 10);
    assert!(moved.iter().all(|(_, row)| row.pool == "slow"));
    assert_eq!(all_to("default", &mut rows), tasks);
    assert_eq!(query::queues(&rows, None, 10), before);
}

/// Rows as they were before tasks had sites.
mod earlier {
    use minicbor::{Decode, Encode};

    use crate::{Domain, Priority, Recipient, Slot, UnixMs};

    #[derive(Encode)]
    pub struct Task {
        #[n(0)]
        pub domain: Domain,
        #[n(1)]
        pub slot: Slot,
        #[n(2)]
        pub recipients: Vec<(u32, Recipient)>,
        #[n(3)]
        pub attempts: u32,
        #[n(4)]
        pub due: UnixMs,
        #[n(5)]
        pub created: UnixMs,
        #[n(6)]
        pub last_reply: Option<u8>,
        #[n(7)]
        pub delay_notified: bool,
    }

    #[derive(Encode)]
    pub struct Queue {
        #[n(0)]
        pub domain: Domain,
        #[n(1)]
        pub tenant: String,
        #[n(2)]
        pub pool: String,
        #[n(3)]
        pub slot: Slot,
        #[n(4)]
        pub tasks: u64,
        #[n(5)]
        pub priority: Priority,
    }

    #[derive(Encode, Decode)]
    pub struct NewTask {
        #[n(0)]
        pub domain: Domain,
        #[n(1)]
        pub slot: Slot,
        #[n(2)]
        pub recipients: Vec<Recipient>,
    }
}

#[test]
fn rows_from_before_there_were_sites_are_filed_under_their_domain() {
    let (domain, slot) = (Domain::new("there.test"), Slot(7));
    let task = earlier::Task {
        domain: domain.clone(),
        slot,
        recipients: Vec::new(),
        attempts: 2,
        due: UnixMs(3),
        created: UnixMs(1),
        last_reply: None,
        delay_notified: true,
    };
    let task: TaskRow = codec::decode(&codec::encode(&task)).unwrap();
    assert_eq!((task.site(), task.moves), ("there.test", 0));
    assert_eq!(task.created_in, None);
    assert!(task.delay_notified);
    let queue = earlier::Queue {
        domain: domain.clone(),
        tenant: "t".into(),
        pool: "p".into(),
        slot,
        tasks: 4,
        priority: Priority::Transactional,
    };
    let queue: QueueRow = codec::decode(&codec::encode(&queue)).unwrap();
    assert_eq!((queue.site(), queue.tasks), ("there.test", 4));
    // Its due tasks stand under this id on disk.
    let id = queue.queue().id;
    assert_eq!(id, QueueId(0x64a1_2a70_7130_a598));
    let new = earlier::NewTask {
        domain,
        slot,
        recipients: Vec::new(),
    };
    let new: NewTask = codec::decode(&codec::encode(&new)).unwrap();
    assert_eq!((new.slot, new.site), (slot, None));
    assert_eq!(new.created_in, None);
}

/// A build that knows of no traces reads what one that does has written, and the task goes on without its trace.
#[test]
fn rows_with_a_trace_are_read_by_builds_that_know_of_none() {
    let created_in = TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    };
    let domain = Domain::new("there.test");
    let new = NewTask {
        domain: domain.clone(),
        slot: Slot(7),
        recipients: Vec::new(),
        site: Some("google".into()),
        created_in: Some(created_in),
        return_path: None,
    };
    let encoded = codec::encode(&new);
    assert_eq!(codec::decode::<NewTask>(&encoded).unwrap(), new);
    let known: earlier::NewTask = codec::decode(&encoded).unwrap();
    assert_eq!((known.domain, known.slot), (domain, Slot(7)));
}
