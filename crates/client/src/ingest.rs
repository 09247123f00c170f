//! Handing messages in: the body to all voters of a group, and then its Accept to the leader.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use skein_model::disk::Room;
use skein_model::spool::{Accept, NewTask};
use skein_model::{BodyRef, Domain, GroupId, MessageId, NodeId, Recipient, Slot, UnixMs, codec};
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{ingest_item::Step, ingest_result};
use tokio::sync::mpsc;

use crate::SpoolError;
use crate::channel::Channel;
use crate::cluster::{Cluster, GroupInfo};
use crate::ingest_stream::{DEADLINE, IngestStream};

/// Above tonic's default of 4 MiB: a frame holds up to 1 MiB beyond its last item of 1 MiB, and tasks carry bodies.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A voter that does not take the next bytes of a body by then goes on without it, and pulls the body later.
const SLOW: Duration = Duration::from_secs(5);
/// A client that asks again later comes no sooner than that. An election takes less.
const LEADER_SOON: Duration = Duration::from_secs(5);
/// Between two tries to commit, while a group finds a leader.
const TRY_AGAIN: Duration = Duration::from_millis(100);

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

    /// A group that can take a message. While none has a leader, as after this process stood still, it is waited for a
    /// little.
    ///
    /// # Errors
    /// No group has a leader, or the disks of those that have one are filled.
    pub async fn pick(&self, random: u64) -> Result<Spool, SpoolError> {
        let mut cluster = self.cluster.clone();
        let led = async {
            while matches!(self.pick_now(random), Err(SpoolError::Unavailable(_))) {
                cluster.changed().await;
            }
        };
        // Without one, it is said below.
        let _ = tokio::time::timeout(LEADER_SOON, led).await;
        self.pick_now(random)
    }

    fn pick_now(&self, random: u64) -> Result<Spool, SpoolError> {
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

    /// The tasks of a message, each in a slot of its site. A domain of which `sites` knows nothing is its own.
    pub fn plan(
        &self,
        message: MessageId,
        recipients: impl IntoIterator<Item = (Domain, Recipient)>,
        recipients_max: usize,
        sites: &BTreeMap<Domain, String>,
    ) -> Vec<NewTask> {
        let spreads = self.cluster.spreads();
        NewTask::plan(recipients, recipients_max, sites, |site| {
            spreads.slot(site, message)
        })
    }

    /// The slot for a task of this message to a site.
    pub fn slot(&self, site: &str, message: MessageId) -> Slot {
        self.cluster.spreads().slot(site, message)
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
        if let Some(stream) = streams.get(&node).filter(|stream| !stream.is_closed()) {
            return stream.clone();
        }
        let stream = Arc::new(IngestStream::start(
            node,
            client(self.cluster.channel(address)),
        ));
        streams.insert(node, stream.clone());
        stream
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
            replica.stream.abort(self.id);
        }
    }
}
