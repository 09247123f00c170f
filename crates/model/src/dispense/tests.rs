//! Who gets what, and in which order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::mail::BodyRef;
use crate::queue::QueueNames;
use crate::queue_survey::QueueSurvey;
use crate::rows::{MemoryRows, Rows};
use crate::spool::{Accept, Command, NewTask, apply};
use crate::{
    Domain, DurationMs, Envelope, GroupId, MessageId, NodeId, Notify, Priority, Recipient,
    SessionId, Slot,
};

const NOW: UnixMs = UnixMs(1_000);

/// One message to one recipient.
#[derive(Debug, Clone, Copy)]
struct Mail {
    tenant: u8,
    domain: u8,
    priority: Priority,
    /// Of the slots that the site has.
    nth: u16,
}

impl Mail {
    fn domain(&self) -> Domain {
        Domain::new(&format!("d{}.test", self.domain))
    }

    fn slot(&self) -> Slot {
        Slot::of(self.domain().as_str(), self.nth)
    }

    fn queue(&self) -> Queue {
        let tenant = format!("t{}", self.tenant);
        queue(&self.domain(), &tenant, self.priority, self.slot())
    }
}

fn queue(domain: &Domain, tenant: &str, priority: Priority, slot: Slot) -> Queue {
    Queue::of(&QueueNames {
        domain,
        site: None,
        tenant,
        pool: "default",
        campaign: None,
        priority,
        slot,
    })
}

/// Rows, the dispenser that follows them, and what is known of each task.
#[derive(Default)]
struct World {
    rows: MemoryRows,
    dispenser: Dispenser,
    mails: HashMap<TaskId, Mail>,
    accepted: u64,
    /// Than [`NOW`].
    later: DurationMs,
}

impl World {
    fn accept(&mut self, mail: Mail) {
        self.accepted += 1;
        let id = MessageId::new(UnixMs(self.accepted), GroupId(1), self.accepted);
        let recipient = Recipient {
            address: format!("u@{}", mail.domain()),
            notify: Notify::default(),
            orcpt: None,
        };
        let accept = Accept {
            id,
            envelope: envelope(mail.tenant, mail.priority),
            body: BodyRef {
                bytes: 1,
                crc32c: 0,
                acks: vec![NodeId(1)],
                prefix_bytes: None,
            },
            tasks: NewTask::plan([(mail.domain(), recipient)], 1, &BTreeMap::new(), |_| {
                mail.slot()
            }),
            about: None,
        };
        let task = TaskId {
            message: id,
            number: 0,
        };
        self.mails.insert(task, mail);
        self.apply(&Command::Accept(Box::new(accept)));
    }

    fn apply(&mut self, command: &Command) {
        let applied = apply(&mut self.rows, NOW, command);
        for effect in &applied.effects {
            self.dispenser.on_effect(effect);
        }
    }

    /// A task is done with.
    fn end(&mut self, task: TaskId) {
        let by = "test".to_owned();
        let message = task.message;
        self.apply(&Command::Delete { message, by });
    }

    fn take(&mut self, session: u64, sessions: u64, limit: usize) -> Vec<TaskId> {
        let owns = |slot: Slot| u64::from(slot.0) % sessions == session;
        let id = SessionId(session + 1);
        let now = self.now();
        self.dispenser
            .take(&self.rows, now, id, owns, limit, usize::MAX)
    }

    fn now(&self) -> UnixMs {
        NOW + self.later
    }
}

fn envelope(tenant: u8, priority: Priority) -> Envelope {
    Envelope {
        tenant: format!("t{tenant}"),
        priority,
        ..crate::spool::tests::envelope()
    }
}

fn weights(of: &[u32]) -> Weights {
    let names: Vec<String> = (0..of.len()).map(|n| format!("t{n}")).collect();
    names
        .iter()
        .map(String::as_str)
        .zip(of.iter().copied())
        .collect()
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::Transactional, Priority::Bulk])
}

fn mail() -> impl Strategy<Value = Mail> {
    (0..4u8, 0..6u8, priority(), 0..3u16).prop_map(|(tenant, domain, priority, nth)| Mail {
        tenant,
        domain,
        priority,
        nth,
    })
}

