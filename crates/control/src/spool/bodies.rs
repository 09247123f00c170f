//! Bodies that this replica lacks or has damaged: pulled from those that have them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use skein_client::{Channel, Channels};
use skein_model::disk::Room;
use skein_model::rows::ReadRows;
use skein_model::spool::{key, query};
use skein_model::{BodyRef, MessageId, NodeId, UnixMs};
use skein_store::{Bodies, BodyError, BodyInfo, Disk};
use skein_wire::convert;
use skein_wire::internal::ReadBodyRequest;
use skein_wire::internal::spool_client::SpoolClient;

use super::byte_rate::ByteRate;
use super::group::SpoolGroup;
use crate::MESSAGE_BYTES_MAX;

/// A copy that is on its way from the intake has this long to arrive before it is pulled.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
/// Ids in memory; what is beyond is found by the next look through all open messages.
const LISTED_MAX: usize = 100_000;
/// More are not counted when another node asks how many are missing, which is often.
const COUNTED_MAX: usize = 10_000;
/// Between two looks through all open messages.
const LOOK_THROUGH: Duration = Duration::from_secs(300);
/// Enough that the way to the others and back costs nothing; the rate is what limits them.
const PULLS_AT_ONCE: usize = 4;

/// Messages that were committed before their bytes came here.
#[derive(Clone)]
pub struct BodiesNeeded {
    node: NodeId,
    missing: Arc<Mutex<BTreeMap<MessageId, Missing>>>,
    /// How often the rows were replaced, and how often of these all open messages were looked through since.
    replaced: Arc<AtomicU64>,
    looked_through: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    /// What the message's bytes are.
    body: BodyInfo,
    /// There is a copy here that cannot be read.
    damaged: bool,
}

impl Missing {
    /// Whether the bytes are here after all. A copy that has others is none: it was cut off, or came with another's.
    fn is_here(&self, bodies: &Bodies, id: MessageId) -> bool {
        !self.damaged && bodies.info(id) == Some(self.body)
    }
}

pub fn info(body: &BodyRef) -> BodyInfo {
    BodyInfo {
        bytes: body.bytes,
        crc32c: body.crc32c,
    }
}

impl BodiesNeeded {
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            missing: Arc::default(),
            replaced: Arc::new(AtomicU64::new(1)),
            looked_through: Arc::default(),
        }
    }

    /// Remembers a message unless this node is among those that have it.
    pub fn add(&self, message: MessageId, body: &BodyRef) {
        if body.acks.contains(&self.node) {
            return;
        }
        self.list(message, info(body), false);
    }

    fn list(&self, message: MessageId, body: BodyInfo, damaged: bool) {
        let mut missing = self.missing.lock();
        if missing.len() < LISTED_MAX || missing.contains_key(&message) {
            let now = Missing {
                since: Instant::now(),
                body,
                damaged,
            };
            missing.entry(message).or_insert(now).damaged |= damaged;
        }
    }

    /// Reads the body of a message here. One that is damaged, is another one, or is not here, is asked of the others from
    /// now on.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(
        &self,
        bodies: &Bodies,
        id: MessageId,
        body: &BodyRef,
        offset: u64,
        max: usize,
    ) -> Result<Bytes, BodyError> {
        let body = info(body);
        let read = bodies.read(id, body, offset, max).await;
        match &read {
            Err(error) if error.is_damage() => {
                tracing::error!(message = %id, %error, "the copy of a body here is damaged");
                self.list(id, body, true);
            }
            Err(BodyError::NotFound) => self.list(id, body, false),
            _ => {}
        }
        read
    }

    /// The rows were replaced: any message may lack its bytes.
    pub fn look_through_soon(&self) {
        self.replaced.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the bodies of all messages are known to be here.
    pub fn is_complete(&self, bodies: &Bodies) -> bool {
        let replaced = self.replaced.load(Ordering::Acquire);
        self.looked_through.load(Ordering::Acquire) == replaced
            && self
                .missing
                .lock()
                .iter()
                .all(|(id, missing)| missing.is_here(bodies, *id))
    }

    /// How many bodies should be here by now and are not; at least one while that is not known.
    pub fn missing(&self, bodies: &Bodies) -> u64 {
        let replaced = self.replaced.load(Ordering::Acquire);
        let unknown = self.looked_through.load(Ordering::Acquire) != replaced;
        let listed = self.missing.lock();
        let late = listed
            .iter()
            .filter(|(_, missing)| missing.damaged || missing.since.elapsed() >= PATIENCE)
            .take(COUNTED_MAX);
        let missing = late
            .filter(|(id, missing)| !missing.is_here(bodies, **id))
            .count();
        (missing as u64).max(unknown.into())
    }

    fn ready(&self) -> Vec<(MessageId, Missing)> {
        let missing = self.missing.lock();
        let ready = missing
            .iter()
            .filter(|(_, missing)| missing.damaged || missing.since.elapsed() >= PATIENCE);
        ready.map(|(id, missing)| (*id, *missing)).collect()
    }

    pub fn remove(&self, id: MessageId) {
        self.missing.lock().remove(&id);
    }
}

