//! Destinations that give no connection, and the tasks that wait for them to answer.
//!
//! That a host is away says nothing about the messages for it. Tasks that met no host wait for their destination together:
//! while it is away, one of them now and then is the one that asks; when it answers, all of them are due. Where they wait is
//! in the rows (`w`), so a new leader, which knows nothing of who is away, takes all of them for due.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use super::{Dispenser, FIRST, Out, Place, Wait};
use crate::id::{QueueId, Slot, TaskId};
use crate::priority::Priority;
use crate::queue::{PoolKey, Queue, SiteKey};
use crate::rows::ReadRows;
use crate::spool::{self, query};
use crate::time::{DurationMs, UnixMs};

/// Between two tasks of a destination that is away. They are not to reach a host, but have to hear of it: some expire, and of
/// some the sender is to be told that they are late. Of a million, each is looked at within days.
pub(super) const TOUCH: DurationMs = DurationMs(200);
/// A task that went out to ask is given so long before another one is sent: to connect, and for its result to be committed.
/// Longer than that only where hosts do not answer at all, and then the second one waits for the same connection.
const ASK_AGAIN: DurationMs = DurationMs::from_secs(10);

/// What is away together: a site, as its hosts are seen from the source IPs of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SitePath {
    site: SiteKey,
    pool: PoolKey,
}

impl Queue {
    pub(super) fn site_path(&self) -> SitePath {
        let (site, pool) = (self.site, self.pool);
        SitePath { site, pool }
    }
}

/// What may go out to a destination now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// What there is room for, with all that waits for it.
    All,
    /// One task: one that waits for it as well, if that is to ask.
    One {
        asks: bool,
    },
    None,
}

/// A queue that is to have a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It found its destination away.
    Parked(QueueId),
    /// Tasks of it wait for the destination.
    Waiting(QueueId),
}

/// All that are away. One entry for each way that has waiting tasks, at most; what no task waits for is forgotten when it is
/// to be asked again.
#[derive(Debug, Default)]
pub(super) struct Absences {
    known: HashMap<SitePath, Absence>,
    /// When something is to be done about one: one entry for each, at most.
    ticks: BTreeSet<(UnixMs, SitePath)>,
}

#[derive(Debug)]
struct Absence {
    slot: Slot,
    /// It is asked again then, by one that waits for it.
    until: UnixMs,
    /// That time has come, and none has gone out yet.
    asks: bool,
    /// The next task may go out then.
    next: UnixMs,
    tick: Option<UnixMs>,
    /// Queues with due tasks, in the order in which they found it away.
    parked: VecDeque<QueueId>,
    /// Queues with tasks that wait for it to answer.
    waiting: BTreeSet<QueueId>,
    /// The session that asked last, so that they take turns.
    asked: QueueId,
}

impl Absences {
    pub fn next_tick(&self) -> Option<UnixMs> {
        self.ticks.first().map(|(at, _)| *at)
    }

    pub fn pass(&self, way: SitePath, now: UnixMs) -> Pass {
        match self.known.get(&way) {
            None => Pass::All,
            Some(one) if now < one.next => Pass::None,
            Some(one) => Pass::One { asks: one.asks },
        }
    }

    /// A queue finds that it may have no task out now.
    pub fn park(&mut self, way: SitePath, queue: QueueId) {
        if let Some(one) = self.known.get_mut(&way) {
            one.parked.push_back(queue);
            let next = one.next;
            self.arm(way, next);
        }
    }

    /// A task went out, one that waits for the destination perhaps.
    pub fn took_turn(&mut self, way: SitePath, now: UnixMs, has_asked: bool) {
        if let Some(one) = self.known.get_mut(&way) {
            one.next = now + TOUCH;
            one.asks &= !has_asked;
            self.arm(way, now + TOUCH);
        }
    }

    /// A queue that found it away has its turn, if one may go out now.
    pub fn unpark(&mut self, way: SitePath, now: UnixMs) -> Option<Turn> {
        let one = self.known.get_mut(&way)?;
        match now < one.next {
            true => None,
            false => one.parked.pop_front().map(Turn::Parked),
        }
    }

