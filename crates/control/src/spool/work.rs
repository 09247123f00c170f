//! One work stream: due tasks to a sender within its window, its reports to the group.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use skein_model::spool::{Command, OpenSlots};
use skein_model::{DurationMs, Epoch, GroupId, SessionId, Slot, absence, codec};
use skein_wire::convert;
use skein_wire::internal::problem::Kind;
use skein_wire::internal::{OpenWork, OwnedSlot, WorkReply, WorkRequest, work_request::Request};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::dispatch::OwnedSlots;
use super::group::SpoolGroup;
use super::results::{self, Recorded};
use crate::clock;

/// A window above this would let one sender hold more than it can send while its lease lasts.
const WINDOW_MAX: u32 = 16_384;
/// A timer that is not woken by a change looks again after this long; it only covers a clock that was set.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const FRAME_RESULTS: usize = 256;
/// A sender that is gone must not leave a queue closed for longer than the longest window of a limit.
const CLOSED_MAX: DurationMs = DurationMs::from_secs(24 * 60 * 60);
/// For a sender to read what is before the last word of a stream.
const LAST_WORD: Duration = Duration::from_secs(5);

type Frames = mpsc::Sender<Result<WorkReply, Status>>;

const LOOK_FOR_SESSION: Duration = Duration::from_millis(100);
/// What the meta group has committed is applied here with the next heartbeat of its leader, or after an election.
const GIVEN_WITHIN: Duration = Duration::from_secs(4);
const LOOK_FOR_SLOTS: Duration = Duration::from_millis(20);

struct WorkStream {
    group: SpoolGroup,
    /// Tells this stream from a later one of the same session.
    number: u64,
    session: SessionId,
    owned: RwLock<Owned>,
    window: usize,
    outstanding: AtomicUsize,
    room: Notify,
}

impl WorkStream {
    fn own(&self, slots: OwnedSlots, change: u64) {
        let slots = Arc::new(slots);
        *self.owned.write() = Owned { slots, change };
    }

    /// The sender has this many tasks less.
    fn free_places(&self, tasks: usize) {
        let less = |outstanding: usize| Some(outstanding.saturating_sub(tasks));
        let _ = self
            .outstanding
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        self.room.notify_waiters();
    }
}

/// The slots of a stream, as of the latest change that its sender told of.
#[derive(Clone)]
struct Owned {
    slots: Arc<OwnedSlots>,
    change: u64,
}

pub async fn start(
    groups: &BTreeMap<GroupId, SpoolGroup>,
    mut requests: Streaming<WorkRequest>,
) -> Result<ReceiverStream<Result<WorkReply, Status>>, Status> {
    let Some(WorkRequest {
        request: Some(Request::Open(open)),
    }) = requests.message().await?
    else {
        return Err(Status::invalid_argument(
            "request: a work stream begins with open",
        ));
    };
    let group = super::group_of(groups, open.group)?.clone();
    let stream = Arc::new(open_stream(group, &open)?);
    let (frames, replies) = mpsc::channel(4);
    let (opened, is_open) = oneshot::channel();
    tokio::spawn(live(stream, open.slots, requests, frames, opened));
    let gone = |_| Err(Status::unavailable("this node stops"));
    is_open.await.unwrap_or_else(gone)?;
    Ok(ReceiverStream::new(replies))
}

/// A stream from its opening to the end of what it leaves behind. It goes on when its caller goes away: the session may
/// hold tasks from then on, whether the stream comes to be or not.
async fn live(
    stream: Arc<WorkStream>,
    slots: Vec<OwnedSlot>,
    requests: Streaming<WorkRequest>,
    frames: Frames,
    opened: oneshot::Sender<Result<(), Status>>,
) {
    match open_slots(&stream.group, stream.session, &slots).await {
        Ok(slots) => {
            stream.own(slots, 0);
            // A caller that is gone is noticed below.
            let _ = opened.send(Ok(()));
            exchange(&stream, requests, &frames).await;
        }
        Err(status) => {
            let _ = opened.send(Err(status));
        }
    }
    drop(frames);
    release(&stream).await;
}

/// Tasks to the sender and reports from it, until either ends.
async fn exchange(stream: &Arc<WorkStream>, requests: Streaming<WorkRequest>, frames: &Frames) {
    let (results, recorded) = mpsc::channel(4096);
    let ended = tokio::select! {
        () = receive_reports(stream, requests, results) => "the sender is done",
        () = send_results(stream, recorded, frames) => "the sender is gone",
        () = dispense(stream, frames) => "this node does not lead the group, or a later stream is open",
    };
    tracing::info!(session = %stream.session, ended, "a work stream ended");
    // A sender that hears nothing would wait for tasks until another node leads, which may be never. One that is gone needs
    // no word, and one that does not read must not hold this up.
    let _ = tokio::time::timeout(LAST_WORD, frames.send(Err(Status::unavailable(ended)))).await;
}

