//! Spool groups: where messages are handed in, read, and told of.

mod body;
mod facts;
mod ingest;
mod ingest_stream;
mod upload;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skein_model::spool::NewTask;
use skein_model::{Domain, GroupId, MessageId, NodeId, Recipient, Slot};
use skein_wire::internal::spool_client::SpoolClient;

pub use upload::Upload;

use crate::channel::Channel;
use crate::cluster::{Cluster, GroupInfo};
use crate::error::SpoolError;
use crate::state::ClusterState;
use ingest_stream::IngestStream;

/// Above tonic's default of 4 MiB: a frame holds up to 1 MiB beyond its last item of 1 MiB, and tasks carry bodies.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A client that asks again later comes no sooner than that. An election takes less.
const LEADER_SOON: Duration = Duration::from_secs(5);

/// A spool group. Clones share its streams.
#[derive(Debug, Clone)]
pub struct Spool {
    pub(crate) cluster: Cluster,
    pub(crate) group: GroupId,
    state: ClusterState,
    streams: Arc<Mutex<HashMap<NodeId, Arc<IngestStream>>>>,
}

/// All spool groups of a cluster.
#[derive(Debug, Clone)]
pub struct Spools {
    cluster: Cluster,
    state: ClusterState,
    groups: Arc<Mutex<HashMap<GroupId, Spool>>>,
}

impl Spools {
    /// Sites are spread as `state` says.
    pub fn new(cluster: Cluster, state: ClusterState) -> Self {
        Self {
            cluster,
            state,
            groups: Arc::default(),
        }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    pub fn get(&self, group: GroupId) -> Spool {
        let mut groups = self.groups.lock();
        groups
            .entry(group)
            .or_insert_with(|| Spool::new(self.cluster.clone(), self.state.clone(), group))
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
    fn new(cluster: Cluster, state: ClusterState, group: GroupId) -> Self {
        Self {
            cluster,
            state,
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
        let spreads = self.state.spreads();
        NewTask::plan(recipients, recipients_max, sites, |site| {
            spreads.slot(site, message)
        })
    }

    /// The slot for a task of this message to a site.
    pub fn slot(&self, site: &str, message: MessageId) -> Slot {
        self.state.spreads().slot(site, message)
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
