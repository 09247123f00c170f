//! Which due tasks go out next.
//!
//! The dispenser remembers one small entry for each queue that has open tasks, and one for each task that is
//! out at a sender. The tasks themselves stay in the rows, so a million waiting tasks cost no memory.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::id::{QueueId, SessionId, Slot, TaskId};
use crate::rows::ReadRows;
use crate::spool::{Effect, query};
use crate::time::UnixMs;

/// Tasks that one queue may have out at once. Enough to keep a site's connections busy, few enough that a
/// site which does not move cannot take a sender's whole window.
pub const IN_FLIGHT_PER_QUEUE: usize = 256;

/// Tasks taken from one queue before the next queue has its turn.
const QUANTUM: usize = 16;

const FIRST: TaskId = TaskId {
    message: crate::MessageId([0; 16]),
    number: 0,
};

/// A place in a queue's order of due times.
type Place = (UnixMs, TaskId);

#[derive(Debug)]
struct Head {
    slot: Slot,
    /// Every task before this place that is still in the rows is out at a sender.
    cursor: Place,
    in_flight: usize,
    wait: Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// In the rotation of queues that may have due tasks.
    Rotation,
    /// Nothing is due before this time.
    Until(UnixMs),
    /// As many tasks are out as may be.
    Returns,
    /// Nothing waits.
    Idle,
}

#[derive(Debug, Clone, Copy)]
struct Out {
    session: SessionId,
    queue: QueueId,
    slot: Slot,
    due: UnixMs,
}

#[derive(Debug, Default)]
pub struct Dispenser {
    queues: HashMap<QueueId, Head>,
    rotation: VecDeque<QueueId>,
    timers: BTreeSet<(UnixMs, QueueId)>,
    out: HashMap<TaskId, Out>,
    /// Sessions that may hold tasks of an earlier leader and have not said which.
    absent: BTreeSet<SessionId>,
}

