//! A task as a sender gets it.

use bytes::Bytes;
use skein_model::spool::{MessageRow, TaskRow};
use skein_model::{Epoch, SessionId, TaskId};
use skein_wire::convert;
use skein_wire::internal::Task;

#[cfg(doc)]
use crate::spool::Spool;

/// A task that is ours to attempt.
#[derive(Debug, Clone)]
pub struct LeasedTask {
    pub id: TaskId,
    pub session: SessionId,
    pub epoch: Epoch,
    pub message: MessageRow,
    pub task: TaskRow,
    /// The bytes of a small message; else they are read with [`Spool::read_body`].
    pub body: Option<Bytes>,
}

impl LeasedTask {
    pub(super) fn read(session: SessionId, task: Task) -> Result<Self, convert::BadMessage> {
        Ok(Self {
            id: convert::task_id(&task.message_id, task.number)?,
            session,
            epoch: Epoch(task.epoch),
            message: convert::row(&task.message)?,
            task: convert::row(&task.task)?,
            body: task.body,
        })
    }
}
