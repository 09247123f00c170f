//! `apply`: one committed command changes the rows, answers, and hints at what to do next.

use super::command::{Accept, Command, FlushScope, OpenSlots, Refusal, Response};
use super::held;
use super::import::import;
use super::rows::{MessageRow, QueueRow, SlotRow, TaskRow};
use super::state::State;
use super::{refile, report, told};
use crate::event::EventKind;
use crate::id::{MessageId, QueueId, TaskId};
use crate::mail::BodyRef;
use crate::queue::Queue;
use crate::rows::Rows;
use crate::time::UnixMs;

/// A hint for the leader's memory. It can be derived again from the rows, so losing one loses nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A task waits in its queue until `due`.
    Due {
        queue: Queue,
        due: UnixMs,
        task: TaskId,
    },
    /// A task waits in another queue than before. The sender that has it gives it back when it is told.
    Moved {
        queue: Queue,
        due: UnixMs,
        task: TaskId,
    },
    /// A task is due as soon as its destination answers, whatever was said of its due time just before.
    Awaits {
        queue: Queue,
        task: TaskId,
        /// What its sender says of the destination, if that is news.
        away: Option<Away>,
    },
    /// A host of the destination answered a task of this queue.
    Answered { queue: Queue },
    /// A task is done with.
    Ended { queue: QueueId, task: TaskId },
    /// A message was taken: replicas that are not among those which have its bytes need them too.
    BodyNeeded { message: MessageId, body: BodyRef },
    /// A message is done with, and its bytes are no longer needed.
    BodyFree { message: MessageId },
    /// Slots changed hands.
    SlotsOpened,
    /// There are events up to, not including, this number.
    EventsUntil(u64),
}

/// A destination gives no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    pub since: UnixMs,
    /// It is asked again then.
    pub until: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub response: Response,
    pub effects: Vec<Effect>,
}

/// Applies one command at the leader's time `at`, which never goes back within a group.
pub fn apply<R: Rows>(rows: &mut R, at: UnixMs, command: &Command) -> Applied {
    let mut state = State::open(rows, at);
    let seq_before = state.row.next_seq;
    let mut effects = Vec::new();
    let result = match command {
        Command::Accept(accept) => {
            take_over(&mut state, accept, &mut effects).map(|()| Response::Done)
        }
        Command::Report(report) => {
            report::record(&mut state, report, &mut effects).map(|()| Response::Done)
        }
        Command::OpenSlots(open) => {
            open_slots(&mut state, open, &mut effects).map(|()| Response::Done)
        }
        Command::Delete { message, by } => {
            delete(&mut state, *message, by, &mut effects).map(Response::Count)
        }
        Command::Flush(scope) => Ok(Response::Count(flush(&mut state, scope, &mut effects))),
        Command::Trim {
            events_before,
            finished_before,
            limit,
        } => Ok(Response::Count(state.trim(
            *events_before,
            *finished_before,
            *limit,
        ))),
        Command::Refile(refile) => {
            refile::refile(&mut state, refile, &mut effects).map(|()| Response::Done)
        }
        Command::MoveTasks { queue, pool } => Ok(Response::Count(refile::change_pool(
            &mut state,
            *queue,
            pool,
            &mut effects,
        ))),
        Command::CountHeld => {
            state.row.counts_held = Some(true);
            Ok(Response::Done)
        }
        Command::Keep(version) => {
            state.row.keeps = state.row.keeps.max(Some(*version));
            Ok(Response::Done)
        }
        Command::Told(told) => {
            told::record(&mut state, told);
            Ok(Response::Done)
        }
        Command::Import(step) => import(&mut state, step, &mut effects),
    };
    if state.row.next_seq != seq_before {
        effects.push(Effect::EventsUntil(state.row.next_seq));
    }
    state.close();
    Applied {
        response: result.unwrap_or_else(Response::Refused),
        effects,
    }
}

pub(super) fn take_over<R: Rows>(
    state: &mut State<'_, R>,
    accept: &Accept,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    if accept.tasks.iter().all(|task| task.recipients.is_empty()) {
        return Err(Refusal::NoRecipients);
    }
    if state.message(accept.id).is_some() {
        return Ok(());
    }
    let now = state.now();
    let message = MessageRow {
        envelope: accept.envelope.clone(),
        body: accept.body.clone(),
        accepted_at: now,
        open_tasks: accept.tasks.len() as u32,
        finished_at: None,
        is_counted: state.row.counts_held,
    };
    state.put_message(accept.id, &message);
    let recipients = accept.tasks.iter().map(|task| task.recipients.len());
    state.opened(&message, recipients.sum());
    effects.push(Effect::BodyNeeded {
        message: accept.id,
        body: accept.body.clone(),
    });
    for (number, new) in (0..).zip(&accept.tasks) {
        let id = TaskId {
            message: accept.id,
            number,
        };
        let row = TaskRow {
            domain: new.domain.clone(),
            slot: new.slot,
            recipients: (0..).zip(new.recipients.iter().cloned()).collect(),
            attempts: 0,
            due: now,
            created: now,
            last_reply: None,
            delay_notified: false,
            site: new.site.clone(),
            moves: 0,
            pool: None,
            absences: 0,
            awaits_host: false,
            created_in: new.created_in,
            return_path: new.return_path.clone(),
        };
        add_task(state, &message, id, &row, effects);
    }
    let recipients = accept.tasks.iter().flat_map(|task| &task.recipients);
    let kind = EventKind::Accepted {
        recipients: recipients
            .map(|recipient| recipient.address.clone())
            .collect(),
        bytes: message.body.bytes,
        client: message
            .envelope
            .client
            .as_ref()
            .map(|client| format!("{} [{}]", client.helo, client.address)),
        about: accept.about,
    };
    state.event(accept.id, &message, kind);
    Ok(())
}