/// Pulls what is missing, for ever.
pub async fn pull(
    group: SpoolGroup,
    needed: BodiesNeeded,
    peers: Channels,
    disk: Arc<Disk>,
    byte_rate: Arc<ByteRate>,
) {
    let mut looked = None::<Instant>;
    let mut told = Run::default();
    loop {
        let replaced = needed.replaced.load(Ordering::Acquire);
        let asked = needed.looked_through.load(Ordering::Acquire) != replaced;
        if asked || looked.is_none_or(|at| at.elapsed() > LOOK_THROUGH) {
            let (of, found) = (group.clone(), needed.clone());
            skein_runtime::blocking(move || look_through(&of, &found)).await;
            looked = Some(Instant::now());
            needed.looked_through.store(replaced, Ordering::Release);
        }
        // Copies make mail safe that was taken already, so they may fill the disk further than new mail may.
        if disk.status().room < Room::Hard {
            let run = pull_ready(&group, &needed, &peers, &byte_rate).await;
            if run.pulled > 0 || run.missing != told.missing {
                run.tell(&group);
            }
            told = run;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What came of one look at what is missing.
#[derive(Debug, Default)]
struct Run {
    pulled: u64,
    bytes: u64,
    missing: u64,
    last_error: String,
}

impl Run {
    fn tell(&self, group: &SpoolGroup) {
        let (group, pulled, bytes, missing) =
            (group.group.id(), self.pulled, self.bytes, self.missing);
        match missing {
            0 => {
                tracing::info!(%group, pulled, bytes, "bodies that were missing here are here now")
            }
            _ => {
                tracing::warn!(%group, pulled, bytes, missing, error = self.last_error, "bodies are missing here")
            }
        }
    }
}

async fn pull_ready(
    group: &SpoolGroup,
    needed: &BodiesNeeded,
    peers: &Channels,
    byte_rate: &ByteRate,
) -> Run {
    let pulls = stream::iter(needed.ready()).map(|(id, missing)| async move {
        let is_here = missing.is_here(&group.bodies, id);
        let result = match query::message(&group.reader, id) {
            Some(row) if !is_here && row.finished_at.is_none() => {
                pull_one(group, peers, byte_rate, id, &row.body)
                    .await
                    .map(Some)
            }
            _ => Ok(None),
        };
        (id, result)
    });
    let mut pulls = pulls.buffer_unordered(PULLS_AT_ONCE);
    let mut run = Run::default();
    while let Some((id, result)) = pulls.next().await {
        match result {
            Ok(pulled) => {
                needed.remove(id);
                run.pulled += u64::from(pulled.is_some());
                run.bytes += pulled.unwrap_or(0);
            }
            Err(error) => {
                run.missing += 1;
                run.last_error = error;
            }
        }
    }
    run
}

/// Finds open messages without bytes, as there are after a snapshot or a restart.
fn look_through(group: &SpoolGroup, needed: &BodiesNeeded) {
    group.reader.scan(key::MESSAGES, &[], &mut |row_key, _| {
        if let Some(id) = key::read_message(row_key)
            && let Some(row) = query::message(&group.reader, id)
            && row.finished_at.is_none()
            && group.bodies.info(id) != Some(info(&row.body))
        {
            needed.list(id, info(&row.body), false);
        }
        true
    });
}

/// Returns how many bytes came.
async fn pull_one(
    group: &SpoolGroup,
    peers: &Channels,
    byte_rate: &ByteRate,
    id: MessageId,
    body: &BodyRef,
) -> Result<u64, String> {
    let mut last = "no other voter".to_owned();
    for (node, address) in group.group.others() {
        // Under a name of its own, so that it does not mix with a copy that arrives from the intake at this moment.
        let from = MessageId::new(UnixMs(0), id.group(), rand::random());
        let copied = copy(
            &group.bodies,
            peers.get(&address),
            byte_rate,
            id,
            from,
            body,
        )
        .await;
        let stored = match copied {
            Ok(()) => group.bodies.finish_as(from, id).await,
            Err(error) => {
                group.bodies.abort(from).await;
                last = format!("{node}: {error}");
                continue;
            }
        };
        return match stored {
            Ok(info) => Ok(info.bytes),
            Err(error) => Err(error.to_string()),
        };
    }
    Err(last)
}

async fn copy(
    bodies: &Bodies,
    channel: Channel,
    byte_rate: &ByteRate,
    id: MessageId,
    from: MessageId,
    body: &BodyRef,
) -> Result<(), String> {
    let mut client = SpoolClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = ReadBodyRequest {
        id: convert::message_id_bytes(id),
        offset: 0,
        length: 0,
        as_stored: true,
    };
    let parts = client.read_body(request).await;
    let mut parts = parts
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let (mut count, mut crc) = (0, 0);
    while let Some(part) = parts
        .message()
        .await
        .map_err(|status| status.message().to_owned())?
    {
        byte_rate.pass(part.data.len()).await;
        count += part.data.len() as u64;
        crc = crc32c::crc32c_append(crc, &part.data);
        bodies.append(from, part.data).await;
    }
    match (count, crc) == (body.bytes, body.crc32c) {
        true => Ok(()),
        false => Err("it has other bytes".to_owned()),
    }
}