/// Gives the tasks of a stream that ended back when its session has ended, or has had time to come back.
async fn release(stream: &WorkStream) {
    let dispatch = &stream.group.dispatch;
    let since = Instant::now();
    // In a later leadership of this node the session is waited for anew.
    while is_current(stream) {
        let lives = stream.group.session_lives(stream.session);
        if absence::stream_is_gone(since.elapsed().into(), lives) {
            dispatch.session_gone(stream.session);
            return;
        }
        tokio::time::sleep(LOOK_FOR_SESSION).await;
    }
}

/// Whether this node still leads as it did when the stream was opened, and its session has no later one.
fn is_current(stream: &WorkStream) -> bool {
    let dispatch = &stream.group.dispatch;
    dispatch.leads() && dispatch.stream_of(stream.session) == Some(stream.number)
}

/// Waits for the sessions that may hold tasks of an earlier leader, as [`release`] waits for one whose stream broke.
pub async fn wait_for_absent(group: SpoolGroup) {
    let since = Instant::now();
    while group.dispatch.leads() {
        let absent = group.dispatch.absent();
        if absent.is_empty() {
            return;
        }
        for session in absent {
            let lives = group.session_lives(session);
            if absence::predecessor_is_gone(since.elapsed().into(), lives) {
                group.dispatch.session_gone(session);
            }
        }
        tokio::time::sleep(LOOK_FOR_SESSION).await;
    }
}

fn open_stream(group: SpoolGroup, open: &OpenWork) -> Result<WorkStream, Status> {
    if !group.dispatch.leads() {
        return Err(Status::unavailable("this node does not lead the group"));
    }
    let session = SessionId(open.session);
    if open.window == 0 || open.window > WINDOW_MAX {
        return Err(Status::invalid_argument(format!(
            "window: must be from 1 to {WINDOW_MAX}"
        )));
    }
    let held = open
        .held
        .iter()
        .map(|task| {
            Ok((
                convert::task_id(&task.message_id, task.number)?,
                task.attempts,
            ))
        })
        .collect::<Result<HashMap<_, _>, convert::BadMessage>>()
        .map_err(|error| Status::invalid_argument(format!("held: {error}")))?;
    let lives = |session| group.session_lives(session);
    let number = group.dispatch.stream_opened(session, &held, lives);
    Ok(WorkStream {
        group,
        session,
        number,
        owned: RwLock::new(Owned {
            slots: Arc::new(OwnedSlots::new(&[])),
            change: 0,
        }),
        window: open.window as usize,
        outstanding: AtomicUsize::new(held.len()),
        room: Notify::new(),
    })
}

/// Commits that these slots are the session's.
async fn open_slots(
    group: &SpoolGroup,
    session: SessionId,
    slots: &[OwnedSlot],
) -> Result<OwnedSlots, Status> {
    let slots = convert::slots(slots)
        .map_err(|error| Status::invalid_argument(format!("slots: {error}")))?;
    let given = until_given(group, session, &slots);
    if tokio::time::timeout(GIVEN_WITHIN, given).await.is_err() {
        return Err(Status::failed_precondition(format!(
            "slots: not all of them were given to session {session}, as far as this node knows"
        )));
    }
    let owned = OwnedSlots::new(&slots);
    let command = Command::OpenSlots(OpenSlots { session, slots });
    super::commit(group, codec::encode(&command))
        .await
        .map_err(|problem| match problem.kind() {
            Kind::Refused => Status::failed_precondition(problem.text),
            _ => Status::unavailable(problem.text),
        })?;
    if !group.dispatch.still_owns(session, &owned) {
        return Err(Status::failed_precondition(
            "the slots were opened by another session",
        ));
    }
    Ok(owned)
}

/// This node may hear of an assignment later than its owner does.
async fn until_given(group: &SpoolGroup, session: SessionId, slots: &[(Slot, Epoch)]) {
    while !group.were_given(session, slots) {
        tokio::time::sleep(LOOK_FOR_SLOTS).await;
    }
}

