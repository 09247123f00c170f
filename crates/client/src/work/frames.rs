//! The frames of a work stream.

use std::time::Duration;

use bytes::Bytes;
use skein_model::TaskId;
use skein_wire::convert;
use skein_wire::internal::work_request::Request;
use skein_wire::internal::{
    BlockedSite, OpenSite, RefileTask, Refiles, Reports, Returned, TaskRef, WorkRequest,
};
use tokio::sync::mpsc;

/// Results of one frame; a server answers as many at once.
const FRAME_REPORTS: usize = 256;

/// What a task came to.
#[derive(Debug, Clone)]
pub enum WorkResult {
    Report(Bytes),
    Refile(RefileTask),
    /// Nothing is answered to this.
    Blocked(BlockedSite),
}

/// What needs no answer, in order.
#[derive(Debug)]
pub enum Undone {
    /// That was not begun.
    Task(TaskRef),
    Open(OpenSite),
}

pub fn request(request: Request) -> WorkRequest {
    WorkRequest {
        request: Some(request),
    }
}

pub fn held_ref((task, attempts): (TaskId, u32)) -> TaskRef {
    TaskRef {
        attempts,
        ..task_ref(task)
    }
}

fn task_ref(task: TaskId) -> TaskRef {
    TaskRef {
        attempts: 0,
        message_id: convert::message_id_bytes(task.message),
        number: task.number,
        closed_for_ms: 0,
    }
}

pub fn returned_ref(task: TaskId, closed_for: Duration) -> TaskRef {
    TaskRef {
        closed_for_ms: u64::try_from(closed_for.as_millis()).unwrap_or(u64::MAX),
        ..task_ref(task)
    }
}

pub async fn send_returned(
    mut queue: mpsc::UnboundedReceiver<Undone>,
    frames: mpsc::Sender<WorkRequest>,
) {
    let mut undone = Vec::new();
    while queue.recv_many(&mut undone, FRAME_REPORTS).await > 0 {
        let mut returned = Returned::default();
        for one in undone.drain(..) {
            match one {
                Undone::Task(task) => returned.tasks.push(task),
                Undone::Open(site) => returned.open.push(site),
            }
        }
        let returned = request(Request::Returned(returned));
        if frames.send(returned).await.is_err() {
            return;
        }
    }
}

/// Puts what waits into one frame of each kind.
pub async fn send_results(
    mut queue: mpsc::Receiver<WorkResult>,
    frames: mpsc::Sender<WorkRequest>,
) {
    let mut told = Vec::new();
    while queue.recv_many(&mut told, FRAME_REPORTS).await > 0 {
        let (mut reports, mut refiles, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
        for told in told.drain(..) {
            match told {
                WorkResult::Report(report) => reports.push(report),
                WorkResult::Refile(refile) => refiles.push(refile),
                WorkResult::Blocked(site) => blocked.push(Request::Blocked(site)),
            }
        }
        let reports = (!reports.is_empty()).then(|| Request::Reports(Reports { reports }));
        let refiles = (!refiles.is_empty()).then(|| Request::Refiles(Refiles { refiles }));
        for frame in reports.into_iter().chain(refiles).chain(blocked) {
            if frames.send(request(frame)).await.is_err() {
                return;
            }
        }
    }
}
