//! Which due tasks go out next, and to whom.
//!
//! The dispenser remembers one small entry for each queue that has open tasks, and one for each task that is
//! out at a sender. The tasks themselves stay in the rows, so a million waiting tasks cost no memory.
//!
//! A session is given tasks of its slots: from its tenants in turn, by weight; of a tenant, transactional mail before
//! bulk; of these, from all queues in turn. What a take costs grows with the tasks that it gives, and hardly with the
//! number of queues.

mod away;
mod outstanding;
mod ready;
mod ring;
mod sessions;
mod sites;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::automation::Suspensions;
use crate::id::{QueueId, SessionId, Slot, TaskId};
use crate::queue::{Queue, SiteKey};
use crate::rows::ReadRows;
use crate::spool::{Effect, query};
use crate::time::UnixMs;

use away::{Absences, Early, Pass};
use outstanding::{Out, Outstanding};
pub use ready::{Standing, Standings};
pub use sites::WINDOW_MAX;
use sites::{Places, Room, Sites};
use turns::Turns;
pub use turns::Weights;

const FIRST: TaskId = TaskId {
    message: crate::MessageId([0; 16]),
    number: 0,
};

/// A place in a queue's order of due times.
pub type Place = (UnixMs, TaskId);

#[derive(Debug)]
struct Head {
    queue: Queue,
    /// Every task before this place that is still in the rows is out at a sender.
    cursor: Place,
    in_flight: usize,
    wait: Wait,
    /// A limit lets none of its tasks go before.
    closed_until: UnixMs,
    /// Of the tasks that wait for their destination to answer, every one before this that is still in the rows is out at a
    /// sender; none: so are all.
    awaiting: Option<TaskId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Has turns, because it may have due tasks.
    Turn,
    /// Nothing is due before this time.
    Until(UnixMs),
    /// As many of its tasks are out as may be.
    Returns,
    /// As many tasks of its site are out as may be.
    Room,
    /// Nothing waits.
    Idle,
}

/// What a session wants of a queue in its turn.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    most: usize,
    /// What the session may have of all queues together.
    window: usize,
}

/// What was found for a queue's turn, of which this many tasks go out at most.
#[derive(Debug)]
struct Given {
    /// None: those that wait for their destination are not looked for.
    early: Option<Early>,
    found: Vec<Place>,
    most: usize,
}

#[derive(Debug, Default)]
pub struct Dispenser {
    queues: HashMap<QueueId, Head>,
    turns: Turns,
    sites: Sites,
    absences: Absences,
    timers: BTreeSet<(UnixMs, QueueId)>,
    out: Outstanding,
    /// Sessions that may hold tasks of an earlier leader and have not said which.
    absent: BTreeSet<SessionId>,
    /// Mail that operators hold back, and queues that wait because of it.
    suspensions: Suspensions,
    suspended: BTreeSet<QueueId>,
    /// Queues of which a limit lets nothing go, as far as the session knows that asks for their slot.
    closed: BTreeMap<Slot, BTreeSet<QueueId>>,
}

impl Dispenser {
    /// Builds the memory of a new leader from the rows. Nothing goes out before each of these sessions has come back
    /// or is gone: what it holds would go out twice.
    pub fn load(rows: &(impl ReadRows + ?Sized), absent: BTreeSet<SessionId>) -> Self {
        let mut dispenser = Self {
            absent,
            ..Self::default()
        };
        query::each_queue(rows, |_, row| {
            let queue = row.queue();
            dispenser.enter(&queue, (UnixMs(0), FIRST));
            dispenser.may_await(queue.id);
        });
        dispenser
    }

    /// From now on tenants have these weights.
    #[expect(clippy::iter_over_hash_type, reason = "a sum is the same in any order")]
    pub fn set_weights(&mut self, weights: Weights) {
        self.turns.set_weights(weights);
        self.sites.clear_weights();
        for head in self.queues.values() {
            let weight = self.turns.weight(head.queue.tenant);
            self.sites.add_weight(head.queue.site, weight);
        }
    }

    /// From now on this mail is held back. What is out at a sender already is its to finish.
    pub fn set_suspensions(&mut self, suspensions: Suspensions) {
        self.suspensions = suspensions;
        for id in std::mem::take(&mut self.suspended) {
            if let Some(Wait::Until(due)) = self.queues.get(&id).map(|head| head.wait) {
                self.timers.remove(&(due, id));
                self.ready(id);
            }
        }
    }

    /// Until when operators hold a queue back, if they do.
    fn suspended_until(
        &self,
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        id: QueueId,
    ) -> Option<UnixMs> {
        if self.suspensions.is_empty() {
            return None;
        }
        let row = query::queue(rows, id)?;
        let free_at = self.suspensions.free_at(&row.facts(), now);
        (free_at > now).then_some(free_at)
    }

    /// Sessions that hold up everything, because they may hold tasks.
    pub fn absent(&self) -> &BTreeSet<SessionId> {
        &self.absent
    }

    /// Tasks that are out at a sender.
    pub fn in_flight(&self) -> usize {
        self.out.len()
    }

