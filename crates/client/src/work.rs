//! Taking tasks of one spool group and reporting on them, through changes of its leader and of our slots.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use skein_model::leased_tasks::LeasedTasks;
use skein_model::spool::{MessageRow, Refile, Report, TaskRow};
use skein_model::{Epoch, SessionId, Slot, TaskId, codec};
use skein_wire::convert;
use skein_wire::internal::work_request::Request;
use skein_wire::internal::{BlockedSite, OpenSite, OpenWork, OwnedSlots, RefileTask, WorkReply};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::SpoolError;
use crate::ingest::{Spool, client};
use crate::sessions::Session;
use crate::work_frames::{
    Told, Undone, held_ref, read_task, request, returned_ref, send_results, send_returned,
};

/// Reports that wait for the stream; results are small, and a sender's window bounds them anyway.
const QUEUED_REPORTS: usize = 4096;
/// A stream that does not answer a report for so long is given up for another. A report is not sent twice over one: the
/// answer to the first would be taken for that to the second, after which the task may be here anew.
const DEADLINE: Duration = Duration::from_secs(20);
const TRY_AGAIN: Duration = Duration::from_millis(100);

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

/// The tasks of one spool group for as long as this lives.
#[derive(Debug)]
pub struct Work {
    tasks: mpsc::Receiver<Vec<LeasedTask>>,
    reporter: Reporter,
    settled: watch::Receiver<u64>,
}

/// Reports results; many tasks share it.
#[derive(Debug, Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    open: watch::Receiver<bool>,
}

type Waiter = oneshot::Sender<Result<(), SpoolError>>;

#[derive(Debug)]
struct Shared {
    /// Of the present stream; none while there is none.
    stream: Mutex<Option<Outgoing>>,
    /// Reports by task and attempt. One whose answer was lost may be sent again while the next attempt goes on.
    waiting: Mutex<HashMap<(TaskId, u32), Waiter>>,
    held: Mutex<LeasedTasks>,
}

/// What a sender says over a stream.
#[derive(Debug, Clone)]
struct Outgoing {
    results: mpsc::Sender<Told>,
    /// Without a bound of its own: a sender has no more tasks than its window.
    returns: mpsc::UnboundedSender<Undone>,
    /// The stream has ended, or is to end.
    over: CancellationToken,
}

impl Spool {
    /// Receives due tasks of the session's slots, at most `window` without a report, until the result is dropped.
    pub fn work(&self, session: watch::Receiver<Session>, window: u32) -> Work {
        let (tasks, received) = mpsc::channel(16);
        let (opened, open) = watch::channel(false);
        let (told, settled) = watch::channel(0);
        let shared = Arc::new(Shared {
            stream: Mutex::default(),
            waiting: Mutex::default(),
            held: Mutex::default(),
        });
        let worker = Worker {
            spool: self.clone(),
            session,
            window,
            tasks,
            shared: shared.clone(),
            opened,
            settled: told,
        };
        skein_runtime::task("work", worker.run());
        Work {
            tasks: received,
            reporter: Reporter { shared, open },
            settled,
        }
    }
}

impl Work {
    /// The next tasks.
    pub async fn next(&mut self) -> Option<Vec<LeasedTask>> {
        self.tasks.recv().await
    }

    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// The latest [`Session::change`] that all tasks to come conform to.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.clone()
    }
}

impl Reporter {
    /// Returns when the report is committed, or refused because the task is another's. Tries again, over as many
    /// streams as it takes.
    pub async fn report(&self, report: &Report) -> Result<(), SpoolError> {
        let bytes = Bytes::from(codec::encode(report));
        let attempt = (report.task, report.facts.number);
        self.tell(attempt, &Told::Report(bytes)).await
    }

    /// Returns when the task is filed under another site, or that is refused. It is not ours any more then, and may come
    /// again. `attempts` are those that were made.
    pub async fn refile(&self, refile: &Refile, attempts: u32) -> Result<(), SpoolError> {
        let attempt = attempts.saturating_add(1);
        let told = Told::Refile(RefileTask {
            refile: Bytes::from(codec::encode(refile)),
            attempt,
        });
        self.tell((refile.task, attempt), &told).await
    }

