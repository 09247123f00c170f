#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::rows::{MemoryRows, Rows};
use crate::spool::tests::{OWNER, accept, envelope, open_all, report};
use crate::spool::{Command, Verdict, apply, key};
use crate::{GroupId, MessageId, Reply, SessionId};

/// Rows, and the dispenser of a leader that may be another one by now.
struct World {
    rows: MemoryRows,
    dispenser: Dispenser,
    now: UnixMs,
    out: BTreeSet<TaskId>,
}

impl World {
    fn new() -> Self {
        let mut rows = MemoryRows::default();
        open_all(&mut rows);
        let now = UnixMs(1);
        let dispenser = Dispenser::default();
        let out = BTreeSet::new();
        Self {
            rows,
            dispenser,
            now,
            out,
        }
    }

    fn apply(&mut self, command: &Command) {
        let applied = apply(&mut self.rows, self.now, command);
        for effect in &applied.effects {
            self.dispenser.on_effect(effect);
        }
    }

    fn accept(&mut self, n: u64, recipients: usize) {
        self.apply(&Command::Accept(Box::new(accept(n, recipients))));
    }

    fn take(&mut self, limit: usize) -> Vec<TaskId> {
        let taken = self
            .dispenser
            .take(&self.rows, self.now, OWNER, |_| true, limit, usize::MAX);
        for task in &taken {
            assert!(self.out.insert(*task), "{task} is out twice");
        }
        taken
    }

    fn wait(&mut self, ms: u64) {
        self.now = UnixMs(self.now.0 + ms);
    }

    fn row(&self, task: TaskId) -> spool::TaskRow {
        query::task(&self.rows, task).unwrap()
    }

    fn queue(&self, task: TaskId) -> Queue {
        self.row(task).queue(&envelope())
    }

    /// Nobody was met, and the destination is left alone for so long.
    fn meets_nobody(&mut self, task: TaskId, away_for: u64) {
        let mut told = report(&self.rows, task, OWNER, &[Verdict::Deferred]).unwrap();
        told.retry_after = DurationMs::from_secs(300);
        told.away_for = Some(DurationMs(away_for));
        self.out.remove(&task);
        self.apply(&Command::Report(Box::new(told)));
    }

    /// A host says something.
    fn hears(&mut self, task: TaskId, verdict: Verdict) {
        let mut told = report(&self.rows, task, OWNER, &[verdict]).unwrap();
        told.retry_after = DurationMs::from_secs(300);
        for outcome in &mut told.outcomes {
            let host = Some("mx.d.test".to_owned());
            outcome.reply = Reply {
                host,
                ..outcome.reply.clone()
            };
        }
        self.out.remove(&task);
        self.apply(&Command::Report(Box::new(told)));
    }

    fn lead(&mut self) {
        self.dispenser = Dispenser::load(&self.rows, BTreeSet::new());
        self.out.clear();
    }

    fn open(&self) -> Vec<TaskId> {
        let messages = (0..20).map(|n| MessageId::new(UnixMs(n), GroupId(1), n));
        let tasks = messages.flat_map(|id| query::tasks_of(&self.rows, id));
        tasks.map(|(task, _)| task).collect()
    }

