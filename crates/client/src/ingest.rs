//! Handing messages in. All intakes of a process share one stream, whose frames carry what has gathered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use skein_model::spool::Accept;
use skein_model::{BodyRef, GroupId, MessageId, NodeId, UnixMs, codec};
use skein_wire::convert;
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{
    IngestItem, IngestReply, IngestRequest, ReadBodyRequest, ingest_item::Step, ingest_result,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::SpoolError;
use crate::channel::Channel;

/// Items that wait for the stream; a full queue holds the SMTP sessions back.
const QUEUED_ITEMS: usize = 1024;
/// A frame gathers at most this much, so that a small item never waits behind a long one.
const FRAME_BYTES: usize = 1 << 20;
const FRAME_ITEMS: usize = 256;
/// A server that answers nothing for this long is not going to: DESIGN section 7, "commit not known after 20 s".
const DEADLINE: Duration = Duration::from_secs(20);
/// Above tonic's default of 4 MiB: a frame holds up to 1 MiB beyond its last item of 1 MiB, and tasks carry bodies.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

type Answer = Result<ingest_result::Result, SpoolError>;
type Waiting = Arc<Mutex<HashMap<MessageId, oneshot::Sender<Answer>>>>;

#[derive(Debug)]
struct IngestStream {
    items: mpsc::Sender<IngestItem>,
    waiting: Waiting,
}

/// A spool group.
#[derive(Debug, Clone)]
pub struct Spool {
    pub(crate) client: SpoolClient<Channel>,
    group: GroupId,
    stream: Arc<Mutex<Option<Arc<IngestStream>>>>,
}

impl Spool {
    pub fn new(channel: Channel, group: GroupId) -> Self {
        let client = SpoolClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self {
            client,
            group,
            stream: Arc::default(),
        }
    }

    /// Starts the body of a new message. Dropping the upload before its end discards it.
    pub fn begin(&self, now: UnixMs, random: u64) -> Upload {
        Upload {
            id: MessageId::new(now, self.group, random),
            stream: self.open_stream(),
            done: false,
        }
    }

    /// Returns when the message is committed.
    pub async fn accept(&self, accept: &Accept) -> Result<(), SpoolError> {
        let command = Bytes::from(codec::encode(accept));
        match self
            .open_stream()
            .ask(accept.id, Step::Accept(command))
            .await?
        {
            ingest_result::Result::Accepted(_) => Ok(()),
            other => Err(SpoolError::Refused(format!(
                "an accept was answered with {other:?}"
            ))),
        }
    }

    /// The bytes of a stored message from `offset` on.
    pub async fn read_body(
        &self,
        id: MessageId,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, SpoolError>> + Send + Unpin + 'static, SpoolError>
    {
        let request = ReadBodyRequest {
            id: convert::message_id_bytes(id),
            offset,
        };
        let parts = self
            .client
            .clone()
            .read_body(request)
            .await
            .map_err(|status| SpoolError::from_status("reading a body", &status))?
            .into_inner();
        Ok(parts.map(|part| match part {
            Ok(part) => Ok(part.data),
            Err(status) => Err(SpoolError::from_status("reading a body", &status)),
        }))
    }

    fn open_stream(&self) -> Arc<IngestStream> {
        let mut current = self.stream.lock();
        if let Some(stream) = current.as_ref().filter(|stream| !stream.items.is_closed()) {
            return stream.clone();
        }
        let stream = Arc::new(IngestStream::start(self.client.clone()));
        *current = Some(stream.clone());
        stream
    }
}

impl IngestStream {
    fn start(mut client: SpoolClient<Channel>) -> Self {
        let (items, queue) = mpsc::channel(QUEUED_ITEMS);
        let (frames, outgoing) = mpsc::channel(2);
        let waiting = Waiting::default();
        let answers = waiting.clone();
        let gather = tokio::spawn(gather(queue, frames));
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
        Self { items, waiting }
    }

    async fn send(&self, id: MessageId, step: Step) -> Result<(), SpoolError> {
        let item = IngestItem {
            id: convert::message_id_bytes(id),
            step: Some(step),
        };
        self.items
            .send(item)
            .await
            .map_err(|_| SpoolError::Unavailable("the stream broke".into()))
    }

    async fn ask(&self, id: MessageId, step: Step) -> Answer {
        let (waiter, answer) = oneshot::channel();
        self.waiting.lock().insert(id, waiter);
        if let Err(error) = self.send(id, step).await {
            self.waiting.lock().remove(&id);
            return Err(error);
        }
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(SpoolError::Unknown("the stream broke".into())),
            Err(_) => {
                self.waiting.lock().remove(&id);
                Err(SpoolError::Unknown(format!(
                    "no answer within {} s",
                    DEADLINE.as_secs()
                )))
            }
        }
    }
}

/// Puts what waits into one frame: under load the cost of a frame is shared, at rest nothing is held back.
async fn gather(mut queue: mpsc::Receiver<IngestItem>, frames: mpsc::Sender<IngestRequest>) {
    while let Some(first) = queue.recv().await {
        let mut bytes = item_bytes(&first);
        let mut items = vec![first];
        while items.len() < FRAME_ITEMS && bytes < FRAME_BYTES {
            let Ok(item) = queue.try_recv() else {
                break;
            };
            bytes += item_bytes(&item);
            items.push(item);
        }
        if frames.send(IngestRequest { items }).await.is_err() {
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
            if let Some(waiter) = waiting.lock().remove(&id) {
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

/// A body on its way in.
#[derive(Debug)]
pub struct Upload {
    id: MessageId,
    stream: Arc<IngestStream>,
    done: bool,
}

impl Upload {
    /// The id that the message will have.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Adds bytes, at most 1 MiB at a time. Waits while the disk is behind.
    pub async fn write(&mut self, data: Bytes) -> Result<(), SpoolError> {
        self.stream.send(self.id, Step::Append(data)).await
    }

    /// Returns when the body is fsynced.
    pub async fn finish(mut self) -> Result<BodyRef, SpoolError> {
        let answer = self.stream.ask(self.id, Step::Finish(true)).await;
        self.done = answer.is_ok();
        match answer? {
            ingest_result::Result::Stored(stored) => Ok(BodyRef {
                bytes: stored.bytes,
                crc32c: stored.crc32c,
                acks: vec![NodeId(stored.node)],
            }),
            other => Err(SpoolError::Refused(format!(
                "the end of a body was answered with {other:?}"
            ))),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.done {
            // A full queue means that the sweep of orphaned bodies finds this one later.
            let item = IngestItem {
                id: convert::message_id_bytes(self.id),
                step: Some(Step::Abort(true)),
            };
            let _ = self.stream.items.try_send(item);
        }
    }
}
