//! Bodies that this replica lacks: pulled from those that have them.

use skein_client::Channels;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::rows::ReadRows;
use skein_model::spool::{key, query};
use skein_model::{MessageId, NodeId, UnixMs};
use skein_store::Bodies;
use skein_wire::convert;
use skein_wire::internal::ReadBodyRequest;
use skein_wire::internal::spool_client::SpoolClient;

use crate::{MESSAGE_BYTES_MAX, SpoolGroup};

/// A copy that is on its way from the intake has this long to arrive before it is pulled.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
/// Ids in memory; what is beyond is found by the next look through all open messages.
const LISTED_MAX: usize = 100_000;
/// Between two looks through all open messages.
const LOOK_THROUGH: Duration = Duration::from_secs(300);

/// Messages that were committed before their bytes came here.
#[derive(Clone)]
pub struct BodiesNeeded {
    node: NodeId,
    since: Arc<Mutex<BTreeMap<MessageId, Instant>>>,
    /// How often the rows were replaced, and how often of these all open messages were looked through since.
    replaced: Arc<AtomicU64>,
    looked_through: Arc<AtomicU64>,
}

impl BodiesNeeded {
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            since: Arc::default(),
            replaced: Arc::new(AtomicU64::new(1)),
            looked_through: Arc::default(),
        }
    }

    /// Remembers a message unless this node is among those that have it.
    pub fn add(&self, message: MessageId, acks: &[NodeId]) {
        if acks.contains(&self.node) {
            return;
        }
        let mut since = self.since.lock();
        if since.len() < LISTED_MAX {
            since.entry(message).or_insert_with(Instant::now);
        }
    }

    /// The rows were replaced: any message may lack its bytes.
    pub fn look_through_soon(&self) {
        self.replaced.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the bodies of all messages are known to be here.
    pub fn is_complete(&self, bodies: &Bodies) -> bool {
        let replaced = self.replaced.load(Ordering::Acquire);
        self.looked_through.load(Ordering::Acquire) == replaced
            && self.since.lock().keys().all(|id| bodies.contains(*id))
    }

    fn ready(&self) -> Vec<MessageId> {
        let since = self.since.lock();
        let ready = since.iter().filter(|(_, at)| at.elapsed() >= PATIENCE);
        ready.map(|(id, _)| *id).collect()
    }

    pub fn remove(&self, id: MessageId) {
        self.since.lock().remove(&id);
    }
}

/// Pulls what is missing, for ever.
pub async fn pull(group: SpoolGroup, needed: BodiesNeeded, peers: Channels) {
    let mut looked = None::<Instant>;
    loop {
        let replaced = needed.replaced.load(Ordering::Acquire);
        let asked = needed.looked_through.load(Ordering::Acquire) != replaced;
        if asked || looked.is_none_or(|at| at.elapsed() > LOOK_THROUGH) {
            let (of, found) = (group.clone(), needed.clone());
            let look = tokio::task::spawn_blocking(move || look_through(&of, &found));
            look.await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            looked = Some(Instant::now());
            needed.looked_through.store(replaced, Ordering::Release);
        }
        for id in needed.ready() {
            if group.bodies.contains(id) || !query::needs_body(&group.reader, id) {
                needed.remove(id);
                continue;
            }
            match pull_one(&group, &peers, id).await {
                Ok(()) => needed.remove(id),
                Err(error) => tracing::warn!(message = %id, error, "a body is missing here"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Finds open messages without bytes, as there are after a snapshot or a restart.
fn look_through(group: &SpoolGroup, needed: &BodiesNeeded) {
    group.reader.scan(key::MESSAGES, &[], &mut |row_key, _| {
        if let Some(id) = key::read_message(row_key)
            && query::needs_body(&group.reader, id)
            && !group.bodies.contains(id)
        {
            needed.add(id, &[]);
        }
        true
    });
}

async fn pull_one(group: &SpoolGroup, peers: &Channels, id: MessageId) -> Result<(), String> {
    let Some(message) = query::message(&group.reader, id) else {
        return Ok(());
    };
    let mut last = "no other voter".to_owned();
    for (node, address) in group.group.others() {
        match copy(
            group,
            peers.get(&address),
            id,
            message.body.bytes,
            message.body.crc32c,
        )
        .await
        {
            Ok(()) => return Ok(()),
            Err(error) => last = format!("{node}: {error}"),
        }
    }
    Err(last)
}

async fn copy(
    group: &SpoolGroup,
    channel: tonic::transport::Channel,
    id: MessageId,
    bytes: u64,
    crc32c: u32,
) -> Result<(), String> {
    let mut client = SpoolClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = ReadBodyRequest {
        id: convert::message_id_bytes(id),
        offset: 0,
    };
    let parts = client.read_body(request).await;
    let mut parts = parts
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    // Under a name of its own, so that it does not mix with a copy that arrives from the intake at this moment.
    let from = MessageId::new(UnixMs(0), id.group(), rand::random());
    let (mut count, mut crc) = (0, 0);
    let result = loop {
        match parts.message().await {
            Ok(Some(part)) => {
                count += part.data.len() as u64;
                crc = crc32c::crc32c_append(crc, &part.data);
                group.bodies.append(from, part.data).await;
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status.message().to_owned()),
        }
    };
    let result = result.and_then(|()| match (count, crc) == (bytes, crc32c) {
        true => Ok(()),
        false => Err("it has other bytes".to_owned()),
    });
    if result.is_err() {
        group.bodies.abort(from).await;
        return result;
    }
    let stored = group.bodies.finish_as(from, id).await;
    stored.map(|_| ()).map_err(|error| error.to_string())
}