    /// The places of those that wait for their destination are as their rows say.
    fn check_places(&self) {
        let mut expected = BTreeSet::new();
        for task in self.open() {
            if self.row(task).awaits_host {
                expected.insert(key::awaiting(self.queue(task).id, task));
            }
        }
        let mut found = BTreeSet::new();
        Rows::scan(&self.rows, b"w", &[], &mut |key, _| {
            found.insert(key.to_vec());
            true
        });
        assert_eq!(found, expected);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Accept(u64, usize),
    Take(usize),
    MeetsNobody(usize, u64),
    Hears(usize, Verdict),
    GiveBack(usize),
    Answers(u8),
    Delete(u64),
    SessionGone,
    NewLeader,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop::sample::select(vec![Verdict::Delivered, Verdict::Deferred]);
    let pause = prop_oneof![1 => Just(0), 6 => 1..20_000u64];
    prop_oneof![
        4 => (0..20u64, 1..8usize).prop_map(|(n, recipients)| Step::Accept(n, recipients)),
        6 => (1..9usize).prop_map(Step::Take),
        6 => (0..9usize, pause).prop_map(|(nth, pause)| Step::MeetsNobody(nth, pause)),
        1 => (0..9usize, verdict).prop_map(|(nth, verdict)| Step::Hears(nth, verdict)),
        1 => (0..9usize).prop_map(Step::GiveBack),
        1 => (0..3u8).prop_map(Step::Answers),
        1 => (0..20u64).prop_map(Step::Delete),
        1 => Just(Step::SessionGone),
        1 => Just(Step::NewLeader),
        3 => prop_oneof![Just(TOUCH.0), 1..30_000u64].prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn one_asks_while_a_destination_is_away_and_all_go_when_it_answers(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        let mut last: HashMap<SitePath, UnixMs> = HashMap::new();
        for step in steps {
            let nth = |world: &World, n: usize| world.out.iter().nth(n).copied();
            match step {
                Step::Accept(n, recipients) => world.accept(n, recipients),
                Step::Take(limit) => {
                    let away: BTreeSet<SitePath> = world.dispenser.absences.known.keys().copied().collect();
                    for task in world.take(limit) {
                        let row = world.row(task);
                        prop_assert!(row.due <= world.now || row.awaits_host, "{} is not due", task);
                        let way = world.queue(task).site_path();
                        let before = last.insert(way, world.now);
                        let is_pressed = before.is_some_and(|at| world.now < at + TOUCH);
                        let is_away = world.dispenser.absences.known.contains_key(&way);
                        prop_assert!(!is_pressed || !is_away || !away.contains(&way), "{} too soon", task);
                    }
                }
                Step::MeetsNobody(n, pause) => {
                    if let Some(task) = nth(&world, n) {
                        let before = world.row(task);
                        world.meets_nobody(task, pause);
                        let after = world.row(task);
                        prop_assert_eq!(after.attempts - after.absences, before.attempts - before.absences);
                        prop_assert_eq!(after.awaits_host, pause > 0);
                    }
                }
                Step::Hears(n, verdict) => {
                    if let Some(task) = nth(&world, n) {
                        let way = world.queue(task).site_path();
                        world.hears(task, verdict);
                        prop_assert!(!world.dispenser.absences.known.contains_key(&way));
                    }
                }
                Step::GiveBack(n) => {
                    if let Some(task) = nth(&world, n) {
                        world.out.remove(&task);
                        world.dispenser.give_back(OWNER, task);
                    }
                }
                Step::Answers(domain) => {
                    let site = format!("d{domain}.test");
                    world.dispenser.site_answers(&site, Slot::of(&site, 0));
                }
                Step::Delete(n) => {
                    let message = MessageId::new(UnixMs(n), GroupId(1), n);
                    world.out.retain(|task| task.message != message);
                    world.apply(&Command::Delete { message, by: "test".into() });
                }
                Step::SessionGone => {
                    world.out.clear();
                    world.dispenser.session_gone(OWNER);
                }
                Step::NewLeader => world.lead(),
                Step::Wait(ms) => world.wait(ms),
            }
            world.check_places();
            let absences = &world.dispenser.absences;
            prop_assert_eq!(absences.ticks.len(), absences.known.len());
        }
        // All answer: what met nobody is due at this very moment.
        world.out.clear();
        world.dispenser.session_gone(OWNER);
        for site in ["d0.test", "d1.test", "d2.test"] {
            world.dispenser.site_answers(site, Slot::of(site, 0));
        }
        loop {
            let taken = world.take(1_000);
            if taken.is_empty() {
                break;
            }
            taken.into_iter().for_each(|task| world.hears(task, Verdict::Delivered));
        }
        for task in world.open() {
            let row = world.row(task);
            prop_assert!(row.due > world.now && !row.awaits_host, "{} stays behind: {:?}", task, row);
        }
        prop_assert!(world.dispenser.absences.known.is_empty());
        // And what waits for a time of its own is not forgotten over that.
        world.wait(1_000_000);
        loop {
            let taken = world.take(1_000);
            if taken.is_empty() {
                break;
            }
            taken.into_iter().for_each(|task| world.hears(task, Verdict::Delivered));
        }
        prop_assert_eq!(world.open(), vec![]);
    }
}

/// All tasks of one domain, out at the sender.
fn one_domain(tasks: u64) -> World {
    let mut world = World::new();
    for n in 0..tasks {
        world.accept(n, 1);
    }
    world
}

/// What goes out in a time, looked at every 10 ms. All of it meets nobody again.
fn asked(world: &mut World, lasts: u64, pause: u64) -> usize {
    let mut asked = 0;
    for _ in 0..lasts / 10 {
        world.wait(10);
        for task in world.take(100) {
            asked += 1;
            world.meets_nobody(task, pause);
        }
    }
    asked
}

#[test]
fn one_of_many_asks_after_each_pause_and_the_answer_lets_all_go() {
    let mut world = one_domain(20);
    // The first ones meet nobody, and the others hear of it one by one.
    let first = world.take(100);
    assert!(first.len() > 1);
    first
        .into_iter()
        .for_each(|task| world.meets_nobody(task, 10_000));
    assert_eq!(asked(&mut world, 2_000, 8_000), 10, "every 200 ms");
    assert_eq!(asked(&mut world, 2_000, 6_000), 2, "what was left");
    // Nobody is due for five minutes now: there is one at the end of each pause.
    assert_eq!(asked(&mut world, 60_000, 15_000), 4);
    let asks = loop {
        world.wait(10);
        if let [task] = world.take(100)[..] {
            break task;
        }
    };
    let began = world.now;
    world.hears(asks, Verdict::Delivered);
    let mut delivered = 1;
    while let Some(task) = world.take(1).first().copied() {
        world.hears(task, Verdict::Delivered);
        delivered += 1;
    }
    assert_eq!(
        (delivered, world.now),
        (20, began),
        "nobody waits for a time of their own"
    );
}

#[test]
fn one_that_asks_and_is_not_heard_of_is_followed_by_another() {
    let mut world = one_domain(3);
    for task in world.take(100) {
        world.meets_nobody(task, 5_000);
    }
    world.wait(4_999);
    assert_eq!(world.take(100), []);
    world.wait(1);
    let asks = world.take(100);
    assert_eq!(asks.len(), 1);
    world.wait(ASK_AGAIN.0 - 1);
    assert_eq!(world.take(100), []);
    world.wait(1);
    assert_eq!(world.take(100).len(), 1);
    // The next owner of the slot has not tried, and does at once.
    let taken = |world: &mut World, session| {
        let World {
            dispenser,
            rows,
            now,
            ..
        } = world;
        dispenser.take(rows, *now, SessionId(session), |_| true, 100, usize::MAX)
    };
    world.dispenser.session_gone(OWNER);
    world.wait(TOUCH.0);
    assert_eq!(taken(&mut world, 7), []);
    assert_eq!(taken(&mut world, 7).len(), 1);
}

#[test]
fn what_one_pool_cannot_reach_holds_up_no_other_pool() {
    let mut world = one_domain(2);
    let [first, second] = world.take(100)[..] else {
        panic!("both are due");
    };
    world.meets_nobody(first, 10_000);
    let queue = world.queue(second).id;
    let pool = "other".to_owned();
    world.apply(&Command::MoveTasks { queue, pool });
    world.check_places();
    // Both were moved: the one that waited has no reason to wait any longer.
    world.dispenser.give_back(OWNER, second);
    world.out.clear();
    assert_eq!(world.take(100).len(), 2);
}

#[test]
fn the_next_leader_takes_all_that_wait_for_due() {
    let mut world = one_domain(5);
    for task in world.take(100) {
        world.meets_nobody(task, 60_000);
    }
    assert_eq!(world.take(100), []);
    world.lead();
    assert_eq!(world.take(100).len(), 5);
}

#[test]
fn a_wait_that_is_too_long_is_cut_short() {
    let mut world = one_domain(1);
    let [task] = world.take(100)[..] else {
        panic!("it is due");
    };
    world.meets_nobody(task, u64::MAX);
    assert_eq!(
        world.dispenser.next_due(),
        Some(world.row(task).due.min(UnixMs(600_001)))
    );
}
