//! Typed access to the rows of a spool group for one command.

use minicbor::Encode;

use super::held::{self, HeldRow};
use super::import::ImportRow;
use super::rows::{MessageRow, QueueRow, SlotRow, StateRow, TaskRow, key};
use crate::codec;
use crate::event::{Event, EventKind};
use crate::id::{MessageId, QueueId, Slot, TaskId};
use crate::mail::Envelope;
use crate::rows::{Rows, load};
use crate::time::UnixMs;

/// The rows and the group's own row, while commands of one entry are applied.
pub(super) struct State<'r, R: Rows> {
    rows: &'r mut R,
    pub row: StateRow,
}

impl<'r, R: Rows> State<'r, R> {
    pub fn open(rows: &'r mut R, at: UnixMs) -> Self {
        let mut row: StateRow = load(rows, key::STATE).unwrap_or_default();
        row.now = row.now.max(at);
        Self { rows, row }
    }

    pub fn close(self) {
        self.rows.put(key::STATE.to_vec(), codec::encode(&self.row));
    }

    pub fn now(&self) -> UnixMs {
        self.row.now
    }

    fn save<T: Encode<()>>(&mut self, key: Vec<u8>, value: &T) {
        self.rows.put(key, codec::encode(value));
    }

    pub fn message(&self, id: MessageId) -> Option<MessageRow> {
        load(self.rows, &key::message(id))
    }

    pub fn put_message(&mut self, id: MessageId, row: &MessageRow) {
        self.save(key::message(id), row);
    }

    pub fn task(&self, id: TaskId) -> Option<TaskRow> {
        load(self.rows, &key::task(id))
    }

    pub fn put_task(&mut self, id: TaskId, row: &TaskRow) {
        self.save(key::task(id), row);
    }

    pub fn delete_task(&mut self, id: TaskId) {
        self.rows.delete(key::task(id));
    }

    /// Gives a task its place in line, and one among those that wait for their destination if it does.
    pub fn add_due(&mut self, queue: QueueId, task: TaskId, row: &TaskRow) {
        self.rows.put(key::due(queue, row.due, task), Vec::new());
        if row.awaits_host {
            self.rows.put(key::awaiting(queue, task), Vec::new());
        }
    }

    /// Takes a task out of line, where it is as its row still says.
    pub fn delete_due(&mut self, queue: QueueId, task: TaskId, row: &TaskRow) {
        self.rows.delete(key::due(queue, row.due, task));
        if row.awaits_host {
            self.rows.delete(key::awaiting(queue, task));
        }
    }

    pub fn slot(&self, slot: Slot) -> Option<SlotRow> {
        load(self.rows, &key::slot(slot))
    }

    pub fn put_slot(&mut self, slot: Slot, row: &SlotRow) {
        self.save(key::slot(slot), row);
    }

    /// Counts a task into its queue; the queue's row exists while it has tasks.
    pub fn queue_gains(&mut self, id: QueueId, empty: impl FnOnce() -> QueueRow) {
        let mut row: QueueRow = load(self.rows, &key::queue(id)).unwrap_or_else(empty);
        row.tasks = row.tasks.saturating_add(1);
        self.save(key::queue(id), &row);
    }

    pub fn queue_loses(&mut self, id: QueueId) {
        let Some(mut row) = load::<QueueRow>(self.rows, &key::queue(id)) else {
            return;
        };
        row.tasks = row.tasks.saturating_sub(1);
        if row.tasks == 0 {
            self.rows.delete(key::queue(id));
        } else {
            self.save(key::queue(id), &row);
        }
    }

    pub fn event(&mut self, message: MessageId, row: &MessageRow, kind: EventKind) {
        let Envelope {
            return_path,
            tenant,
            ..
        } = &row.envelope;
        self.event_of(message, (return_path, tenant), kind);
    }

    /// Of a message of this sender and tenant.
    pub fn event_of(
        &mut self,
        message: MessageId,
        (sender, tenant): (&str, &str),
        kind: EventKind,
    ) {
        let event = Event {
            seq: self.row.next_seq,
            at: self.row.now,
            message,
            sender: sender.to_owned(),
            tenant: tenant.to_owned(),
            kind,
        };
        self.row.next_seq = self.row.next_seq.saturating_add(1);
        self.put_event(event.seq, message);
        self.put_history(message, &event);
    }

    /// The place of an event in the order of all, for sinks.
    pub fn put_event(&mut self, seq: u64, message: MessageId) {
        self.rows.put(key::event(seq), message.0.to_vec());
    }