#[derive(Debug, Clone)]
enum Step {
    Accept(Mail),
    Take(u64, usize),
    /// Some of what is out is done with, or comes back.
    End(usize),
    GiveBack(usize),
    Postpone(usize),
    /// Limits let mail of this one's site go again.
    Open(Mail),
    Wait,
    SessionGone(u64),
    SetWeights(Vec<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => mail().prop_map(Step::Accept),
        4 => (0..3u64, 1..9usize).prop_map(|(session, limit)| Step::Take(session, limit)),
        2 => (0..50usize).prop_map(Step::End),
        1 => (0..50usize).prop_map(Step::GiveBack),
        1 => (0..50usize).prop_map(Step::Postpone),
        1 => mail().prop_map(Step::Open),
        1 => Just(Step::Wait),
        1 => (0..3u64).prop_map(Step::SessionGone),
        1 => prop::collection::vec(1..9u32, 4).prop_map(Step::SetWeights),
    ]
}

proptest! {
    #[test]
    fn every_due_task_goes_out_once_to_the_owner_of_its_slot(steps in prop::collection::vec(step(), 0..150)) {
        const SESSIONS: u64 = 3;
        const CLOSED: DurationMs = DurationMs(1000);
        let mut world = World::default();
        let mut out: BTreeMap<TaskId, u64> = BTreeMap::new();
        let mut waiting: BTreeSet<TaskId> = BTreeSet::new();
        let mut closed: HashMap<QueueId, Queue> = HashMap::new();
        // The rest is taken at the end, as sites have room for it.
        let rest = (0..SESSIONS).flat_map(|session| {
            let ended = (0..64).map(|_| Step::End(0));
            let round = ended.chain([Step::Take(session, 1_000)]);
            std::iter::repeat_n(round.collect::<Vec<_>>(), 8).flatten()
        });
        for step in steps.into_iter().chain([Step::Wait]).chain(rest) {
            match step {
                Step::Accept(mail) => {
                    world.accept(mail);
                    let new = world.mails.keys().filter(|task| !out.contains_key(task));
                    waiting.extend(new.copied().collect::<Vec<_>>());
                }
                Step::Take(session, limit) => {
                    for task in world.take(session, SESSIONS, limit) {
                        prop_assert!(waiting.remove(&task), "{} is out or done", task);
                        let mail = world.mails[&task];
                        prop_assert_eq!(u64::from(mail.slot().0) % SESSIONS, session);
                        prop_assert!(!closed.contains_key(&mail.queue().id), "a limit lets none go");
                        let earlier = waiting.iter().find(|other| {
                            **other < task && world.mails[other].queue() == mail.queue()
                        });
                        prop_assert_eq!(earlier, None, "its queue has an earlier one");
                        out.insert(task, session);
                    }
                }
                Step::End(nth) => {
                    if let Some(task) = out.keys().nth(nth).copied() {
                        out.remove(&task);
                        world.mails.remove(&task);
                        world.end(task);
                    }
                }
                Step::GiveBack(nth) => {
                    if let Some((task, session)) = out.iter().nth(nth).map(|(t, s)| (*t, *s)) {
                        out.remove(&task);
                        waiting.insert(task);
                        world.dispenser.give_back(SessionId(session + 1), task);
                    }
                }
                Step::Postpone(nth) => {
                    if let Some((task, session)) = out.iter().nth(nth).map(|(t, s)| (*t, *s)) {
                        out.remove(&task);
                        waiting.insert(task);
                        let until = world.now() + CLOSED;
                        world.dispenser.postpone(SessionId(session + 1), task, until);
                        let queue = world.mails[&task].queue();
                        closed.insert(queue.id, queue);
                    }
                }
                Step::Open(mail) => {
                    world.dispenser.open_site(mail.domain().as_str(), mail.slot());
                    let (slot, name) = (mail.slot(), mail.domain());
                    closed.retain(|_, queue| {
                        let key = SiteKey::of(name.as_str(), queue.priority, slot);
                        queue.slot != slot || queue.site != key
                    });
                }
                Step::Wait => {
                    world.later.0 += CLOSED.0;
                    closed.clear();
                }
                Step::SessionGone(session) => {
                    let gone = out.extract_if(.., |_, holder| *holder == session);
                    waiting.extend(gone.map(|(task, _)| task));
                    world.dispenser.session_gone(SessionId(session + 1));
                    // Whoever asks for its slots next knows of no limit.
                    closed.retain(|_, queue| u64::from(queue.slot.0) % SESSIONS != session);
                }
                Step::SetWeights(of) => world.dispenser.set_weights(weights(&of)),
            }
        }
        prop_assert_eq!(waiting, BTreeSet::new(), "all that is due goes out");
        prop_assert_eq!(world.dispenser.in_flight(), out.len());
    }

    /// I18: between two tasks of a tenant with due mail, each other tenant has at most one turn: TURN tasks for each unit
    /// of its weight.
    #[test]
    fn no_tenant_waits_for_more_than_one_round(
        given in prop::collection::vec(1..6u32, 2..5),
        (domains, limits) in prop_oneof![
            // No more at once than a site may have out of which nothing is known yet.
            (Just(6), prop::collection::vec(1..9usize, 1..20)),
            // Sites whose windows bind nobody, however much goes out at once.
            (Just(60), prop::collection::vec(1..30usize, 1..20)),
        ],
    ) {
        let mut world = World::default();
        world.dispenser.set_weights(weights(&given));
        for tenant in 0..given.len() as u8 {
            for n in 0..60 {
                let priority = if n % 3 == 0 { Priority::Transactional } else { Priority::Bulk };
                world.accept(Mail { tenant, domain: n % domains, priority, nth: 0 });
            }
        }
        let mut order = Vec::new();
        for limit in limits.into_iter().cycle() {
            let taken = world.take(0, 1, limit);
            if taken.is_empty() {
                break;
            }
            for task in taken {
                order.push(usize::from(world.mails[&task].tenant));
                world.end(task);
            }
        }
        prop_assert_eq!(order.len(), 60 * given.len());
        for tenant in 0..given.len() {
            let others = given.iter().sum::<u32>() - given[tenant];
            let last = order.iter().rposition(|of| *of == tenant).unwrap_or(0);
            let mut waited = 0;
            for of in &order[..last] {
                waited = if *of == tenant { 0 } else { waited + 1 };
                prop_assert!(waited <= others as usize * turns::TURN, "tenant {} waits: {:?}", tenant, order);
            }
        }
        // While all have due mail, what each has had is its weight's part, within one turn.
        let first_done = (0..given.len()).filter_map(|t| order.iter().rposition(|of| *of == t)).min().unwrap_or(0);
        let all: usize = given.iter().sum::<u32>() as usize;
        for (tenant, weight) in given.iter().enumerate() {
            let had = order[..first_done].iter().filter(|of| **of == tenant).count();
            let part = first_done * *weight as usize / all;
            let turn = (*weight as usize + 1) * turns::TURN;
            prop_assert!(had.abs_diff(part) <= turn, "tenant {}: {} of {}, not {}", tenant, had, first_done, part);
        }
    }

    #[test]
    fn transactional_mail_goes_first_and_bulk_mail_has_its_floor(
        (domains, limits) in prop_oneof![
            // No more at once than a site may have out of which nothing is known yet.
            (Just(6), prop::collection::vec(1..9usize, 1..20)),
            // Sites whose windows bind nobody, however much goes out at once.
            (Just(60), prop::collection::vec(1..30usize, 1..20)),
        ],
    ) {
        let mut world = World::default();
        for n in 0..200 {
            for priority in [Priority::Bulk, Priority::Transactional] {
                world.accept(Mail { tenant: 0, domain: n % domains, priority, nth: 0 });
            }
        }
        let (mut transactional, mut bulk) = (0, 0);
        for limit in limits.into_iter().cycle() {
            for task in world.take(0, 1, limit) {
                match world.mails[&task].priority {
                    Priority::Transactional => transactional += 1,
                    Priority::Bulk => bulk += 1,
                }
                world.end(task);
            }
            if transactional == 200 {
                break;
            }
            let floor = (transactional + bulk) / 5;
            prop_assert!(bulk + 2 * turns::TURN >= floor, "{} bulk after {}", bulk, transactional);
            prop_assert!(bulk <= floor + turns::TURN, "{} bulk after {}", bulk, transactional);
        }
    }
}

