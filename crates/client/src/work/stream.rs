//! The stream over which the tasks of a group come, opened again whenever it ends.

use std::sync::Arc;
use std::time::Duration;

use skein_model::{Epoch, SessionId, Slot};
use skein_wire::convert;
use skein_wire::internal::work_request::Request;
use skein_wire::internal::{OpenWork, OwnedSlots, WorkReply};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::frames::{held_ref, request, send_results, send_returned};
use super::reporter::{Outgoing, Shared};
use super::task::LeasedTask;
use crate::error::SpoolError;
use crate::session::SenderSession;
use crate::spool::{Spool, client};

/// Reports that wait for the stream; results are small, and a sender's window bounds them anyway.
const QUEUED_REPORTS: usize = 4096;
const TRY_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    pub spool: Spool,
    pub session: watch::Receiver<SenderSession>,
    pub window: u32,
    pub tasks: mpsc::Sender<Vec<LeasedTask>>,
    pub shared: Arc<Shared>,
    pub opened: watch::Sender<bool>,
    pub applied_change: watch::Sender<u64>,
}

impl Worker {
    pub async fn run(mut self) {
        while !self.tasks.is_closed() {
            let session = self.session.borrow_and_update().clone();
            self.applied_change.send_replace(session.change);
            let Some(id) = session.id else {
                tokio::select! {
                    changed = self.session.changed() => if changed.is_err() { return },
                    () = self.tasks.closed() => return,
                }
                continue;
            };
            let reason = match self.stream(id, session.slots).await {
                Ok(reason) => reason,
                Err(error) => error.to_string(),
            };
            self.shared.stream.lock().take();
            self.opened.send_replace(false);
            for (_, waiter) in self.shared.waiting.lock().drain() {
                let _ = waiter.send(Err(SpoolError::Unknown(reason.clone())));
            }
            tracing::info!(group = %self.spool.group, reason, "no work stream");
            self.spool.cluster.doubt();
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// One stream, from its opening to its end, whose reason is returned.
    async fn stream(
        &mut self,
        id: SessionId,
        mut slots: Arc<Vec<(Slot, Epoch)>>,
    ) -> Result<String, SpoolError> {
        let Some((leader, channel)) = self.spool.cluster.leader(self.spool.group) else {
            return Err(SpoolError::Unavailable("the group has no leader".into()));
        };
        let (results, queue) = mpsc::channel(QUEUED_REPORTS);
        let (returns, returned) = mpsc::unbounded_channel();
        let over = CancellationToken::new();
        let outgoing = Outgoing {
            results,
            returns,
            over: over.clone(),
        };
        let _over = over.clone().drop_guard();
        // Before it is said what is held: what is given back after that must not be forgotten.
        *self.shared.stream.lock() = Some(outgoing);
        let held = self.shared.held.lock().tasks().map(held_ref).collect();
        let open = OpenWork {
            session: id.0,
            slots: convert::owned_slots(&*slots),
            window: self.window,
            group: self.spool.group.0.into(),
            held,
        };
        let (frames, outgoing) = mpsc::channel(4);
        let first = request(Request::Open(open));
        frames
            .try_send(first)
            .expect("the channel is new and has room");
        let mut replies = client(channel)
            .work(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| SpoolError::from_status("opening a work stream", &status))?
            .into_inner();
        self.opened.send_replace(true);
        tracing::info!(group = %self.spool.group, session = %id, slots = slots.len(), "work stream open");
        let mut sent = 0;
        let sending = tokio::spawn(send_results(queue, frames.clone()));
        let returning = tokio::spawn(send_returned(returned, frames.clone()));
        let mut cluster = self.spool.cluster.clone();
        let replaced = cluster.leader_changed(self.spool.group, leader);
        tokio::pin!(replaced);
        let reason = loop {
            tokio::select! {
                reply = replies.message() => match reply {
                    Ok(Some(reply)) => if let Err(reason) = self.receive(id, reply).await {
                        break reason;
                    },
                    Ok(None) => break "the server closed the stream".to_owned(),
                    Err(status) => break status.message().to_owned(),
                },
                changed = self.session.changed() => {
                    let now = self.session.borrow_and_update().clone();
                    if changed.is_err() || now.id != Some(id) {
                        break "the session ended".to_owned();
                    }
                    if now.slots == slots && *self.applied_change.borrow() >= sent {
                        self.applied_change.send_replace(now.change);
                        continue;
                    }
                    (slots, sent) = (now.slots, now.change);
                    let slots = OwnedSlots { slots: convert::owned_slots(&*slots), change: sent };
                    if frames.send(request(Request::Slots(slots))).await.is_err() {
                        break "the server closed the stream".to_owned();
                    }
                }
                // A leader that was cut off from the others may not know it, and can record nothing.
                () = &mut replaced => break "the group has another leader".to_owned(),
                () = over.cancelled() => break "a report was not answered".to_owned(),
                () = self.tasks.closed() => break "the sender is done".to_owned(),
            }
        };
        sending.abort();
        returning.abort();
        Ok(reason)
    }

    async fn receive(&self, session: SessionId, reply: WorkReply) -> Result<(), String> {
        for result in reply.recorded {
            let task = convert::task_id(&result.message_id, result.number)
                .map_err(|error| format!("the server sent a result of no task: {error}"))?;
            let attempt = result.attempt;
            let result = result
                .problem
                .map_or(Ok(()), |p| Err(SpoolError::from_problem(p)));
            if matches!(result, Ok(()) | Err(SpoolError::Refused(_))) {
                // Here, because the next frame may bring the task again.
                let attempts = attempt.saturating_sub(1);
                self.shared.held.lock().remove(task, attempts);
            }
            if let Some(waiter) = self.shared.waiting.lock().remove(&(task, attempt)) {
                // A waiter that is gone gave up at its deadline.
                let _ = waiter.send(result);
            }
        }
        if reply.tasks.is_empty() {
            self.conforms(reply.change);
            return Ok(());
        }
        let change = reply.change;
        let tasks = reply
            .tasks
            .into_iter()
            .map(|task| LeasedTask::read(session, task));
        let mut tasks: Vec<LeasedTask> = tasks
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the server sent a task that cannot be read: {error}"))?;
        {
            let mut held = self.shared.held.lock();
            tasks.retain(|task| held.receive(task.id, task.task.attempts));
        }
        let sent = self.tasks.send(tasks).await;
        self.conforms(change);
        sent.map_err(|_| "the sender is done".to_owned())
    }

    /// The server has seen this change of slots. Told after the tasks before it were handed on.
    fn conforms(&self, change: u64) {
        self.applied_change.send_if_modified(|applied_change| {
            let is_later = change > *applied_change;
            *applied_change = change.max(*applied_change);
            is_later
        });
    }
}
