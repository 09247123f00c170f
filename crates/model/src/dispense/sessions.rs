//! What sessions have of the tasks that are out, and what comes back from them.

use std::collections::{BTreeSet, HashMap};

use super::{Dispenser, Out, Wait};
use crate::id::{QueueId, SessionId, Slot, TaskId};
use crate::priority::Priority;
use crate::queue::SiteKey;
use crate::rows::ReadRows;
use crate::spool::query;
use crate::time::UnixMs;

impl Dispenser {
    /// What a session holds according to itself, which has just come back, with the attempts before: that is out at it and
    /// nothing else. What it does not know of never reached it, and it may not know yet that an attempt was recorded.
    ///
    /// A task that went to another session meanwhile stays there while that one `lives`: the one that is back has lost it.
    /// One that does not live may be an earlier session of the same sender.
    pub fn session_back(
        &mut self,
        rows: &(impl ReadRows + ?Sized),
        session: SessionId,
        held: &HashMap<TaskId, u32>,
        lives: impl Fn(SessionId) -> bool,
    ) {
        self.absent.remove(&session);
        // What it said on the way to here may be lost. Those of other sessions are closed again if need be.
        for slot in self.closed.keys().copied().collect::<Vec<_>>() {
            self.open_slot(slot);
        }
        let is_open = |(task, attempts): &(&TaskId, &u32)| {
            query::task(rows, **task).is_some_and(|row| row.attempts == **attempts)
        };
        let held: BTreeSet<TaskId> = held.iter().filter(is_open).map(|(task, _)| *task).collect();
        let known = self.out.of(session).into_iter();
        let known: Vec<TaskId> = known
            .map(|(task, _)| task)
            .filter(|task| !held.contains(task))
            .collect();
        for task in known {
            self.give_back(session, task);
        }
        for task in held {
            if let Some(out) = self.out.get(task) {
                if !lives(out.session) {
                    self.out.insert(task, Out { session, ..out });
                }
            } else {
                self.adopt(rows, session, task);
            }
        }
    }

    /// Marks a task as out that an earlier leader gave to this session.
    fn adopt(&mut self, rows: &(impl ReadRows + ?Sized), session: SessionId, id: TaskId) {
        let (Some(task), Some(message)) = (query::task(rows, id), query::message(rows, id.message))
        else {
            return;
        };
        let queue = task.queue(&message.envelope);
        self.enter(&queue, (task.due, id));
        let out = Out {
            session,
            queue,
            due: task.due,
            awaits_host: task.awaits_host,
        };
        self.put_out(id, out);
    }

    /// Takes back what a session held, because it has ended.
    pub fn session_gone(&mut self, session: SessionId) {
        self.absent.remove(&session);
        for (task, out) in self.out.of(session) {
            self.returned(task);
            self.waits_again(task, &out);
        }
        self.turns.session_gone(session);
    }

    /// Takes one task back from the session that has it, for instance because it was not begun.
    pub fn give_back(&mut self, session: SessionId, task: TaskId) {
        let out = self.out.get(task);
        if let Some(out) = out.filter(|out| out.session == session) {
            self.returned(task);
            self.waits_again(task, &out);
        }
    }

    /// Takes one task back that waited for a limit at its session, which lets none of its queue go before this time, unless
    /// it is raised. The queue has no turns until then, or until its session says that mail of its site goes, or comes back
    /// and may have said so, or another session asks for its slot.
    pub fn postpone(&mut self, session: SessionId, task: TaskId, until: UnixMs) {
        let out = self.out.get(task);
        if let Some(Out { queue, .. }) = out.filter(|out| out.session == session) {
            self.give_back(session, task);
            if let Some(head) = self.queues.get_mut(&queue.id) {
                head.closed_until = until;
                self.closed.entry(queue.slot).or_default().insert(queue.id);
            }
        }
    }

    /// Mail of a site goes again, of tasks that are filed under this name in this slot.
    pub fn open_site(&mut self, site: &str, slot: Slot) {
        let keys = Priority::ALL.map(|priority| SiteKey::of(site, priority, slot));
        let closed = self.closed.get(&slot).into_iter().flatten();
        let of_site = closed.filter(|id| keys.contains(&self.queues[*id].queue.site));
        for id in of_site.copied().collect::<Vec<_>>() {
            self.open(id);
        }
    }

    /// Another session asks for the tasks of a slot, which knows nothing of what the one before it waited for.
    pub(super) fn open_slot(&mut self, slot: Slot) {
        for id in self.closed.remove(&slot).into_iter().flatten() {
            self.open(id);
        }
    }

    fn open(&mut self, id: QueueId) {
        let Some(head) = self.queues.get_mut(&id) else {
            return;
        };
        if head.closed_until == UnixMs(0) {
            return;
        }
        head.closed_until = UnixMs(0);
        let (slot, wait) = (head.queue.slot, head.wait);
        self.not_closed(id, slot);
        if let Wait::Until(due) = wait {
            self.timers.remove(&(due, id));
            self.ready(id);
        }
    }

    pub(super) fn not_closed(&mut self, id: QueueId, slot: Slot) {
        if let Some(closed) = self.closed.get_mut(&slot) {
            closed.remove(&id);
            if closed.is_empty() {
                self.closed.remove(&slot);
            }
        }
    }
}
