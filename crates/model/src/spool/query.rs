//! Reading a spool group: for dispensing, for the admin API, for event sinks.

use super::import::ImportRow;
use super::rows::{MessageRow, QueueRow, SlotRow, StateRow, TaskRow, key};
use crate::event::Event;
use crate::id::{Epoch, MessageId, QueueId, Slot, TaskId};
use crate::rows::{ReadRows, load};
use crate::time::UnixMs;

pub fn state(rows: &(impl ReadRows + ?Sized)) -> StateRow {
    load(rows, key::STATE).unwrap_or_default()
}

pub fn message(rows: &(impl ReadRows + ?Sized), id: MessageId) -> Option<MessageRow> {
    load(rows, &key::message(id))
}

pub fn task(rows: &(impl ReadRows + ?Sized), id: TaskId) -> Option<TaskRow> {
    load(rows, &key::task(id))
}

pub fn slot(rows: &(impl ReadRows + ?Sized), slot: Slot) -> Option<SlotRow> {
    load(rows, &key::slot(slot))
}

pub fn queue(rows: &(impl ReadRows + ?Sized), id: QueueId) -> Option<QueueRow> {
    load(rows, &key::queue(id))
}

/// Queues that have open tasks, in order of id, after `after`.
pub fn queues(
    rows: &(impl ReadRows + ?Sized),
    after: Option<QueueId>,
    limit: usize,
) -> Vec<(QueueId, QueueRow)> {
    let from = match after {
        Some(QueueId(u64::MAX)) => return Vec::new(),
        Some(id) => key::queue(QueueId(id.0 + 1)),
        None => Vec::new(),
    };
    let mut found = Vec::new();
    rows.scan(key::QUEUES, &from, &mut |row_key, value| {
        if found.len() == limit {
            return false;
        }
        if let (Some(id), Ok(row)) = (key::read_queue(row_key), crate::codec::decode(value)) {
            found.push((id, row));
        }
        true
    });
    found
}

/// Visits all queues that have open tasks, in order of id.
pub fn each_queue(rows: &(impl ReadRows + ?Sized), mut visit: impl FnMut(QueueId, QueueRow)) {
    rows.scan(key::QUEUES, &[], &mut |row_key, value| {
        if let (Some(id), Ok(row)) = (key::read_queue(row_key), crate::codec::decode(value)) {
            visit(id, row);
        }
        true
    });
}

/// Up to `limit` tasks of a queue that come due in `from..=until`, the earliest first.
pub fn due(
    rows: &(impl ReadRows + ?Sized),
    queue: QueueId,
    from: UnixMs,
    until: UnixMs,
    limit: usize,
) -> Vec<(UnixMs, TaskId)> {
    let start = TaskId {
        message: MessageId([0; 16]),
        number: 0,
    };
    let mut found = Vec::new();
    if limit > 0 {
        scan_due(rows, queue, (from, start), &mut |due, task| {
            if due <= until {
                found.push((due, task));
            }
            due <= until && found.len() < limit
        });
    }
    found
}

/// Visits the tasks of a queue from a place in line on, which is included, until `visit` returns false.
pub fn scan_due(
    rows: &(impl ReadRows + ?Sized),
    queue: QueueId,
    (from, task): (UnixMs, TaskId),
    visit: &mut dyn FnMut(UnixMs, TaskId) -> bool,
) {
    let start = key::due(queue, from, task);
    rows.scan(&key::due_of(queue), &start, &mut |row_key, _| {
        key::read_due(row_key).is_some_and(|(due, task)| visit(due, task))
    });
}

/// Up to `limit` tasks of a queue that wait for their destination, from one on, without those that are to be passed over.
pub fn awaiting(
    rows: &(impl ReadRows + ?Sized),
    queue: QueueId,
    from: TaskId,
    limit: usize,
    pass_over: impl Fn(TaskId) -> bool,
) -> Vec<TaskId> {
    let mut found = Vec::new();
    let start = key::awaiting(queue, from);
    rows.scan(&key::awaiting_of(queue), &start, &mut |row_key, _| {
        let task = key::read_awaiting(row_key);
        found.extend(task.filter(|task| !pass_over(*task)));
        found.len() < limit
    });
    found
}

/// Whether a task is open and this attempt at it is not counted: it was given back, or refused because the slot is
/// another's.
pub fn is_before_attempt(rows: &(impl ReadRows + ?Sized), id: TaskId, attempt: u32) -> bool {
    task(rows, id).is_some_and(|row| row.attempts < attempt)
}

/// The open tasks of a message.
pub fn tasks_of(rows: &(impl ReadRows + ?Sized), message: MessageId) -> Vec<(TaskId, TaskRow)> {
    let mut found = Vec::new();
    rows.scan(&key::tasks_of(message), &[], &mut |row_key, value| {
        if let (Some(id), Ok(row)) = (key::read_task(row_key), crate::codec::decode(value)) {
            found.push((id, row));
        }
        true
    });
    found
}

/// All that has happened to a message, oldest first.
pub fn history(rows: &(impl ReadRows + ?Sized), message: MessageId) -> Vec<Event> {
    let mut found = Vec::new();
    rows.scan(&key::history_of(message), &[], &mut |_, value| {
        found.extend(crate::codec::decode::<Event>(value).ok());
        true
    });
    found
}

/// Up to `limit` events from number `from` on.
pub fn events(rows: &(impl ReadRows + ?Sized), from: u64, limit: usize) -> Vec<Event> {
    event_places(rows, from, limit)
        .into_iter()
        .filter_map(|(seq, id)| load(rows, &key::history(id, seq)))
        .collect()
}

/// The highest epoch under which each slot was opened.
pub fn epochs(rows: &(impl ReadRows + ?Sized)) -> Vec<(Slot, Epoch)> {
    let mut found = Vec::new();
    rows.scan(key::SLOTS, &[], &mut |row_key, value| {
        let row = crate::codec::decode::<SlotRow>(value);
        found.extend(key::read_slot(row_key).zip(row.ok().map(|row| row.epoch)));
        true
    });
    found
}

/// The places of up to `limit` events from number `from` on.
pub fn event_places(
    rows: &(impl ReadRows + ?Sized),
    from: u64,
    limit: usize,
) -> Vec<(u64, MessageId)> {
    let mut places = Vec::new();
    rows.scan(key::EVENTS, &key::event(from), &mut |row_key, value| {
        if let (Some(seq), Ok(id)) = (key::read_event(row_key), value.try_into()) {
            places.push((seq, MessageId(id)));
        }
        places.len() < limit
    });
    places
}

/// Whether the group has no message, not even a finished one, but for those of this backup.
pub fn is_empty_but_for(rows: &(impl ReadRows + ?Sized), backup: u64) -> bool {
    match load::<ImportRow>(rows, key::IMPORT) {
        Some(row) => row.backup == backup,
        None => state(rows).next_seq == 0,
    }
}

/// Whether the group still needs this message's bytes.
pub fn needs_body(rows: &(impl ReadRows + ?Sized), id: MessageId) -> bool {
    message(rows, id).is_some_and(|row| row.finished_at.is_none())
}