    /// A destination gives no connection, and a task of this queue waits for it. The latest word counts: each is what a
    /// sender made of its own latest try.
    fn away(&mut self, queue: &Queue, away: spool::Away) {
        let way = queue.site_path();
        let one = self.known.entry(way).or_insert_with(|| Absence {
            slot: queue.slot,
            until: away.until,
            asks: false,
            next: away.since + TOUCH,
            tick: None,
            parked: VecDeque::new(),
            waiting: BTreeSet::new(),
            asked: QueueId(0),
        });
        one.until = away.until;
        one.asks = false;
        one.waiting.insert(queue.id);
        self.arm(way, away.since);
    }

    /// Says whether it is away.
    fn wait(&mut self, way: SitePath, queue: QueueId) -> bool {
        let known = self.known.get_mut(&way);
        known.map(|one| one.waiting.insert(queue)).is_some()
    }

    /// No task of this queue waits for it any more.
    pub fn leave(&mut self, way: SitePath, queue: QueueId) {
        if let Some(one) = self.known.get_mut(&way) {
            one.waiting.remove(&queue);
        }
    }

    /// It answers: returns all that wait for a turn.
    fn answered(&mut self, way: SitePath) -> Vec<Turn> {
        let Some(gone) = self.known.remove(&way) else {
            return Vec::new();
        };
        if let Some(tick) = gone.tick {
            self.ticks.remove(&(tick, way));
        }
        let parked = gone.parked.into_iter().map(Turn::Parked);
        parked
            .chain(gone.waiting.into_iter().map(Turn::Waiting))
            .collect()
    }

    fn of_site(&self, is_of_site: impl Fn(SiteKey) -> bool) -> Vec<SitePath> {
        let ways = self.known.keys().copied();
        ways.filter(|way| is_of_site(way.site)).collect()
    }

    /// Another session has the slot, and never tried: it is to ask at once.
    fn ask_now(&mut self, slot: Slot) {
        let of_slot = self.known.iter_mut().filter(|(_, one)| one.slot == slot);
        let ways: Vec<SitePath> = of_slot
            .map(|(way, one)| {
                one.until = UnixMs(0);
                *way
            })
            .collect();
        ways.into_iter().for_each(|way| self.arm(way, UnixMs(0)));
    }

    /// Does what is to be done at the first tick that has come; returns a queue that is to have its turn. None: there is no
    /// such tick any more.
    fn tick(&mut self, now: UnixMs) -> Option<Option<Turn>> {
        let (at, way) = self.ticks.first().copied()?;
        if at > now {
            return None;
        }
        self.ticks.remove(&(at, way));
        let Some(one) = self.known.get_mut(&way) else {
            return Some(None);
        };
        one.tick = None;
        if one.until <= now {
            if one.waiting.is_empty() && one.parked.is_empty() {
                self.known.remove(&way);
                return Some(None);
            }
            one.asks = true;
            one.until = now + ASK_AGAIN;
        }
        let parked = match one.next <= now {
            true => one.parked.pop_front().map(Turn::Parked),
            false => None,
        };
        let turn = match parked {
            None if one.asks => one.next_to_ask().map(Turn::Waiting),
            parked => parked,
        };
        // Should the one whose turn it is leave it, the others must not wait for the next word.
        self.arm(way, now + TOUCH);
        Some(turn)
    }

    /// Sees to the next tick of a way, which is not before `after` for queues that are parked.
    fn arm(&mut self, way: SitePath, after: UnixMs) {
        let Some(one) = self.known.get_mut(&way) else {
            return;
        };
        let parked = (!one.parked.is_empty()).then_some(one.next.max(after));
        let at = parked.map_or(one.until, |parked| parked.min(one.until));
        if let Some(before) = one.tick.replace(at) {
            self.ticks.remove(&(before, way));
        }
        self.ticks.insert((at, way));
    }
}