    pub fn put_history(&mut self, message: MessageId, event: &Event) {
        self.save(key::history(message, event.seq), event);
    }

    pub fn history(&self, message: MessageId) -> Vec<Event> {
        super::query::history(self.rows, message)
    }

    pub fn put_finished(&mut self, at: UnixMs, message: MessageId) {
        self.rows.put(key::finished(at, message), Vec::new());
    }

    pub fn import(&self) -> Option<ImportRow> {
        load(self.rows, key::IMPORT)
    }

    pub fn put_import(&mut self, row: ImportRow) {
        self.save(key::IMPORT.to_vec(), &row);
    }

    pub fn held(&self, tenant: &str) -> Option<HeldRow> {
        load(self.rows, &key::held(tenant))
    }

    /// The row is there while there is something.
    pub fn put_held(&mut self, tenant: &str, row: HeldRow) {
        match row == HeldRow::default() {
            true => self.rows.delete(key::held(tenant)),
            false => self.save(key::held(tenant), &row),
        }
    }

    /// Counts a message that has open tasks, with so many recipients together.
    pub fn opened(&mut self, row: &MessageRow, recipients: usize) {
        held::gain(self, row, recipients);
        let tasks = u64::from(row.open_tasks);
        self.row.open_messages = self.row.open_messages.saturating_add(1);
        self.row.open_tasks = self.row.open_tasks.saturating_add(tasks);
        self.row.open_body_bytes = self.row.open_body_bytes.saturating_add(row.body.bytes);
    }

    /// Writes the message back after one of its tasks ended; true when that was the last.
    pub fn task_ended(&mut self, id: MessageId, row: &mut MessageRow) -> bool {
        row.open_tasks = row.open_tasks.saturating_sub(1);
        self.row.open_tasks = self.row.open_tasks.saturating_sub(1);
        let finished = row.open_tasks == 0;
        if finished {
            row.finished_at = Some(self.row.now);
            self.row.open_messages = self.row.open_messages.saturating_sub(1);
            self.row.open_body_bytes = self.row.open_body_bytes.saturating_sub(row.body.bytes);
            self.put_finished(self.row.now, id);
            held::lose_bytes(self, row);
        }
        self.put_message(id, row);
        finished
    }

    pub fn tasks_of(&self, message: MessageId) -> Vec<TaskId> {
        let mut tasks = Vec::new();
        self.rows.scan(&key::tasks_of(message), &[], &mut |key, _| {
            tasks.extend(key::read_task(key));
            true
        });
        tasks
    }

    pub fn due_before(
        &self,
        queue: QueueId,
        before: UnixMs,
        limit: usize,
        from: UnixMs,
    ) -> Vec<(UnixMs, TaskId)> {
        super::query::due(self.rows, queue, from, before, limit)
    }

    /// Forgets up to `limit` trimmed events and finished messages; says how many rows went.
    pub fn trim(&mut self, events_before: u64, finished_before: UnixMs, limit: u32) -> u64 {
        let limit = limit as usize;
        let events_end = events_before
            .min(self.row.next_seq)
            .min(self.row.first_seq.saturating_add(limit as u64));
        let mut removed = events_end.saturating_sub(self.row.first_seq);
        for seq in self.row.first_seq..events_end {
            self.rows.delete(key::event(seq));
        }
        self.row.first_seq = self.row.first_seq.max(events_end);
        if self.import().is_some_and(|row| !row.finished) {
            return removed;
        }
        let mut finished = Vec::new();
        self.rows.scan(key::FINISHED, &[], &mut |row_key, _| {
            match key::read_finished(row_key) {
                Some((at, id)) if at < finished_before && finished.len() < limit => {
                    finished.push((at, id))
                }
                _ => return false,
            }
            true
        });
        for (at, id) in finished {
            removed += self.forget(at, id);
        }
        removed
    }

    /// Removes a finished message and its history, unless a sink still has to read some of it.
    fn forget(&mut self, at: UnixMs, id: MessageId) -> u64 {
        let mut history = Vec::new();
        let mut last_seq = 0;
        self.rows
            .scan(&key::history_of(id), &[], &mut |row_key, _| {
                history.push(row_key.to_vec());
                last_seq = row_key.get(17..25).map_or(0, |n| {
                    u64::from_be_bytes(n.try_into().expect("eight bytes"))
                });
                true
            });
        if last_seq >= self.row.first_seq {
            return 0;
        }
        let removed = history.len() as u64 + 2;
        for row_key in history {
            self.rows.delete(row_key);
        }
        self.rows.delete(key::finished(at, id));
        self.rows.delete(key::message(id));
        removed
    }
}
