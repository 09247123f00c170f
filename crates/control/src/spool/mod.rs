//! The Spool service: taking messages in, handing tasks out, reading bodies.

mod bodies;
#[cfg(test)]
mod body_tests;
pub mod byte_rate;
mod dispatch;
pub mod dispatch_feed;
mod features;
mod group;
mod ingest;
mod results;
mod work;
#[cfg(test)]
mod work_tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub use dispatch::Dispatch;
pub(crate) use features::take_up;
use futures::stream::BoxStream;
pub(crate) use group::{LOOK_FOR_LEADER, SpoolGroup, start_spool};
use ingest::Ingest;
use parking_lot::Mutex;
use skein_model::spool::{Command, Report, Response as SpoolResponse, query};
use skein_model::{GroupId, MessageId, SessionId, codec};
use skein_store::{Bodies, Reader};
use skein_wire::convert;
use skein_wire::internal::problem::Kind;
use skein_wire::internal::spool_server::Spool;
use skein_wire::internal::{
    BodyPart, Fact, IngestReply, IngestRequest, Problem, ReadBodyRequest, ReportResult, WorkReply,
    WorkRequest,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::raft::ProposeError;
use crate::raft::VersionGate;

/// What one part of a streamed body holds.
const PART_BYTES: u64 = 256 << 10;
/// A body without a message is swept this long after it was written: longer than any intake may take.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// Longer than a restore takes from a body to its message.
const SWEEP_AGAIN: Duration = Duration::from_secs(900);

pub struct SpoolService {
    groups: Arc<BTreeMap<GroupId, SpoolGroup>>,
    ingest: Ingest,
}

impl SpoolService {
    pub fn new(groups: Arc<BTreeMap<GroupId, SpoolGroup>>, versions: VersionGate) -> Self {
        let ingest = Ingest::new(groups.clone(), versions);
        Self { groups, ingest }
    }
}

fn group_of(groups: &BTreeMap<GroupId, SpoolGroup>, group: u32) -> Result<&SpoolGroup, Status> {
    u16::try_from(group)
        .ok()
        .and_then(|group| groups.get(&GroupId(group)))
        .ok_or_else(|| Status::not_found(format!("group: no spool group {group} is here")))
}

#[tonic::async_trait]
impl Spool for SpoolService {
    type IngestStream = ReceiverStream<Result<IngestReply, Status>>;
    type WorkStream = ReceiverStream<Result<WorkReply, Status>>;
    type ReadBodyStream = BoxStream<'static, Result<BodyPart, Status>>;

    async fn ingest(
        &self,
        request: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        Ok(Response::new(self.ingest.start(request.into_inner())))
    }

    async fn work(
        &self,
        request: Request<Streaming<WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        Ok(Response::new(
            work::start(&self.groups, request.into_inner()).await?,
        ))
    }

    async fn tell(&self, request: Request<Fact>) -> Result<Response<ReportResult>, Status> {
        let report: Report = convert::row(&request.into_inner().report)
            .map_err(|error| Status::invalid_argument(format!("report: {error}")))?;
        let (task, attempt) = (report.task, report.facts.number);
        let group = group_of(&self.groups, task.message.group().0.into())?;
        // The report of no session: what it says of recipients that are done counts, and nothing else of it.
        let report = Report {
            session: SessionId::NONE,
            ..report
        };
        let command = codec::encode(&Command::Report(Box::new(report)));
        let problem = commit(group, command).await.err();
        Ok(Response::new(results::result(task, attempt, problem)))
    }

    async fn read_body(
        &self,
        request: Request<ReadBodyRequest>,
    ) -> Result<Response<Self::ReadBodyStream>, Status> {
        let request = request.into_inner();
        let id = convert::message_id(&request.id)
            .map_err(|e| Status::invalid_argument(format!("id: {e}")))?;
        let group = group_of(&self.groups, id.group().0.into())?;
        let message = query::message(&group.reader, id)
            .ok_or_else(|| Status::not_found(format!("id: no message {id} is here")))?;
        let (bodies, needed) = (group.bodies.clone(), group.bodies_needed.clone());
        let end = match request.length {
            0 => u64::MAX,
            length => request.offset.saturating_add(length),
        };
        let mut body = message.body;
        if request.as_stored {
            body.prefix_bytes = None;
        }
        let parts = futures::stream::try_unfold(request.offset, move |offset| {
            let (bodies, needed, body) = (bodies.clone(), needed.clone(), body.clone());
            async move {
                let most = end.saturating_sub(offset).min(PART_BYTES);
                let ranges = body.outgoing(offset, most).into_iter();
                let Some(range) = ranges.into_iter().find(|range| !range.is_empty()) else {
                    return Ok(None);
                };
                let most = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let data = needed.read(&bodies, id, &body, range.start, most).await;
                let data = data.map_err(|error| {
                    Status::data_loss(format!("reading the body of {id}: {error}"))
                })?;
                if data.is_empty() {
                    return Ok(None);
                }
                let next = offset + data.len() as u64;
                Ok(Some((BodyPart { data }, next)))
            }
        });
        Ok(Response::new(Box::pin(parts)))
    }
}

/// Commits a command and reads the answer.
async fn commit(group: &SpoolGroup, command: Vec<u8>) -> Result<(), Problem> {
    let reply = group
        .group
        .propose(command)
        .await
        .map_err(|error| match error {
            ProposeError::NotLeader => convert::problem(Kind::Unavailable, error.to_string()),
            ProposeError::Unknown(_) => convert::problem(Kind::Unknown, error.to_string()),
            ProposeError::Invalid(_) => convert::problem(Kind::Refused, error.to_string()),
        })?;
    match codec::decode(&reply) {
        Ok(SpoolResponse::Done | SpoolResponse::Count(_)) => Ok(()),
        Ok(SpoolResponse::Refused(refusal)) => {
            Err(convert::problem(Kind::Refused, refusal.to_string()))
        }
        Err(error) => Err(convert::problem(Kind::Unknown, error.to_string())),
    }
}

/// Removes bodies whose message was never accepted, or ended while the node was down.
///
/// A body comes before its message, and in a restore its id is old: so one is removed that had no message twice.
pub fn sweep_orphans(bodies: Bodies, readers: BTreeMap<GroupId, Reader>) {
    let readers = Arc::new(readers);
    skein_runtime::task("orphans", async move {
        let mut before = HashSet::new();
        loop {
            let found = Arc::new(Mutex::new(HashSet::new()));
            let (readers, orphans) = (readers.clone(), found.clone());
            let needed = move |id: MessageId| {
                let reader = readers.get(&id.group());
                let is_orphan = !reader.is_some_and(|reader| query::needs_body(reader, id));
                !is_orphan || (orphans.lock().insert(id) && !before.contains(&id))
            };
            let swept = bodies.sweep(ORPHAN_AGE, needed).await;
            if swept > 0 {
                tracing::info!(swept, "removed bodies that no message needs");
            }
            before = std::mem::take(&mut *found.lock());
            tokio::time::sleep(SWEEP_AGAIN).await;
        }
    });
}