impl Absence {
    fn next_to_ask(&mut self) -> Option<QueueId> {
        let behind = (Bound::Excluded(self.asked), Bound::Unbounded);
        let next = self.waiting.range(behind).next();
        self.asked = next.or(self.waiting.first()).copied()?;
        Some(self.asked)
    }
}

/// Tasks of a queue that go out before they are due.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub tasks: Vec<Place>,
    /// There may be more from this one on.
    pub rest: Option<TaskId>,
}

impl Dispenser {
    /// Hosts of a site answer, as their sender says, of tasks that are filed under this name in this slot.
    pub fn site_answers(&mut self, site: &str, slot: Slot) {
        let keys = Priority::ALL.map(|priority| SiteKey::of(site, priority, slot));
        for way in self.absences.of_site(|site| keys.contains(&site)) {
            self.answered(way);
        }
    }

    pub(super) fn answered(&mut self, way: SitePath) {
        for turn in self.absences.answered(way) {
            self.has_turn(turn);
        }
    }

    /// A task waits for its destination, which is away if a report says so.
    pub(super) fn awaits(&mut self, queue: &Queue, task: TaskId, away: Option<spool::Away>) {
        let Some(head) = self.queues.get_mut(&queue.id) else {
            return;
        };
        head.awaiting = Some(head.awaiting.map_or(task, |first| first.min(task)));
        match away {
            Some(away) => self.absences.away(queue, away),
            None if self.absences.wait(queue.site_path(), queue.id) => {}
            None => self.has_turn(Turn::Waiting(queue.id)),
        }
    }

    /// A task that went out is back, without a result.
    pub(super) fn waits_again(&mut self, task: TaskId, out: &Out) {
        self.enter(&out.queue, (out.due, task));
        if out.awaits_host {
            self.awaits(&out.queue, task, None);
        }
    }

    /// Another session asks for the tasks of a slot.
    pub(super) fn ask_now(&mut self, slot: Slot) {
        self.absences.ask_now(slot);
    }

    /// A queue has a turn, unless it waits for something else, after which it has one anyway.
    pub(super) fn has_turn(&mut self, turn: Turn) {
        let (Turn::Parked(id) | Turn::Waiting(id)) = turn;
        match (self.queues.get(&id).map(|head| head.wait), turn) {
            (Some(Wait::Until(due)), _) => {
                self.timers.remove(&(due, id));
                self.ready(id);
            }
            (Some(Wait::Room), Turn::Parked(_)) => self.ready(id),
            _ => {}
        }
    }

    /// What is to be done by now about destinations that are away.
    pub(super) fn ask_those_away(&mut self, now: UnixMs) {
        while let Some(turn) = self.absences.tick(now) {
            turn.into_iter().for_each(|turn| self.has_turn(turn));
        }
    }

    /// The first tasks of a queue that wait for its destination and are not out.
    pub(super) fn find_awaiting(
        &self,
        rows: &(impl ReadRows + ?Sized),
        id: QueueId,
        from: TaskId,
        wanted: usize,
    ) -> Early {
        let is_out = |task| self.out.get(task).is_some();
        let mut found = query::awaiting(rows, id, from, wanted + 1, is_out);
        let rest = (found.len() > wanted).then(|| found.pop()).flatten();
        // A replica of an earlier version may have left a place behind.
        let waits = |task: &TaskId| query::task(rows, *task).filter(|row| row.awaits_host);
        let tasks = found.iter().filter_map(|id| Some((waits(id)?.due, *id)));
        let tasks = tasks.collect();
        Early { tasks, rest }
    }

    /// The rows of a queue have not been looked at yet: some of its tasks may wait for their destination.
    pub(super) fn may_await(&mut self, id: QueueId) {
        if let Some(head) = self.queues.get_mut(&id) {
            head.awaiting = Some(FIRST);
        }
    }
}

#[cfg(test)]
#[path = "away_tests.rs"]
mod tests;