impl Dispenser {
    /// Builds the memory of a new leader from the rows. Nothing goes out before each of these sessions has come back
    /// or is gone: what it holds would go out twice.
    pub fn load(rows: &(impl ReadRows + ?Sized), absent: BTreeSet<SessionId>) -> Self {
        let mut dispenser = Self {
            absent,
            ..Self::default()
        };
        let mut after = None;
        loop {
            let page = query::queues(rows, after, 1000);
            let Some((last, _)) = page.last() else {
                return dispenser;
            };
            after = Some(*last);
            for (id, row) in page {
                dispenser.enter(id, row.slot, (UnixMs(0), FIRST));
            }
        }
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
            Effect::Due {
                queue,
                slot,
                due,
                task,
            } => {
                if self.out.get(task).is_some_and(|out| out.due == *due) {
                    // It went out before word of its arrival came.
                    return;
                }
                self.returned(*task);
                self.enter(*queue, *slot, (*due, *task));
            }
            Effect::Ended { task, .. } => self.returned(*task),
            Effect::BodyNeeded { .. }
            | Effect::BodyFree { .. }
            | Effect::SlotsOpened
            | Effect::EventsUntil(_) => {}
        }
    }

    /// What a session holds according to itself, which has just come back: that is out at it and nothing else.
    /// What it does not know of never reached it.
    pub fn session_back(
        &mut self,
        rows: &(impl ReadRows + ?Sized),
        session: SessionId,
        held: &HashSet<TaskId>,
    ) {
        self.absent.remove(&session);
        let out = self.out.iter();
        let lost = out.filter(|(task, out)| out.session == session && !held.contains(task));
        let mut known: Vec<TaskId> = lost.map(|(task, _)| *task).collect();
        known.sort_unstable();
        for task in known {
            self.give_back(session, task);
        }
        for task in held {
            if let Some(out) = self.out.get_mut(task) {
                out.session = session;
            } else {
                self.adopt(rows, session, *task);
            }
        }
    }

    /// Marks a task as out that an earlier leader gave to this session.
    fn adopt(&mut self, rows: &(impl ReadRows + ?Sized), session: SessionId, id: TaskId) {
        let (Some(task), Some(message)) = (query::task(rows, id), query::message(rows, id.message))
        else {
            return;
        };
        let envelope = &message.envelope;
        let queue = QueueId::of(&task.domain, &envelope.tenant, &envelope.pool);
        self.enter(queue, task.slot, (task.due, id));
        if let Some(head) = self.queues.get_mut(&queue) {
            head.in_flight += 1;
        }
        self.out.insert(
            id,
            Out {
                session,
                queue,
                slot: task.slot,
                due: task.due,
            },
        );
    }

    /// Takes back what a session held, because it has ended.
    pub fn session_gone(&mut self, session: SessionId) {
        self.absent.remove(&session);
        let held = self.out.iter().filter(|(_, out)| out.session == session);
        let mut held: Vec<(TaskId, Out)> = held.map(|(task, out)| (*task, *out)).collect();
        held.sort_unstable_by_key(|(task, _)| *task);
        for (task, out) in held {
            self.returned(task);
            self.enter(out.queue, out.slot, (out.due, task));
        }
    }

    /// Takes one task back from the session that has it, for instance because it was not begun.
    pub fn give_back(&mut self, session: SessionId, task: TaskId) {
        let out = self.out.get(&task).copied();
        if let Some(out) = out.filter(|out| out.session == session) {
            self.returned(task);
            self.enter(out.queue, out.slot, (out.due, task));
        }
    }

    /// Up to `limit` due tasks of the slots that `owns` names, which are then out at `session`.
    pub fn take(
        &mut self,
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        session: SessionId,
        owns: impl Fn(Slot) -> bool,
        limit: usize,
    ) -> Vec<TaskId> {
        let mut taken = Vec::new();
        if !self.absent.is_empty() {
            return taken;
        }
        self.wake(now);
        for _ in 0..self.rotation.len() {
            if taken.len() >= limit {
                break;
            }
            let Some(id) = self.rotation.pop_front() else {
                break;
            };
            if !self.queues.get(&id).is_some_and(|head| owns(head.slot)) {
                self.rotation.push_back(id);
                continue;
            }
            // A queue keeps its turn while others have none, so that one busy domain fills the window.
            loop {
                let before = taken.len();
                self.take_from(rows, now, session, id, limit - taken.len(), &mut taken);
                let more = self
                    .queues
                    .get(&id)
                    .is_some_and(|head| head.wait == Wait::Rotation);
                if !more
                    || !self.rotation.is_empty()
                    || taken.len() >= limit
                    || taken.len() == before
                {
                    if more {
                        self.rotation.push_back(id);
                    }
                    break;
                }
            }
        }
        taken
    }

    /// When the next queue that now waits comes due; none if a queue is due already or none waits.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Whether a queue may have due tasks that wait for room at a sender.
    pub fn has_due(&self) -> bool {
        !self.rotation.is_empty()
    }

    fn wake(&mut self, now: UnixMs) {
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            if let Some(head) = self.queues.get_mut(&id) {
                head.wait = Wait::Rotation;
                self.rotation.push_back(id);
            }
        }
    }

    /// One turn of a queue.
    fn take_from(
        &mut self,
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        session: SessionId,
        id: QueueId,
        limit: usize,
        taken: &mut Vec<TaskId>,
    ) {
        let head = self.queues.get_mut(&id).expect("the caller looked it up");
        let room = IN_FLIGHT_PER_QUEUE.saturating_sub(head.in_flight);
        let wanted = limit.min(QUANTUM).min(room);
        if wanted == 0 {
            head.wait = if room == 0 {
                Wait::Returns
            } else {
                Wait::Rotation
            };
            return;
        }
        // One row more than wanted tells when the queue is due again. Tasks that are out may stand behind a
        // cursor that was set back; they are passed over, and at most IN_FLIGHT_PER_QUEUE of them exist.
        let found = query::due_after(
            rows,
            id,
            head.cursor,
            UnixMs(u64::MAX),
            wanted + 1 + head.in_flight,
        );
        let mut given = 0;
        for (due, task) in found {
            if self.out.contains_key(&task) {
                continue;
            }
            head.cursor = (due, task);
            if due > now {
                head.wait = Wait::Until(due);
                self.timers.insert((due, id));
                return;
            }
            if given == wanted {
                head.wait = Wait::Rotation;
                return;
            }
            given += 1;
            head.in_flight += 1;
            head.cursor = (
                due,
                TaskId {
                    number: task.number.saturating_add(1),
                    ..task
                },
            );
            self.out.insert(
                task,
                Out {
                    session,
                    queue: id,
                    slot: head.slot,
                    due,
                },
            );
            taken.push(task);
        }
        if head.in_flight == 0 {
            self.queues.remove(&id);
        } else {
            head.wait = Wait::Idle;
        }
    }

    /// A task is no longer out.
    fn returned(&mut self, task: TaskId) {
        let Some(out) = self.out.remove(&task) else {
            return;
        };
        let Some(head) = self.queues.get_mut(&out.queue) else {
            return;
        };
        head.in_flight -= 1;
        match head.wait {
            Wait::Returns => {
                head.wait = Wait::Rotation;
                self.rotation.push_back(out.queue);
            }
            Wait::Idle if head.in_flight == 0 => {
                self.queues.remove(&out.queue);
            }
            _ => {}
        }
    }

    /// A task waits at `place`.
    fn enter(&mut self, id: QueueId, slot: Slot, place: Place) {
        let head = self.queues.entry(id).or_insert(Head {
            slot,
            cursor: place,
            in_flight: 0,
            wait: Wait::Idle,
        });
        head.cursor = head.cursor.min(place);
        match head.wait {
            Wait::Until(due) if due <= place.0 => return,
            Wait::Until(due) => {
                self.timers.remove(&(due, id));
            }
            Wait::Idle => {}
            Wait::Rotation | Wait::Returns => return,
        }
        head.wait = Wait::Until(place.0);
        self.timers.insert((place.0, id));
    }
}