    pub fn on_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Due { queue, due, task } => {
                if self.out.get(*task).is_some_and(|out| out.due == *due) {
                    // It went out before word of its arrival came.
                    return;
                }
                self.returned(*task);
                self.enter(queue, (*due, *task));
            }
            Effect::Moved { queue, due, task } => self.moved(queue, *due, *task),
            Effect::Awaits { queue, task, away } => self.awaits(queue, *task, *away),
            Effect::Answered { queue } => self.answered(queue.site_path()),
            Effect::Ended { task, .. } => self.returned(*task),
            Effect::BodyNeeded { .. }
            | Effect::BodyFree { .. }
            | Effect::SlotsOpened
            | Effect::EventsUntil(_) => {}
        }
    }

    /// A task waits in another queue. One that is out stays out: its session is to hear first that it has moved, or would
    /// take it for the one that it has when it comes again.
    fn moved(&mut self, queue: &Queue, due: UnixMs, task: TaskId) {
        let Some(out) = self.out.get(task) else {
            return self.enter(queue, (due, task));
        };
        if out.queue.id == queue.id {
            // It went out before word of its arrival came.
            return;
        }
        self.returned(task);
        self.enter(queue, (due, task));
        let queue = *queue;
        self.put_out(task, Out { queue, due, ..out });
    }

    /// A task is out that its queue has.
    fn put_out(&mut self, task: TaskId, out: Out) {
        if let Some(head) = self.queues.get_mut(&out.queue.id) {
            head.in_flight += 1;
            self.sites.went_out(out.queue.site, 1);
        }
        self.out.insert(task, out);
    }

    /// Up to `most` due tasks of the slots that `owns` names, which are then out at `session`, that has as many as its
    /// `window` at most.
    pub fn take(
        &mut self,
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        session: SessionId,
        owns: impl Fn(Slot) -> bool,
        most: usize,
        window: usize,
    ) -> Vec<TaskId> {
        let mut taken = Vec::new();
        if !self.absent.is_empty() {
            return taken;
        }
        self.wake(now);
        for slot in self.turns.own(session, owns) {
            self.open_slot(slot);
            self.ask_now(slot);
        }
        while taken.len() < most {
            let Some(turn) = self.turns.next(session) else {
                break;
            };
            let before = taken.len();
            let wanted = Wanted {
                most: turn.tasks_max.min(most - before),
                window,
            };
            self.take_from(rows, now, session, turn.queue, wanted, &mut taken);
            self.turns.took(session, &turn, taken.len() - before);
        }
        taken
    }

    /// When the next queue that now waits comes due; none if a queue is due already or none waits.
    pub fn next_due(&self) -> Option<UnixMs> {
        let queue = self.timers.first().map(|(due, _)| *due);
        queue.into_iter().chain(self.absences.next_tick()).min()
    }

    fn wake(&mut self, now: UnixMs) {
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            self.ready(id);
        }
        self.ask_those_away(now);
    }

    /// A queue may have due tasks that may go out.
    fn ready(&mut self, id: QueueId) {
        if let Some(head) = self.queues.get_mut(&id) {
            head.wait = Wait::Turn;
            self.turns.insert(&head.queue);
        }
    }

    /// One turn of a queue, after which it waits for its next turn or for what keeps it from having one.
    fn take_from(
        &mut self,
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        session: SessionId,
        id: QueueId,
        wanted: Wanted,
        taken: &mut Vec<TaskId>,
    ) {
        let head = &self.queues[&id];
        let (queue, cursor) = (head.queue, head.cursor);
        if head.closed_until > now {
            self.pause(id, Wait::Until(head.closed_until));
            return self.unpark(queue.site);
        }
        if let Some(until) = self.suspended_until(rows, now, id) {
            self.pause(id, Wait::Until(until));
            self.suspended.insert(id);
            return self.unpark(queue.site);
        }
        let (way, pass) = (
            queue.site_path(),
            self.absences.pass(queue.site_path(), now),
        );
        let weight = self.turns.weight(queue.tenant);
        let own = head.in_flight;
        let places = Places {
            held: self.out.held_by(session),
            window: wanted.window,
        };
        let next = match self.sites.room(queue.site, now, weight, own, places) {
            _ if pass == Pass::None => {
                self.absences.park(way, id);
                Wait::Room
            }
            Room::Tasks(room) => {
                let (most, waits_too) = match pass {
                    Pass::One { asks } => (1, asks),
                    Pass::All | Pass::None => (wanted.most.min(room), true),
                };
                let from = head.awaiting.filter(|_| waits_too);
                let early = from.map(|from| self.find_awaiting(rows, id, from, most));
                let found = self.find(rows, now, id, cursor, most, early.as_ref());
                let given = Given { early, found, most };
                self.give(session, queue, now, given, taken)
            }
            Room::OwnShareUsed => Wait::Returns,
            Room::Full => {
                self.sites.park(queue.site, id);
                Wait::Room
            }
        };
        if next != Wait::Turn {
            self.pause(id, next);
        }
        self.unpark(queue.site);
        let parked = self.absences.unpark(way, now);
        parked.into_iter().for_each(|turn| self.has_turn(turn));
    }

    /// The first tasks of a queue that are neither out nor going out early: the due ones that are wanted, and one more, which
    /// tells when the queue is due again.
    fn find(
        &self,
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        id: QueueId,
        cursor: Place,
        most: usize,
        early: Option<&Early>,
    ) -> Vec<Place> {
        let early = early.map_or(&[][..], |early| &early.tasks);
        let wanted = most - early.len();
        let mut found = Vec::with_capacity(wanted + 1);
        query::scan_due(rows, id, cursor, &mut |due, task| {
            // Tasks that are out may stand behind a cursor that was set back, or wait for their destination and not be due;
            // there are few.
            if self.out.get(task).is_some() || early.contains(&(due, task)) {
                return true;
            }
            found.push((due, task));
            due <= now && found.len() <= wanted
        });
        found
    }

    /// Gives a session what was found; returns what the queue then waits for.
    fn give(
        &mut self,
        session: SessionId,
        queue: Queue,
        now: UnixMs,
        Given { early, found, most }: Given,
        taken: &mut Vec<TaskId>,
    ) -> Wait {
        let head = self.queues.get_mut(&queue.id);
        let head = head.expect("only known queues have turns");
        let mut wait = Wait::Idle;
        let (has_looked, early) = (early.is_some(), early.unwrap_or_default());
        for (due, task) in &early.tasks {
            let out = Out {
                session,
                queue,
                due: *due,
                awaits_host: true,
            };
            self.out.insert(*task, out);
            taken.push(*task);
        }
        let asks = early.tasks.len();
        let wanted = most - asks;
        let mut given = 0;
        for (due, task) in found {
            head.cursor = (due, task);
            if due > now || given == wanted {
                wait = if due > now {
                    Wait::Until(due)
                } else {
                    Wait::Turn
                };
                break;
            }
            given += 1;
            head.cursor.1.number = task.number.saturating_add(1);
            let out = Out {
                session,
                queue,
                due,
                awaits_host: false,
            };
            self.out.insert(task, out);
            taken.push(task);
        }
        if has_looked {
            head.awaiting = early.rest;
            match early.rest {
                Some(_) => wait = Wait::Turn,
                None => self.absences.leave(queue.site_path(), queue.id),
            }
        }
        given += asks;
        head.in_flight += given;
        self.sites.went_out(queue.site, given);
        if given > 0 {
            self.absences.took_turn(queue.site_path(), now, asks > 0);
        }
        wait
    }

    /// A queue that found its site full has turns again if there is room.
    fn unpark(&mut self, site: SiteKey) {
        if let Some(parked) = self.sites.unpark(site) {
            self.ready(parked);
        }
    }

    /// A queue has no turns until something happens.
    fn pause(&mut self, id: QueueId, wait: Wait) {
        let head = self.queues.get_mut(&id).expect("only known queues pause");
        self.turns.remove(&head.queue);
        head.wait = wait;
        match wait {
            Wait::Until(due) => {
                self.timers.insert((due, id));
            }
            Wait::Idle if head.in_flight == 0 => self.forget(id),
            _ => {}
        }
    }

    fn forget(&mut self, id: QueueId) {
        self.suspended.remove(&id);
        if let Some(head) = self.queues.remove(&id) {
            self.absences.leave(head.queue.site_path(), id);
            self.not_closed(id, head.queue.slot);
            let weight = self.turns.weight(head.queue.tenant);
            self.sites.remove_weight(head.queue.site, weight);
        }
    }

    /// A task is no longer out.
    fn returned(&mut self, task: TaskId) {
        let Some(out) = self.out.remove(task) else {
            return;
        };
        let Some(head) = self.queues.get_mut(&out.queue.id) else {
            return;
        };
        head.in_flight -= 1;
        let wait = head.wait;
        if wait == Wait::Idle && head.in_flight == 0 {
            self.forget(out.queue.id);
        } else if wait == Wait::Returns {
            self.ready(out.queue.id);
        }
        self.sites.came_back(out.queue.site);
        self.unpark(out.queue.site);
    }

    /// A task waits at `place`.
    fn enter(&mut self, queue: &Queue, place: Place) {
        let id = queue.id;
        if !self.queues.contains_key(&id) {
            let weight = self.turns.weight(queue.tenant);
            self.sites.add_weight(queue.site, weight);
        }
        let head = self.queues.entry(id).or_insert(Head {
            queue: *queue,
            cursor: place,
            in_flight: 0,
            wait: Wait::Idle,
            closed_until: UnixMs(0),
            awaiting: None,
        });
        head.cursor = head.cursor.min(place);
        match head.wait {
            Wait::Until(due) if due <= place.0 => return,
            Wait::Until(due) => {
                self.timers.remove(&(due, id));
            }
            Wait::Idle => {}
            Wait::Turn | Wait::Returns | Wait::Room => return,
        }
        head.wait = Wait::Until(place.0);
        self.timers.insert((place.0, id));
    }
}

#[cfg(test)]
mod tests;
