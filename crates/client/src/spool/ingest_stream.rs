//! One stream to a node, whose frames carry what all intakes of this process have for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skein_model::{MessageId, NodeId};
use skein_wire::convert;
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{
    IngestItem, IngestReply, IngestRequest, ingest_item::Step, ingest_result,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::channel::Channel;
use crate::error::SpoolError;

/// Items that wait for the stream; a full queue holds the SMTP sessions back.
const QUEUED_ITEMS: usize = 1024;
/// Bytes of bodies that wait for the stream. A node that is further behind is passed over rather than waited for, before
/// what waits for it takes up what an intake may have in memory.
const QUEUED_BYTES: usize = 8 << 20;
/// A frame gathers at most this much, so that a small item never waits behind a long one.
const FRAME_BYTES: usize = 1 << 20;
const FRAME_ITEMS: usize = 256;
/// A server that answers nothing for this long is not going to: DESIGN section 7, "commit not known after 20 s".
pub const DEADLINE: Duration = Duration::from_secs(20);

type Answer = Result<ingest_result::Result, SpoolError>;
/// What a message's question was: the end of its body, or its accept. A slow voter may owe the answer to the first when
/// it is asked the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Finish,
    Accept,
}

type Waiting = Arc<Mutex<HashMap<(MessageId, Asked), oneshot::Sender<Answer>>>>;

/// An item and, if it carries bytes of a body, its part of the room in the queue.
#[derive(Debug)]
struct Queued {
    item: IngestItem,
    _room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    fn new(id: MessageId, step: Step, room: Option<OwnedSemaphorePermit>) -> Self {
        let id = convert::message_id_bytes(id);
        let item = IngestItem {
            id,
            step: Some(step),
        };
        Self { item, _room: room }
    }
}

#[derive(Debug)]
pub struct IngestStream {
    items: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    waiting: Waiting,
}

impl IngestStream {
    /// A stream to this node, which another one that has its address refuses.
    pub fn start(node: NodeId, mut client: SpoolClient<Channel>) -> Self {
        let (items, queue) = mpsc::channel(QUEUED_ITEMS);
        let (frames, outgoing) = mpsc::channel(2);
        let waiting = Waiting::default();
        let answers = waiting.clone();
        let gather = tokio::spawn(gather(node, queue, frames));
        tokio::spawn(async move {
            let reason = match client.ingest(ReceiverStream::new(outgoing)).await {
                Ok(replies) => deliver_answers(replies.into_inner(), &answers).await,
                Err(status) => status.message().to_owned(),
            };
            gather.abort();
            // The gather task owned the queue, so senders now see it closed and start another stream.
            let _ = gather.await;
            for (_, waiter) in answers.lock().drain() {
                let _ = waiter.send(Err(SpoolError::Unknown(reason.clone())));
            }
        });
        Self {
            items,
            room: Arc::new(Semaphore::new(QUEUED_BYTES)),
            waiting,
        }
    }

    /// Another one is to be started.
    pub fn is_closed(&self) -> bool {
        self.items.is_closed()
    }

    /// Waits while the stream is behind.
    pub async fn send(&self, id: MessageId, step: Step) -> Result<(), SpoolError> {
        let room = match &step {
            Step::Append(data) => {
                let bytes =
                    u32::try_from(data.len().min(QUEUED_BYTES)).expect("below QUEUED_BYTES");
                let room = self.room.clone().acquire_many_owned(bytes).await;
                Some(room.expect("it is never closed"))
            }
            _ => None,
        };
        let queued = Queued::new(id, step, room);
        self.items
            .send(queued)
            .await
            .map_err(|_| SpoolError::Unavailable("the stream broke".into()))
    }

    /// The body is not needed. If the queue is full, the sweep of orphaned bodies finds it later.
    pub fn abort(&self, id: MessageId) {
        let _ = self
            .items
            .try_send(Queued::new(id, Step::Abort(true), None));
    }

    pub async fn ask(&self, id: MessageId, step: Step) -> Answer {
        let question = match step {
            Step::Accept(_) => (id, Asked::Accept),
            _ => (id, Asked::Finish),
        };
        let (waiter, answer) = oneshot::channel();
        self.waiting.lock().insert(question, waiter);
        if let Err(error) = self.send(id, step).await {
            self.waiting.lock().remove(&question);
            return Err(error);
        }
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(SpoolError::Unknown("the stream broke".into())),
            Err(_) => {
                self.waiting.lock().remove(&question);
                Err(SpoolError::Unknown(format!(
                    "no answer within {} s",
                    DEADLINE.as_secs()
                )))
            }
        }
    }
}

/// Puts what waits into one frame: under load the cost of a frame is shared, at rest nothing is held back.
async fn gather(
    node: NodeId,
    mut queue: mpsc::Receiver<Queued>,
    frames: mpsc::Sender<IngestRequest>,
) {
    while let Some(first) = queue.recv().await {
        let mut bytes = item_bytes(&first.item);
        let mut items = vec![first.item];
        while items.len() < FRAME_ITEMS && bytes < FRAME_BYTES {
            let Ok(Queued { item, .. }) = queue.try_recv() else {
                break;
            };
            bytes += item_bytes(&item);
            items.push(item);
        }
        let node = node.0;
        if frames.send(IngestRequest { items, node }).await.is_err() {
            return;
        }
    }
}

fn item_bytes(item: &IngestItem) -> usize {
    match &item.step {
        Some(Step::Append(data) | Step::Accept(data)) => data.len() + 64,
        _ => 64,
    }
}

/// Returns the reason why the stream ended.
async fn deliver_answers(mut replies: tonic::Streaming<IngestReply>, waiting: &Waiting) -> String {
    loop {
        let reply = match replies.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return "the server closed the stream".into(),
            Err(status) => return status.message().to_owned(),
        };
        for result in reply.results {
            let (Ok(id), Some(answer)) = (convert::message_id(&result.id), result.result) else {
                return "the server sent an answer without an id".into();
            };
            let asked = match result.of_accept {
                true => Asked::Accept,
                false => Asked::Finish,
            };
            if let Some(waiter) = waiting.lock().remove(&(id, asked)) {
                let answer = match answer {
                    ingest_result::Result::Problem(problem) => {
                        Err(SpoolError::from_problem(problem))
                    }
                    answer => Ok(answer),
                };
                // A waiter that is gone gave up at its deadline.
                let _ = waiter.send(answer);
            }
        }
    }
}