async fn dispense(stream: &WorkStream, frames: &Frames) {
    let dispatch = &stream.group.dispatch;
    let mut change = 0;
    loop {
        let changed = dispatch.changed();
        let room = stream.room.notified();
        tokio::pin!(changed, room);
        changed.as_mut().enable();
        room.as_mut().enable();
        if !is_current(stream) {
            return;
        }

        let free = stream
            .window
            .saturating_sub(stream.outstanding.load(Ordering::Acquire));
        let owned = stream.owned.read().clone();
        let tasks = if free == 0 {
            Vec::new()
        } else {
            dispatch
                .take(
                    stream.session,
                    stream.number,
                    &owned.slots,
                    free,
                    stream.window,
                )
                .await
        };
        if !tasks.is_empty() || owned.change != change {
            stream.outstanding.fetch_add(tasks.len(), Ordering::AcqRel);
            change = owned.change;
            let reply = WorkReply {
                tasks,
                recorded: Vec::new(),
                change,
            };
            if frames.send(Ok(reply)).await.is_err() {
                return;
            }
            continue;
        }
        let wait = match dispatch.next_due() {
            Some(due) if free > 0 => Duration::from(due.since(clock::now())).min(LOOK_AGAIN),
            _ => LOOK_AGAIN,
        };
        tokio::select! {
            () = changed => {}
            () = room => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            () = frames.closed() => return,
        }
    }
}

async fn receive_reports(
    stream: &Arc<WorkStream>,
    mut requests: Streaming<WorkRequest>,
    results: mpsc::Sender<Recorded>,
) {
    while let Ok(Some(request)) = requests.message().await {
        let frame = match request.request {
            Some(Request::Reports(frame)) => frame,
            Some(Request::Slots(slots)) => {
                match open_slots(&stream.group, stream.session, &slots.slots).await {
                    Ok(owned) => stream.own(owned, slots.change),
                    Err(status) => {
                        tracing::info!(session = %stream.session, reason = status.message(), "slots are not taken");
                        return;
                    }
                }
                stream.room.notify_waiters();
                continue;
            }
            Some(Request::Returned(returned)) => {
                let tasks = returned.tasks.iter().filter_map(|task| {
                    let id = convert::task_id(&task.message_id, task.number).ok()?;
                    Some((id, DurationMs(task.closed_for_ms).min(CLOSED_MAX)))
                });
                let tasks: Vec<_> = tasks.collect();
                let dispatch = &stream.group.dispatch;
                dispatch.give_back(stream.session, stream.number, &tasks);
                dispatch.open_queues(&returned.open);
                stream.free_places(tasks.len());
                continue;
            }
            Some(Request::Blocked(site)) => {
                // That a site is away comes with the reports of its tasks; senders say it here for older groups.
                if let (Ok(slot), 0) = (u16::try_from(site.slot), site.for_ms) {
                    stream.group.dispatch.site_answers(&site.site, Slot(slot));
                }
                continue;
            }
            Some(Request::Refiles(frame)) => {
                for refile in frame.refiles {
                    answer(stream, &results, move |stream| async move {
                        results::of_refile(&stream.group, stream.session, &refile).await
                    });
                }
                continue;
            }
            Some(Request::Open(_)) | None => {
                tracing::warn!(session = %stream.session, "a work stream was opened twice");
                return;
            }
        };
        for bytes in frame.reports {
            answer(stream, &results, move |stream| async move {
                results::of_report(&stream.group, stream.session, &bytes).await
            });
        }
    }
}

/// Does not hold up what comes after.
fn answer<R>(
    stream: &Arc<WorkStream>,
    results: &mpsc::Sender<Recorded>,
    record: impl FnOnce(Arc<WorkStream>) -> R,
) where
    R: Future<Output = Option<Recorded>> + Send + 'static,
{
    let (recorded, results) = (record(stream.clone()), results.clone());
    tokio::spawn(async move {
        if let Some(result) = recorded.await {
            // The other end is gone: it reports again over its next stream.
            let _ = results.send(result).await;
        }
    });
}

/// A task whose attempt was refused, or that was filed anew, may go to the same sender again. It is told of that first:
/// until then it takes the task for one that it has.
async fn send_results(stream: &WorkStream, mut queue: mpsc::Receiver<Recorded>, frames: &Frames) {
    while let Some(first) = queue.recv().await {
        let mut ended = Vec::from_iter(first.ended);
        let mut recorded = vec![first.result];
        while recorded.len() < FRAME_RESULTS {
            let Ok(next) = queue.try_recv() else {
                break;
            };
            ended.extend(next.ended);
            recorded.push(next.result);
        }
        let reply = WorkReply {
            recorded,
            ..WorkReply::default()
        };
        if frames.send(Ok(reply)).await.is_err() {
            return;
        }
        let dispatch = &stream.group.dispatch;
        dispatch.end_attempts(stream.session, stream.number, &ended);
        stream.free_places(ended.len());
    }
    // The reports have ended; `receive_reports` says so.
    std::future::pending().await
}