#[test]
fn a_closed_queue_opens_for_its_site_and_for_the_next_owner_of_its_slot() {
    let mut world = World::default();
    let mail = Mail {
        tenant: 0,
        domain: 0,
        priority: Priority::Bulk,
        nth: 0,
    };
    world.accept(mail);
    let take = |world: &mut World, session: u64| {
        let all = |_: Slot| true;
        let (session, rows) = (SessionId(session), &world.rows);
        world
            .dispenser
            .take(rows, NOW, session, all, 10, usize::MAX)
    };
    let taken = take(&mut world, 1);
    assert_eq!(taken.len(), 1);
    let tomorrow = NOW + DurationMs::from_secs(86_400);
    world.dispenser.postpone(SessionId(1), taken[0], tomorrow);
    assert_eq!(take(&mut world, 1), []);
    assert_eq!(world.dispenser.next_due(), Some(tomorrow));
    let (site, slot) = (mail.domain(), mail.slot());
    world.dispenser.open_site("other.test", slot);
    assert_eq!(take(&mut world, 1), []);
    world.dispenser.open_site(site.as_str(), slot);
    assert_eq!(take(&mut world, 1), taken);
    world.dispenser.postpone(SessionId(1), taken[0], tomorrow);
    assert_eq!(take(&mut world, 2), taken);
    // Word of its opening may be lost with a stream.
    world.dispenser.postpone(SessionId(2), taken[0], tomorrow);
    let (rows, nothing) = (&world.rows, HashMap::new());
    world
        .dispenser
        .session_back(rows, SessionId(2), &nothing, |_| true);
    assert_eq!(take(&mut world, 2), taken);
}

