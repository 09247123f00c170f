//! Taking tasks and reporting on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use skein_model::spool::{MessageRow, Report, TaskRow};
use skein_model::{Epoch, SessionId, TaskId, codec};
use skein_wire::convert;
use skein_wire::internal::{
    OpenWork, OwnedSlot, Reports, Task, WorkReply, WorkRequest, work_request::Request,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::SpoolError;
use crate::ingest::Spool;
use crate::sessions::Session;

/// Reports that wait for the stream; results are small, and a sender's window bounds them anyway.
const QUEUED_REPORTS: usize = 4096;
const FRAME_REPORTS: usize = 256;
/// A report that is not committed by then is sent again over a new stream.
const DEADLINE: Duration = Duration::from_secs(20);

/// A task that is ours to attempt.
#[derive(Debug, Clone)]
pub struct Assigned {
    pub id: TaskId,
    pub session: SessionId,
    pub epoch: Epoch,
    pub message: MessageRow,
    pub task: TaskRow,
    /// The bytes of a small message; else they are read with [`Spool::read_body`].
    pub body: Option<Bytes>,
}

type Waiting = Arc<Mutex<HashMap<TaskId, oneshot::Sender<Result<(), SpoolError>>>>>;

/// The work stream of one session at one spool group.
#[derive(Debug)]
pub struct Work {
    replies: mpsc::Receiver<Vec<Assigned>>,
    reporter: Reporter,
}

/// Reports results; many tasks share it.
#[derive(Debug, Clone)]
pub struct Reporter {
    reports: mpsc::Sender<(TaskId, Bytes)>,
    waiting: Waiting,
}

impl Spool {
    /// Claims the session's slots and receives their due tasks, at most `window` without a report.
    pub async fn work(&self, session: &Session, window: u32) -> Result<Work, SpoolError> {
        let slots = session
            .slots
            .iter()
            .map(|(slot, epoch)| OwnedSlot {
                slot: slot.0.into(),
                epoch: epoch.0,
            })
            .collect();
        let open = OpenWork {
            session: session.id.0,
            slots,
            window,
        };
        let (frames, outgoing) = mpsc::channel(4);
        let first = WorkRequest {
            request: Some(Request::Open(open)),
        };
        frames
            .try_send(first)
            .expect("the channel is new and has room");
        let replies = self
            .client
            .clone()
            .work(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| SpoolError::from_status("opening a work stream", &status))?
            .into_inner();

        let (reports, queue) = mpsc::channel(QUEUED_REPORTS);
        let (tasks, received) = mpsc::channel(16);
        let waiting = Waiting::default();
        let session = session.id;
        let answers = waiting.clone();
        let send = tokio::spawn(send_reports(queue, frames));
        tokio::spawn(async move {
            let reason = receive(replies, session, &tasks, &answers).await;
            send.abort();
            // The task owned the queue of reports: a reporter that comes now sees it closed.
            let _ = send.await;
            for (_, waiter) in answers.lock().drain() {
                let _ = waiter.send(Err(SpoolError::Unknown(reason.clone())));
            }
        });
        Ok(Work {
            replies: received,
            reporter: Reporter { reports, waiting },
        })
    }
}

impl Work {
    /// The next tasks; none when the stream ended.
    pub async fn next(&mut self) -> Option<Vec<Assigned>> {
        self.replies.recv().await
    }

    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }
}

impl Reporter {
    /// Returns when the report is committed. On any error the same report may be sent again.
    pub async fn report(&self, report: &Report) -> Result<(), SpoolError> {
        let (waiter, answer) = oneshot::channel();
        self.waiting.lock().insert(report.task, waiter);
        let bytes = Bytes::from(codec::encode(report));
        if self.reports.send((report.task, bytes)).await.is_err() {
            self.waiting.lock().remove(&report.task);
            return Err(SpoolError::Unavailable("the work stream broke".into()));
        }
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SpoolError::Unknown("the work stream broke".into())),
            Err(_) => {
                self.waiting.lock().remove(&report.task);
                Err(SpoolError::Unknown(format!(
                    "no answer within {} s",
                    DEADLINE.as_secs()
                )))
            }
        }
    }

    /// Whether results can be reported at this moment, which is asked right before a final dot.
    pub fn is_open(&self) -> bool {
        !self.reports.is_closed()
    }
}

async fn send_reports(
    mut queue: mpsc::Receiver<(TaskId, Bytes)>,
    frames: mpsc::Sender<WorkRequest>,
) {
    while let Some((_, first)) = queue.recv().await {
        let mut reports = vec![first];
        while reports.len() < FRAME_REPORTS {
            let Ok((_, report)) = queue.try_recv() else {
                break;
            };
            reports.push(report);
        }
        let frame = WorkRequest {
            request: Some(Request::Reports(Reports { reports })),
        };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
    // No reporter is left; the stream is held open until the server ends it or the receiver goes.
    frames.closed().await;
}

/// Returns the reason why the stream ended.
async fn receive(
    mut replies: tonic::Streaming<WorkReply>,
    session: SessionId,
    tasks: &mpsc::Sender<Vec<Assigned>>,
    waiting: &Waiting,
) -> String {
    loop {
        let reply = tokio::select! {
            reply = replies.message() => reply,
            () = tasks.closed() => return "the sender closed the stream".into(),
        };
        let reply = match reply {
            Ok(Some(reply)) => reply,
            Ok(None) => return "the server closed the stream".into(),
            Err(status) => return status.message().to_owned(),
        };
        for result in reply.recorded {
            let Ok(task) = convert::task_id(&result.message_id, result.number) else {
                return "the server sent a result without an id".into();
            };
            if let Some(waiter) = waiting.lock().remove(&task) {
                // A waiter that is gone gave up at its deadline.
                let _ = waiter.send(
                    result
                        .problem
                        .map_or(Ok(()), |p| Err(SpoolError::from_problem(p))),
                );
            }
        }
        let assigned: Result<Vec<_>, _> = reply
            .tasks
            .into_iter()
            .map(|task| read_task(session, task))
            .collect();
        match assigned {
            Ok(assigned) if assigned.is_empty() => {}
            Ok(assigned) => {
                if tasks.send(assigned).await.is_err() {
                    return "the sender closed the stream".into();
                }
            }
            Err(error) => return format!("the server sent a task that cannot be read: {error}"),
        }
    }
}

fn read_task(session: SessionId, task: Task) -> Result<Assigned, convert::BadMessage> {
    Ok(Assigned {
        id: convert::task_id(&task.message_id, task.number)?,
        session,
        epoch: Epoch(task.epoch),
        message: convert::row(&task.message)?,
        task: convert::row(&task.task)?,
        body: task.body,
    })
}
