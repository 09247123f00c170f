//! Telling a group what became of its tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use skein_model::leased_tasks::LeasedTasks;
use skein_model::spool::{Refile, Report};
use skein_model::{Slot, TaskId, codec};
use skein_wire::internal::{BlockedSite, OpenSite, RefileTask};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::frames::{Undone, WorkResult, returned_ref};
use crate::error::SpoolError;

/// A stream that does not answer a report for so long is given up for another. A report is not sent twice over one: the
/// answer to the first would be taken for that to the second, after which the task may be here anew.
const DEADLINE: Duration = Duration::from_secs(20);
const TRY_AGAIN: Duration = Duration::from_millis(100);

pub(super) type Waiter = oneshot::Sender<Result<(), SpoolError>>;

/// What the reporters of a group and its stream have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Of the present stream; none while there is none.
    pub stream: Mutex<Option<Outgoing>>,
    /// Reports by task and attempt. One whose answer was lost may be sent again while the next attempt goes on.
    pub waiting: Mutex<HashMap<(TaskId, u32), Waiter>>,
    pub held: Mutex<LeasedTasks>,
}

/// What a sender says over a stream.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub results: mpsc::Sender<WorkResult>,
    /// Without a bound of its own: a sender has no more tasks than its window.
    pub returns: mpsc::UnboundedSender<Undone>,
    /// The stream has ended, or is to end.
    pub over: CancellationToken,
}

/// Reports results; many tasks share it.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(super) shared: Arc<Shared>,
    pub(super) open: watch::Receiver<bool>,
}

impl Reporter {
    /// Returns when the report is committed, or refused because the task is another's. Tries again, over as many
    /// streams as it takes.
    pub async fn report(&self, report: &Report) -> Result<(), SpoolError> {
        let bytes = Bytes::from(codec::encode(report));
        let attempt = (report.task, report.facts.number);
        self.tell(attempt, &WorkResult::Report(bytes)).await
    }

    /// Returns when the task is filed under another site, or that is refused. It is not ours any more then, and may come
    /// again. `attempts` are those that were made.
    pub async fn refile(&self, refile: &Refile, attempts: u32) -> Result<(), SpoolError> {
        let attempt = attempts.saturating_add(1);
        let told = WorkResult::Refile(RefileTask {
            refile: Bytes::from(codec::encode(refile)),
            attempt,
        });
        self.tell((refile.task, attempt), &told).await
    }

    async fn tell(&self, attempt: (TaskId, u32), told: &WorkResult) -> Result<(), SpoolError> {
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

    async fn try_tell(&self, attempt: (TaskId, u32), told: WorkResult) -> Result<(), SpoolError> {
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
            let _ = stream.results.try_send(WorkResult::Blocked(site));
        }
    }

    /// The task was not begun: anybody may have it. With a time: not sooner, as a limit lets none of its queue go.
    pub fn give_back(&self, task: TaskId, attempts: u32, closed_for: Duration) {
        self.shared.held.lock().remove(task, attempts);
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