/// Gives a task its row and its place in line.
pub(super) fn add_task<R: Rows>(
    state: &mut State<'_, R>,
    message: &MessageRow,
    id: TaskId,
    row: &TaskRow,
    effects: &mut Vec<Effect>,
) {
    let queue = file(state, message, id, row);
    effects.push(Effect::Due {
        queue,
        due: row.due,
        task: id,
    });
    effects.extend(row.awaits_host.then_some(Effect::Awaits {
        queue,
        task: id,
        away: None,
    }));
}

/// Writes a task that waits in the queue which its row says.
pub(super) fn file<R: Rows>(
    state: &mut State<'_, R>,
    message: &MessageRow,
    id: TaskId,
    row: &TaskRow,
) -> Queue {
    let queue = queue_of(message, row);
    state.put_task(id, row);
    state.add_due(queue.id, id, row);
    state.queue_gains(queue.id, || QueueRow {
        domain: row.domain.clone(),
        tenant: message.envelope.tenant.clone(),
        pool: row.pool(&message.envelope).to_owned(),
        slot: row.slot,
        tasks: 0,
        priority: queue.priority,
        site: row.site.clone(),
        campaign: message.envelope.campaign.clone(),
    });
    queue
}

pub(super) fn queue_of(message: &MessageRow, task: &TaskRow) -> Queue {
    task.queue(&message.envelope)
}

fn open_slots<R: Rows>(
    state: &mut State<'_, R>,
    open: &OpenSlots,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    let is_stale = open.slots.iter().any(|(slot, epoch)| {
        state.slot(*slot).is_some_and(|row| {
            row.epoch > *epoch || (row.epoch == *epoch && row.session != open.session)
        })
    });
    if is_stale {
        return Err(Refusal::StaleEpoch);
    }
    for (slot, epoch) in &open.slots {
        state.put_slot(
            *slot,
            &SlotRow {
                session: open.session,
                epoch: *epoch,
            },
        );
    }
    effects.push(Effect::SlotsOpened);
    Ok(())
}

fn delete<R: Rows>(
    state: &mut State<'_, R>,
    id: MessageId,
    by: &str,
    effects: &mut Vec<Effect>,
) -> Result<u64, Refusal> {
    let mut message = state
        .message(id)
        .filter(|row| row.open_tasks > 0)
        .ok_or(Refusal::NotFound)?;
    let mut deleted = 0;
    for task in state.tasks_of(id) {
        let row = state.task(task).expect("its key was just read");
        for (_, recipient) in &row.recipients {
            let kind = EventKind::Deleted {
                recipient: recipient.address.clone(),
                by: by.to_owned(),
            };
            state.event(id, &message, kind);
            deleted += 1;
        }
        held::lose_recipients(state, &message, row.recipients.len());
        end_task(state, task, &row, &mut message, effects);
    }
    Ok(deleted)
}

/// Removes a task whose recipients are all done with.
pub(super) fn end_task<R: Rows>(
    state: &mut State<'_, R>,
    id: TaskId,
    row: &TaskRow,
    message: &mut MessageRow,
    effects: &mut Vec<Effect>,
) {
    let queue = queue_of(message, row).id;
    state.delete_due(queue, id, row);
    state.delete_task(id);
    state.queue_loses(queue);
    effects.push(Effect::Ended { queue, task: id });
    if state.task_ended(id.message, message) {
        effects.push(Effect::BodyFree {
            message: id.message,
        });
    }
}

/// A flush moves at most this many tasks in one apply, so that an apply stays short; the rest needs another command.
const FLUSH_MAX: usize = 10_000;

fn flush<R: Rows>(state: &mut State<'_, R>, scope: &FlushScope, effects: &mut Vec<Effect>) -> u64 {
    let now = state.now();
    let tasks: Vec<TaskId> = match scope {
        FlushScope::Message(id) => state.tasks_of(*id),
        FlushScope::Queue(queue) => {
            let after_now = UnixMs(now.0.saturating_add(1));
            let waiting = state.due_before(*queue, UnixMs(u64::MAX), FLUSH_MAX, after_now);
            waiting.into_iter().map(|(_, task)| task).collect()
        }
    };
    let mut moved = 0;
    for id in tasks {
        let (Some(mut row), Some(message)) = (state.task(id), state.message(id.message)) else {
            continue;
        };
        if row.due <= now {
            continue;
        }
        let queue = queue_of(&message, &row);
        state.delete_due(queue.id, id, &row);
        row.due = now;
        state.add_due(queue.id, id, &row);
        state.put_task(id, &row);
        effects.push(Effect::Due {
            queue,
            due: now,
            task: id,
        });
        moved += 1;
    }
    moved
}