#[test]
fn a_slow_site_is_shared_by_weight_and_takes_no_more_than_its_room() {
    let mut world = World::default();
    world.dispenser.set_weights(weights(&[1, 3]));
    let bulk = |tenant, domain| Mail {
        tenant,
        domain,
        priority: Priority::Bulk,
        nth: 0,
    };
    for _ in 0..1_000 {
        world.accept(bulk(0, 0));
    }
    let first = world.take(0, 1, 10_000);
    let window = first.len();
    assert!(window < 1_000);
    for _ in 0..1_000 {
        world.accept(bulk(1, 0));
    }
    world.accept(bulk(2, 1));
    assert_eq!(world.take(0, 1, 10_000).len(), 1, "another site has room");
    for task in first {
        world.end(task);
        world.take(0, 1, 10_000);
    }
    // A queue hears of more room when one of its own comes back.
    for _ in 0..3 {
        let out: Vec<TaskId> = world.dispenser.out.iter().map(|(task, _)| task).collect();
        out.into_iter().for_each(|task| world.end(task));
        world.take(0, 1, 10_000);
    }
    let out = world.dispenser.out.iter();
    let of_heavy = out.filter(|(_, out)| out.queue.tenant == bulk(1, 0).queue().tenant);
    let all = world.dispenser.in_flight();
    assert!(all >= window);
    assert_eq!(of_heavy.count(), all * 3 / 4);
}

#[test]
fn sites_that_hold_what_they_were_given_leave_something_for_others() {
    const CREDIT: usize = 1024;
    let mut world = World::default();
    let mail = |domain| Mail {
        tenant: 0,
        domain,
        priority: Priority::Bulk,
        nth: 0,
    };
    for domain in 0..100 {
        (0..40).for_each(|_| world.accept(mail(domain)));
    }
    let fill = |world: &mut World| {
        loop {
            let World {
                rows, dispenser, ..
            } = world;
            let free = CREDIT - dispenser.in_flight();
            let session = SessionId(1);
            let taken = dispenser.take(rows, NOW, session, |_| true, free.min(64), CREDIT);
            if taken.is_empty() {
                return;
            }
        }
    };
    fill(&mut world);
    (0..200).for_each(|_| world.accept(mail(200)));
    // Of the slow ones, one task ends at a time; of the other, whatever is out.
    let mut moved = 0;
    for round in 0..100 {
        let out = world.dispenser.out.iter();
        let out: Vec<(TaskId, SiteKey)> = out.map(|(task, out)| (task, out.queue.site)).collect();
        let is_fast = |site| site == mail(200).queue().site;
        let slow: Vec<TaskId> = out
            .iter()
            .filter(|(_, site)| !is_fast(*site))
            .map(|(task, _)| *task)
            .collect();
        world.end(slow[round * 7 % slow.len()]);
        for (task, _) in out.iter().filter(|(_, site)| is_fast(*site)) {
            world.end(*task);
            moved += 1;
        }
        fill(&mut world);
        assert!(world.dispenser.in_flight() <= CREDIT);
    }
    assert!(moved > 150, "{moved}");
}

