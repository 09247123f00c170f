//! Handing messages in. All intakes of a process share one stream to each node, whose frames carry what has gathered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use skein_model::disk::Room;
use skein_model::spool::{Accept, NewTask};
use skein_model::{BodyRef, Domain, GroupId, MessageId, NodeId, Recipient, UnixMs, codec};
use skein_wire::convert;
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{
    IngestItem, IngestReply, IngestRequest, ingest_item::Step, ingest_result,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::SpoolError;
use crate::channel::Channel;
use crate::cluster::{Cluster, GroupInfo};

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
/// What a message's question was: the end of its body, or its accept. A slow voter may owe the answer to the first when
/// it is asked the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Finish,
    Accept,
}

type Waiting = Arc<Mutex<HashMap<(MessageId, Asked), oneshot::Sender<Answer>>>>;

/// A voter that does not take the next bytes of a body by then goes on without it, and pulls the body later.
const SLOW: Duration = Duration::from_secs(5);
/// Between two tries to commit, while a group finds a leader.
const TRY_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct IngestStream {
    items: mpsc::Sender<IngestItem>,
    waiting: Waiting,
}

/// A spool group. Clones share its streams.
#[derive(Debug, Clone)]
pub struct Spool {
    pub(crate) cluster: Cluster,
    pub(crate) group: GroupId,
    streams: Arc<Mutex<HashMap<NodeId, Arc<IngestStream>>>>,
}

/// All spool groups of a cluster.
#[derive(Debug, Clone)]
pub struct Spools {
    cluster: Cluster,
    groups: Arc<Mutex<HashMap<GroupId, Spool>>>,
}

impl Spools {
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            groups: Arc::default(),
        }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub fn get(&self, group: GroupId) -> Spool {
        let mut groups = self.groups.lock();
        groups
            .entry(group)
            .or_insert_with(|| Spool::new(self.cluster.clone(), group))
            .clone()
    }

    /// A group that can take a message.
    ///
    /// # Errors
    /// No group has a leader, or the disks of those that have one are filled.
    pub fn pick(&self, random: u64) -> Result<Spool, SpoolError> {
        let view = self.cluster.view();
        let is_led = |(group, info): &(&GroupId, &GroupInfo)| {
            **group != GroupId::META && info.leader.is_some()
        };
        let led: Vec<_> = view.iter().filter(is_led).collect();
        if led.is_empty() {
            let text = "no spool group has a leader";
            return Err(SpoolError::Unavailable(text.into()));
        }
        let with_room = led.into_iter().filter(|(_, info)| info.has_room());
        let with_room: Vec<GroupId> = with_room.map(|(group, _)| *group).collect();
        let place = random.checked_rem(with_room.len() as u64);
        match place.and_then(|place| with_room.get(usize::try_from(place).ok()?)) {
            Some(group) => Ok(self.get(*group)),
            None => Err(SpoolError::Full(
                "no spool group has a majority whose disks have room".into(),
            )),
        }
    }
}

