//! Taking over what a backup holds, in bounded steps that may be repeated.
//!
//! A message comes with its open tasks and its history, or not at all. Until the last step nothing that is finished is
//! forgotten, so that a restore which is begun again finds every message that it brought before.

use minicbor::{Decode, Encode};

use super::apply::{Effect, add_task};
use super::command::{Refusal, Response};
use super::rows::{MessageRow, SlotRow, StateRow, TaskRow};
use super::state::State;
use crate::event::Event;
use crate::id::{Epoch, MessageId, SessionId, Slot, TaskId};
use crate::rows::Rows;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Import {
    /// The backup's own number: a group takes over one backup, and only while it is empty otherwise.
    #[n(0)]
    pub backup: u64,
    #[n(1)]
    pub step: ImportStep,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ImportStep {
    /// The group's own row, and the highest epochs under which its slots were opened. It comes once for each group of the
    /// backup that goes into this one, all with the numbers of events of them together.
    #[n(0)]
    Begin {
        #[n(0)]
        state: StateRow,
        #[n(1)]
        slots: Vec<(Slot, Epoch)>,
    },
    /// Events that no sink had taken: number and message.
    #[n(1)]
    Events(#[n(0)] Vec<(u64, MessageId)>),
    #[n(2)]
    Messages(#[n(0)] Vec<ImportedMessage>),
    #[n(3)]
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ImportedMessage {
    #[n(0)]
    pub id: MessageId,
    /// With the nodes that have the body now.
    #[n(1)]
    pub row: MessageRow,
    #[n(2)]
    pub tasks: Vec<(u32, TaskRow)>,
    #[n(3)]
    pub history: Vec<Event>,
}

/// Which backup a group takes over, or took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ImportRow {
    #[n(0)]
    pub backup: u64,
    #[n(1)]
    pub finished: bool,
}

pub(super) fn import<R: Rows>(
    state: &mut State<'_, R>,
    import: &Import,
    effects: &mut Vec<Effect>,
) -> Result<Response, Refusal> {
    let before = state.import();
    if before.is_some_and(|row| row.backup == import.backup && row.finished) {
        return Err(Refusal::Restored);
    }
    let has_begun = before.is_some_and(|row| row.backup == import.backup);
    let row = |finished| ImportRow {
        backup: import.backup,
        finished,
    };
    match &import.step {
        // The same again, or another group of the backup that goes into this one.
        ImportStep::Begin { state: from, slots } if has_begun => {
            state.row.now = state.row.now.max(from.now);
            raise_epochs(state, slots);
        }
        ImportStep::Begin { state: from, slots } => {
            if before.is_some() || state.row.next_seq > 0 {
                return Err(Refusal::NotEmpty);
            }
            state.row.now = state.row.now.max(from.now);
            state.row.first_seq = from.first_seq;
            state.row.next_seq = from.next_seq;
            raise_epochs(state, slots);
            state.put_import(row(false));
        }
        _ if !has_begun => return Err(Refusal::NotEmpty),
        ImportStep::Events(events) => {
            for (seq, message) in events {
                state.put_event(*seq, *message);
            }
        }
        ImportStep::Messages(messages) => {
            let new = messages.iter();
            let new: Vec<_> = new
                .filter(|message| state.message(message.id).is_none())
                .collect();
            for message in &new {
                take(state, message, effects);
            }
            return Ok(Response::Count(new.len() as u64));
        }
        ImportStep::End => state.put_import(row(true)),
    }
    Ok(Response::Done)
}

/// A session that held a slot when the backup was made must not act on it any more.
fn raise_epochs<R: Rows>(state: &mut State<'_, R>, slots: &[(Slot, Epoch)]) {
    for (slot, epoch) in slots {
        if state.slot(*slot).is_none_or(|row| row.epoch < *epoch) {
            let row = SlotRow {
                session: SessionId::NONE,
                epoch: *epoch,
            };
            state.put_slot(*slot, &row);
        }
    }
}

fn take<R: Rows>(state: &mut State<'_, R>, message: &ImportedMessage, effects: &mut Vec<Effect>) {
    let row = MessageRow {
        open_tasks: message.tasks.len() as u32,
        is_counted: state.row.counts_held,
        ..message.row.clone()
    };
    state.put_message(message.id, &row);
    for event in &message.history {
        state.put_history(message.id, event);
    }
    if message.tasks.is_empty() {
        state.put_finished(row.finished_at.unwrap_or(state.row.now), message.id);
        return;
    }
    let recipients = message.tasks.iter().map(|(_, task)| task.recipients.len());
    state.opened(&row, recipients.sum());
    effects.push(Effect::BodyNeeded {
        message: message.id,
        body: row.body.clone(),
    });
    for (number, task) in &message.tasks {
        let id = TaskId {
            message: message.id,
            number: *number,
        };
        add_task(state, &row, id, task, effects);
    }
}