#[test]
fn queues_that_found_their_site_full_come_all_to_their_turn() {
    let mut world = World::default();
    let tenants = 2 * WINDOW_MAX;
    let all: Vec<String> = (0..tenants).map(|n| format!("t{n}")).collect();
    let mut held = Vec::new();
    for round in 0..2 {
        for (n, tenant) in all.iter().enumerate() {
            let domain = Domain::new("full.test");
            let queue = queue(&domain, tenant, Priority::Bulk, Slot(1));
            let message = MessageId::new(UnixMs(round), GroupId(1), n as u64);
            let task = TaskId { message, number: 0 };
            let due = UnixMs(1);
            world
                .rows
                .put(crate::spool::key::due(queue.id, due, task), Vec::new());
            world.dispenser.on_effect(&Effect::Due { queue, due, task });
            held.push((queue, task));
        }
    }
    let mut went = BTreeSet::new();
    loop {
        let taken = world.take(1, 2, 10_000);
        assert!(world.dispenser.in_flight() <= WINDOW_MAX);
        if taken.is_empty() {
            break;
        }
        for task in taken {
            assert!(went.insert(task));
            let (queue, _) = held
                .iter()
                .find(|(_, other)| *other == task)
                .copied()
                .expect("one of ours");
            world
                .rows
                .delete(crate::spool::key::due(queue.id, UnixMs(1), task));
            world.dispenser.on_effect(&Effect::Ended {
                queue: queue.id,
                task,
            });
        }
    }
    assert_eq!(went.len(), 2 * tenants);
    assert!(world.dispenser.queues.is_empty());
}

/// `cargo test --release -p skein-model measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it prints how long things take")]
fn measure_takes_with_many_queues_and_several_sessions() {
    const QUEUES: u64 = 100_000;
    const TASKS: u64 = 3;
    let mut rows = MemoryRows::default();
    let mut dispenser = Dispenser::default();
    let due = UnixMs(1);
    for n in 0..QUEUES {
        let domain = Domain::new(&format!("d{n}.test"));
        let (tenant, slot) = (format!("t{}", n % 1_000), Slot::of(domain.as_str(), 0));
        let queue = queue(&domain, &tenant, Priority::Bulk, slot);
        for nth in 0..TASKS {
            let message = MessageId::new(UnixMs(n), GroupId(1), n * TASKS + nth);
            let task = TaskId { message, number: 0 };
            rows.put(crate::spool::key::due(queue.id, due, task), Vec::new());
            dispenser.on_effect(&Effect::Due { queue, due, task });
        }
    }
    // The first take of each session learns its slots, and the first of all wakes all queues.
    let mut take = |session: u64, limit| {
        let owns = |slot: Slot| u64::from(slot.0) % 3 == session;
        dispenser.take(&rows, NOW, SessionId(session + 1), owns, limit, usize::MAX)
    };
    (0..3).for_each(|session| drop(take(session, 1)));
    for limit in [1, 64] {
        let began = std::time::Instant::now();
        let mut tasks = 0;
        for n in 0..900 {
            tasks += take(n % 3, limit).len();
        }
        let ns = began.elapsed().as_nanos();
        println!(
            "up to {limit} tasks: {} ns per take, {} ns per task",
            ns / 900,
            ns / tasks as u128
        );
    }
    // One session has nothing to take beside a hundred thousand queues of others.
    let began = std::time::Instant::now();
    for _ in 0..900 {
        let nobodys = |slot: Slot| u64::from(slot.0) > 2_000;
        assert!(
            dispenser
                .take(&rows, NOW, SessionId(9), nobodys, 64, usize::MAX)
                .is_empty()
        );
    }
    println!(
        "nothing to take: {} ns per take",
        began.elapsed().as_nanos() / 900
    );
}