    async fn tell(&self, attempt: (TaskId, u32), told: &Told) -> Result<(), SpoolError> {
        loop {
            match self.try_tell(attempt, told.clone()).await {
                Ok(()) => return Ok(()),
                Err(SpoolError::Refused(reason)) => return Err(SpoolError::Refused(reason)),
                Err(error) => {
                    tracing::debug!(task = %attempt.0, %error, "a report is not committed yet")
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn try_tell(&self, attempt: (TaskId, u32), told: Told) -> Result<(), SpoolError> {
        let broke = || SpoolError::Unavailable("there is no work stream".into());
        let stream = self.shared.stream.lock().clone().ok_or_else(broke)?;
        let (waiter, answer) = oneshot::channel();
        self.shared.waiting.lock().insert(attempt, waiter);
        let answered = async {
            stream.results.send(told).await.map_err(|_| broke())?;
            answer.await.unwrap_or_else(|_| Err(broke()))
        };
        let result = tokio::select! {
            result = answered => result,
            () = stream.over.cancelled() => Err(broke()),
            () = tokio::time::sleep(DEADLINE) => {
                stream.over.cancel();
                Err(SpoolError::Unknown("no answer".into()))
            }
        };
        self.shared.waiting.lock().remove(&attempt);
        result
    }

    /// Hosts of a site, as its tasks are filed, give no connection for so long; none: they do again. A hint, which is lost with
    /// the stream: reports say the same.
    pub fn blocked(&self, site: &str, slot: Slot, lasts: Duration) {
        let site = BlockedSite {
            site: site.to_owned(),
            slot: slot.0.into(),
            for_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(stream) = &*self.shared.stream.lock() {
            let _ = stream.results.try_send(Told::Blocked(site));
        }
    }

    /// The task was not begun: anybody may have it. With a time: not sooner, as a limit lets none of its queue go.
    pub fn give_back(&self, task: TaskId, attempts: u32, closed_for: Duration) {
        self.shared.held.lock().settle(task, attempts);
        if let Some(stream) = &*self.shared.stream.lock() {
            // Without a stream, the next one tells what is still ours.
            let _ = stream
                .returns
                .send(Undone::Task(returned_ref(task, closed_for)));
        }
    }

    /// Limits let something of a site go again, as its tasks are filed, whatever was said when some were given back. Those
    /// that were given back before are known to be.
    pub fn open_queues(&self, site: &str, slot: Slot) {
        let site = OpenSite {
            site: site.to_owned(),
            slot: slot.0.into(),
        };
        if let Some(stream) = &*self.shared.stream.lock() {
            let _ = stream.returns.send(Undone::Open(site));
        }
    }

    /// Whether results can be reported at this moment, which is asked right before a final dot.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Completes when results can be reported or cannot any more.
    pub fn opened(&self) -> watch::Receiver<bool> {
        self.open.clone()
    }
}

struct Worker {
    spool: Spool,
    session: watch::Receiver<Session>,
    window: u32,
    tasks: mpsc::Sender<Vec<LeasedTask>>,
    shared: Arc<Shared>,
    opened: watch::Sender<bool>,
    settled: watch::Sender<u64>,
}

impl Worker {
    async fn run(mut self) {
        while !self.tasks.is_closed() {
            let session = self.session.borrow_and_update().clone();
            self.settled.send_replace(session.change);
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
                    if now.slots == slots && *self.settled.borrow() >= sent {
                        self.settled.send_replace(now.change);
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
                self.shared.held.lock().settle(task, attempts);
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
        let tasks = reply.tasks.into_iter().map(|task| read_task(session, task));
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
        self.settled.send_if_modified(|settled| {
            let is_later = change > *settled;
            *settled = change.max(*settled);
            is_later
        });
    }
}
