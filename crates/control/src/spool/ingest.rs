//! Bodies and Accepts of many intakes over one stream.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use skein_model::disk::Room;
use skein_model::feature::Feature;
use skein_model::spool::{Accept, Command, query};
use skein_model::{GroupId, MessageId, NodeId, codec, is_site_name};
use skein_wire::convert;
use skein_wire::internal::problem::Kind;
use skein_wire::internal::{
    IngestItem, IngestReply, IngestRequest, IngestResult, Stored, ingest_item::Step, ingest_result,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::bodies::info;
use super::group::SpoolGroup;
use crate::raft::VersionGate;

/// Answers that wait for the stream. One intake has one question open, so this bounds nothing that intakes do not.
const QUEUED_ANSWERS: usize = 4096;
const FRAME_ANSWERS: usize = 256;

/// Bytes of Accepts that wait for their commit, from all streams together: some 60,000 of usual size, or 200 with a
/// thousand recipients.
const ACCEPT_BYTES: usize = 64 << 20;

type Answers = mpsc::Sender<IngestResult>;

/// What the Ingest service of a node needs.
#[derive(Clone)]
pub struct Ingest {
    groups: Arc<BTreeMap<GroupId, SpoolGroup>>,
    versions: VersionGate,
    accepts: Arc<Semaphore>,
}

impl Ingest {
    pub fn new(groups: Arc<BTreeMap<GroupId, SpoolGroup>>, versions: VersionGate) -> Self {
        Self {
            groups,
            versions,
            accepts: Arc::new(Semaphore::new(ACCEPT_BYTES)),
        }
    }

    pub fn start(
        &self,
        requests: Streaming<IngestRequest>,
    ) -> ReceiverStream<Result<IngestReply, Status>> {
        let (answers, queue) = mpsc::channel(QUEUED_ANSWERS);
        let (frames, replies) = mpsc::channel(4);
        tokio::spawn(gather(queue, frames.clone()));
        let ingest = self.clone();
        tokio::spawn(async move {
            let mut open = HashSet::new();
            if let Err(status) = ingest.serve(requests, answers, &mut open).await {
                tracing::warn!(reason = status.message(), "an ingest stream is refused");
                // A client that is gone needs no reason.
                let _ = frames.send(Err(status)).await;
            }
            // No client can complete these any more.
            for id in open {
                if let Some(group) = ingest.groups.get(&id.group()) {
                    group.bodies.abort(id).await;
                }
            }
        });
        ReceiverStream::new(replies)
    }

    /// Serves one stream to its end; `open` are the bodies that were begun and not ended.
    ///
    /// # Errors
    /// It is meant for another node, or breaks a rule.
    async fn serve(
        &self,
        mut requests: Streaming<IngestRequest>,
        answers: Answers,
        open: &mut HashSet<MessageId>,
    ) -> Result<(), Status> {
        while let Ok(Some(request)) = requests.message().await {
            for item in request.items {
                let id = convert::message_id(&item.id)
                    .map_err(|error| Status::invalid_argument(format!("id: {error}")))?;
                let group = group_for(&self.groups, id, NodeId(request.node))?;
                match item.step {
                    Some(Step::Append(_)) => open.insert(id),
                    Some(Step::Finish(_) | Step::Abort(_)) => open.remove(&id),
                    _ => false,
                };
                self.handle(group, id, item, &answers).await;
            }
        }
        Ok(())
    }

    async fn handle(&self, group: &SpoolGroup, id: MessageId, item: IngestItem, answers: &Answers) {
        match item.step {
            Some(Step::Append(data)) => {
                // A failure is remembered for the body and told when it is finished.
                group.bodies.append(id, data).await;
            }
            Some(Step::Finish(_)) => {
                let (group, answers) = (group.clone(), answers.clone());
                tokio::spawn(async move {
                    let result = finish(&group, id).await;
                    answer(&answers, id, false, result).await;
                });
            }
            Some(Step::Abort(_)) => group.bodies.abort(id).await,
            Some(Step::Accept(accept)) => {
                let bytes = u32::try_from(accept.len().min(ACCEPT_BYTES));
                let bytes = bytes.expect("below ACCEPT_BYTES");
                let room = self.accepts.clone().acquire_many_owned(bytes).await;
                let (group, answers) = (group.clone(), answers.clone());
                let versions = self.versions.clone();
                tokio::spawn(async move {
                    let result = accept_message(&group, &versions, &accept).await;
                    drop(room);
                    answer(&answers, id, true, result).await;
                });
            }
            None => {}
        }
    }
}

/// The group of a message at the node that is meant. One that came back with an empty disk, and has another id, has the
/// address of the one before: bytes of two streams would mix in it, and its answers would count as those of the other.
fn group_for(
    groups: &BTreeMap<GroupId, SpoolGroup>,
    message: MessageId,
    node: NodeId,
) -> Result<&SpoolGroup, Status> {
    let group = message.group();
    let here = groups
        .get(&group)
        .ok_or_else(|| Status::not_found(format!("id: no group {group} is here")))?;
    match here.node == node {
        true => Ok(here),
        false => Err(Status::failed_precondition(format!(
            "node: this is node {}, not {node}",
            here.node
        ))),
    }
}

async fn finish(group: &SpoolGroup, id: MessageId) -> ingest_result::Result {
    match group.bodies.finish(id).await {
        Ok(body) => ingest_result::Result::Stored(Stored {
            bytes: body.bytes,
            crc32c: body.crc32c,
            node: group.node.0,
        }),
        Err(error) => {
            ingest_result::Result::Problem(convert::problem(Kind::Full, error.to_string()))
        }
    }
}

async fn accept_message(
    group: &SpoolGroup,
    versions: &VersionGate,
    accept: &Bytes,
) -> ingest_result::Result {
    let mut accept: Accept = match convert::row(accept) {
        Ok(accept) => accept,
        Err(error) => {
            return ingest_result::Result::Problem(convert::problem(
                Kind::Refused,
                error.to_string(),
            ));
        }
    };
    let mut sites = accept.tasks.iter().filter_map(|task| task.site.as_deref());
    if !sites.all(is_site_name) {
        let text = "a task's site has no name that a site can have";
        return ingest_result::Result::Problem(convert::problem(Kind::Refused, text));
    }
    if group.disk.status().room == Room::Hard {
        let text = "the leader's disk is filled up to its hard mark";
        return ingest_result::Result::Problem(convert::problem(Kind::Full, text));
    }
    // Of its own acknowledgement this node is sure.
    let (own, body) = (group.node, &accept.body);
    let is_here = group.bodies.info(accept.id) == Some(info(body));
    // One that comes again may be about a message that is done with.
    let is_known = query::message(&group.reader, accept.id).is_some();
    if body.acks.contains(&own) && !is_here && !is_known {
        let text = "the body is not on the disk of this node, which is said to have it";
        return ingest_result::Result::Problem(convert::problem(Kind::Refused, text));
    }
    if !accept.body.is_on_majority_of(&group.group.voters()) {
        let text = "the body is not fsynced on a majority of the group's voters";
        return ingest_result::Result::Problem(convert::problem(Kind::Refused, text));
    }
    if let Some(feature) = accept.feature()
        && let Err(older) = versions.pass(feature).await
    {
        let text = older.message();
        return ingest_result::Result::Problem(convert::problem(Kind::Upgrading, text));
    }
    // A node that does not read it would store another row. Without it the mail goes under what the recipients' domain demands.
    if accept.envelope.tls_optional && versions.pass(Feature::OptionalTls).await.is_err() {
        accept.envelope.tls_optional = false;
    }
    match super::commit(group, codec::encode(&Command::Accept(Box::new(accept)))).await {
        Ok(()) => ingest_result::Result::Accepted(true),
        Err(problem) => ingest_result::Result::Problem(problem),
    }
}

async fn answer(answers: &Answers, id: MessageId, of_accept: bool, result: ingest_result::Result) {
    let result = IngestResult {
        id: convert::message_id_bytes(id),
        result: Some(result),
        of_accept,
    };
    // The other end is gone: its clients were told that the commit is not known.
    let _ = answers.send(result).await;
}

async fn gather(
    mut queue: mpsc::Receiver<IngestResult>,
    frames: mpsc::Sender<Result<IngestReply, Status>>,
) {
    while let Some(first) = queue.recv().await {
        let mut results = vec![first];
        while results.len() < FRAME_ANSWERS {
            let Ok(next) = queue.try_recv() else {
                break;
            };
            results.push(next);
        }
        if frames.send(Ok(IngestReply { results })).await.is_err() {
            return;
        }
    }
}