#[test]
fn what_operators_hold_back_waits_until_they_let_go() {
    use crate::automation::{self, Rules, Selector};
    use crate::warmup::Order;
    let mut world = World::default();
    for tenant in [1, 2] {
        let priority = Priority::Bulk;
        world.accept(Mail {
            tenant,
            domain: tenant,
            priority,
            nth: 0,
        });
    }
    let order = Order {
        who: "me".into(),
        why: "wrong mailing".into(),
    };
    let selector = Selector {
        tenant: Some("t1".into()),
        ..Selector::default()
    };
    let suspend = automation::Command::Suspend {
        selector: selector.clone(),
        lasts: DurationMs(500),
        order: order.clone(),
        gives_up: false,
    };
    let mut meta = MemoryRows::default();
    automation::apply(&mut meta, NOW, &Rules::new(), &suspend);
    let dispenser = &mut world.dispenser;
    dispenser.set_suspensions(automation::suspensions(&meta));

    let take = |dispenser: &mut Dispenser, at: u64| -> usize {
        dispenser
            .take(
                &world.rows,
                UnixMs(at),
                SessionId(1),
                |_| true,
                10,
                usize::MAX,
            )
            .len()
    };
    assert_eq!(take(dispenser, NOW.0), 1, "the other tenant's");
    assert_eq!(dispenser.next_due(), Some(UnixMs(NOW.0 + 500)));
    assert_eq!(take(dispenser, NOW.0 + 499), 0);
    let held = dispenser.ready_since(&world.rows, UnixMs(NOW.0 + 499));
    assert_eq!(held, None);
    let fresh = |at: u64| {
        let mut fresh = Dispenser::load(&world.rows, BTreeSet::new());
        fresh.set_suspensions(automation::suspensions(&meta));
        fresh.ready_since(&world.rows, UnixMs(at))
    };
    assert_eq!(fresh(NOW.0), Some(NOW), "the other tenant's");
    let resume = automation::Command::Resume { selector, order };
    let mut resumed = meta.clone();
    automation::apply(&mut resumed, NOW, &Rules::new(), &resume);
    let mut early = Dispenser::load(&world.rows, BTreeSet::new());
    early.set_suspensions(automation::suspensions(&meta));
    assert_eq!(take(&mut early, NOW.0), 1);
    early.set_suspensions(automation::suspensions(&resumed));
    assert_eq!(take(&mut early, NOW.0), 1, "an operator let it go");
    assert_eq!(take(dispenser, NOW.0 + 500), 1, "its time is over");
}

fn survey(world: &World, at: UnixMs) -> QueueSurvey {
    let standings = world.dispenser.standings(at);
    let (held, providers) = (Suspensions::default(), BTreeSet::new());
    QueueSurvey::of(&world.rows, at, &standings, &held, &providers)
}

#[test]
fn mail_is_ready_while_only_its_session_is_missing() {
    let mut world = World::default();
    let mail = Mail {
        tenant: 0,
        domain: 0,
        priority: Priority::Bulk,
        nth: 0,
    };
    let ready = |world: &World, later: u64| {
        let at = NOW + DurationMs(later);
        let ready = world.dispenser.ready_since(&world.rows, at);
        let survey = survey(world, at);
        assert_eq!(survey.ready_since.into_values().min(), ready);
        ready
    };
    assert_eq!(ready(&world, 0), None);
    world.accept(mail);
    assert_eq!(ready(&world, 90_000), Some(NOW), "nobody asks for it");
    let taken = world.take(0, 1, 10);
    assert_eq!(ready(&world, 90_000), None, "a sender has it");
    let until = NOW + DurationMs(60_000);
    world.dispenser.postpone(SessionId(1), taken[0], until);
    assert_eq!(ready(&world, 59_999), None, "a limit holds it back");
    let of_other = ("other".to_owned(), Priority::Bulk);
    let overdue = survey(&world, NOW + DurationMs(59_999)).providers[&of_other];
    assert_eq!((overdue.tasks, overdue.due_since), (1, Some(NOW)));
    assert_eq!(world.take(0, 1, 10), []);
    assert_eq!(ready(&world, 59_999), None);
    assert_eq!(ready(&world, 60_000), Some(NOW));
    let (site, slot) = (mail.domain().to_string(), mail.slot());
    world.dispenser.open_site(&site, slot);
    let queue = world
        .dispenser
        .queues
        .values()
        .next()
        .expect("one queue")
        .queue;
    let away = crate::spool::Away { since: NOW, until };
    world.dispenser.awaits(&queue, taken[0], Some(away));
    assert_eq!(ready(&world, 60_000), None, "its hosts are silent");
    world.dispenser.site_answers(&site, slot);
    assert_eq!(ready(&world, 60_000), Some(NOW));
    let elsewhere = Dispenser::load(&world.rows, [SessionId(7)].into());
    assert_eq!(
        elsewhere.ready_since(&world.rows, until),
        None,
        "another check tells of the absent"
    );
}