pub(crate) fn client(channel: Channel) -> SpoolClient<Channel> {
    SpoolClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Spool {
    pub fn new(cluster: Cluster, group: GroupId) -> Self {
        Self {
            cluster,
            group,
            streams: Arc::default(),
        }
    }

    /// The tasks of a message, each in a slot of its site.
    pub fn plan(
        &self,
        message: MessageId,
        recipients: impl IntoIterator<Item = (Domain, Recipient)>,
        recipients_max: usize,
    ) -> Vec<NewTask> {
        let fans = self.cluster.fans();
        NewTask::plan(recipients, recipients_max, |domain| {
            fans.slot(domain.as_str(), message)
        })
    }

    /// Starts the body of a new message at all voters. Dropping the upload before its end discards it.
    ///
    /// # Errors
    /// No voter of the group is known.
    pub fn begin(&self, now: UnixMs, random: u64) -> Result<Upload, SpoolError> {
        self.begin_as(MessageId::new(now, self.group, random))
    }

    /// The same for a message that has its id.
    ///
    /// # Errors
    /// No voter of the group is known.
    pub fn begin_as(&self, id: MessageId) -> Result<Upload, SpoolError> {
        let info = self.cluster.group(self.group);
        if info.leader.is_none() {
            return Err(SpoolError::Unavailable(format!(
                "group {} has no leader",
                self.group
            )));
        }
        // Learners get bodies too, or they would lack the latest ones for ever; they do not count.
        // One whose disk is full would refuse them, and pulls them later.
        let replicas = info.voters.iter().chain(&info.learners);
        let replicas = replicas.filter(|(node, _)| info.room(**node) < Room::Hard);
        let replicas = replicas.map(|(node, address)| Replica {
            votes: info.voters.contains_key(node),
            stream: self.open_stream(*node, address),
        });
        let upload = Upload {
            id,
            majority: info.majority(),
            replicas: replicas.collect(),
            done: false,
        };
        if upload.voters() < upload.majority {
            let text = format!("too many disks of group {} are full", self.group);
            return Err(SpoolError::Full(text));
        }
        Ok(upload)
    }

    /// Returns when the message is committed.
    pub async fn accept(&self, accept: &Accept) -> Result<(), SpoolError> {
        let command = Bytes::from(codec::encode(accept));
        let until = Instant::now() + DEADLINE;
        let mut unknown = None;
        loop {
            let error = match self.try_accept(accept.id, command.clone()).await {
                Ok(()) => return Ok(()),
                Err(error @ (SpoolError::Refused(_) | SpoolError::Full(_))) => return Err(error),
                Err(error) => error,
            };
            // A command is idempotent, so one whose fate is not known is offered again.
            if matches!(error, SpoolError::Unknown(_)) {
                unknown = Some(error.clone());
            }
            if Instant::now() + TRY_AGAIN > until {
                return Err(unknown.unwrap_or(error));
            }
            self.cluster.doubt();
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn try_accept(&self, id: MessageId, command: Bytes) -> Result<(), SpoolError> {
        let info = self.cluster.group(self.group);
        let leader = info
            .leader
            .and_then(|leader| Some((leader, info.voters.get(&leader)?)));
        let Some((leader, address)) = leader else {
            return Err(SpoolError::Unavailable(format!(
                "group {} has no leader",
                self.group
            )));
        };
        let stream = self.open_stream(leader, address);
        let asked = stream.ask(id, Step::Accept(command));
        let mut cluster = self.cluster.clone();
        let answer = tokio::select! {
            answer = asked => answer?,
            () = cluster.leader_changed(self.group, leader) => {
                return Err(SpoolError::Unknown("the group has another leader".into()));
            }
        };
        match answer {
            ingest_result::Result::Accepted(_) => Ok(()),
            other => Err(SpoolError::Refused(format!(
                "an accept was answered with {other:?}"
            ))),
        }
    }

    fn open_stream(&self, node: NodeId, address: &str) -> Arc<IngestStream> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams
            .get(&node)
            .filter(|stream| !stream.items.is_closed())
        {
            return stream.clone();
        }
        let stream = Arc::new(IngestStream::start(client(self.cluster.channel(address))));
        streams.insert(node, stream.clone());
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

/// One of the nodes that a body goes to.
#[derive(Debug)]
struct Replica {
    votes: bool,
    stream: Arc<IngestStream>,
}

/// A body on its way in.
#[derive(Debug)]
pub struct Upload {
    id: MessageId,
    /// Those that have all of it so far.
    replicas: Vec<Replica>,
    majority: usize,
    done: bool,
}

impl Upload {
    /// The id that the message will have.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Adds bytes, at most 1 MiB at a time. Waits while disks are behind.
    pub async fn write(&mut self, data: Bytes) -> Result<(), SpoolError> {
        let sends = self.replicas.iter().map(|replica| {
            let send = replica.stream.send(self.id, Step::Append(data.clone()));
            async move { matches!(tokio::time::timeout(SLOW, send).await, Ok(Ok(()))) }
        });
        let mut taken = join_all(sends).await.into_iter();
        self.replicas.retain(|_| taken.next().unwrap_or(false));
        self.check_majority()
    }

    fn voters(&self) -> usize {
        let voters = self.replicas.iter().filter(|replica| replica.votes);
        voters.count()
    }

    fn check_majority(&self) -> Result<(), SpoolError> {
        if self.voters() < self.majority {
            return Err(SpoolError::Unavailable(
                "too few voters take the body".into(),
            ));
        }
        Ok(())
    }

    /// Returns when the body is fsynced by a majority. The other voters go on.
    pub async fn finish(mut self) -> Result<BodyRef, SpoolError> {
        self.check_majority()?;
        self.done = true;
        let (results, mut answers) = mpsc::channel(self.replicas.len());
        for replica in self.replicas.drain(..) {
            let (id, results) = (self.id, results.clone());
            tokio::spawn(async move {
                let answer = replica.stream.ask(id, Step::Finish(true)).await;
                if replica.votes {
                    // The majority is complete without this one.
                    let _ = results.send(answer).await;
                }
            });
        }
        drop(results);
        let mut body: Option<BodyRef> = None;
        let mut last = SpoolError::Unavailable("too few voters stored the body".into());
        while let Some(answer) = answers.recv().await {
            let stored = match answer {
                Ok(ingest_result::Result::Stored(stored)) => stored,
                Ok(other) => {
                    last = SpoolError::Refused(format!(
                        "the end of a body was answered with {other:?}"
                    ));
                    continue;
                }
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let body = body.get_or_insert_with(|| BodyRef {
                bytes: stored.bytes,
                crc32c: stored.crc32c,
                acks: Vec::new(),
            });
            if (body.bytes, body.crc32c) != (stored.bytes, stored.crc32c) {
                return Err(SpoolError::Refused(
                    "the voters stored different bytes".into(),
                ));
            }
            body.acks.push(NodeId(stored.node));
            if body.acks.len() >= self.majority {
                return Ok(body.clone());
            }
        }
        Err(last)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for replica in &self.replicas {
            // A full queue means that the sweep of orphaned bodies finds this one later.
            let item = IngestItem {
                id: convert::message_id_bytes(self.id),
                step: Some(Step::Abort(true)),
            };
            let _ = replica.stream.items.try_send(item);
        }
    }
}
