//! Bodies and Accepts of many intakes over one stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use skein_model::disk::Room;
use skein_model::spool::{Accept, Command};
use skein_model::{GroupId, MessageId, codec};
use skein_wire::convert;
use skein_wire::internal::problem::Kind;
use skein_wire::internal::{
    IngestItem, IngestReply, IngestRequest, IngestResult, Stored, ingest_item::Step, ingest_result,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::SpoolGroup;

/// Answers that wait for the stream. One intake has one question open, so this bounds nothing that intakes do not.
const QUEUED_ANSWERS: usize = 4096;
const FRAME_ANSWERS: usize = 256;

type Answers = mpsc::Sender<IngestResult>;

pub fn start(
    groups: Arc<BTreeMap<GroupId, SpoolGroup>>,
    requests: Streaming<IngestRequest>,
) -> ReceiverStream<Result<IngestReply, Status>> {
    let (answers, queue) = mpsc::channel(QUEUED_ANSWERS);
    let (frames, replies) = mpsc::channel(4);
    tokio::spawn(gather(queue, frames));
    tokio::spawn(serve(groups, requests, answers));
    ReceiverStream::new(replies)
}

async fn serve(
    groups: Arc<BTreeMap<GroupId, SpoolGroup>>,
    mut requests: Streaming<IngestRequest>,
    answers: Answers,
) {
    while let Ok(Some(request)) = requests.message().await {
        for item in request.items {
            let Ok(id) = convert::message_id(&item.id) else {
                tracing::warn!("an ingest stream sent an item without an id");
                return;
            };
            let Some(group) = groups.get(&id.group()) else {
                tracing::warn!(message = %id, "an ingest stream sent an item of a group that is not here");
                return;
            };
            handle(group, id, item, &answers).await;
        }
    }
}

async fn handle(group: &SpoolGroup, id: MessageId, item: IngestItem, answers: &Answers) {
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
            let (group, answers) = (group.clone(), answers.clone());
            tokio::spawn(async move {
                let result = accept_message(&group, &accept).await;
                answer(&answers, id, true, result).await;
            });
        }
        None => {}
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

async fn accept_message(group: &SpoolGroup, accept: &Bytes) -> ingest_result::Result {
    let accept: Accept = match convert::row(accept) {
        Ok(accept) => accept,
        Err(error) => {
            return ingest_result::Result::Problem(convert::problem(
                Kind::Refused,
                error.to_string(),
            ));
        }
    };
    if group.disk.status().room == Room::Hard {
        let text = "the leader's disk is filled up to its hard mark";
        return ingest_result::Result::Problem(convert::problem(Kind::Full, text));
    }
    if !accept.body.is_on_majority_of(&group.group.voters()) {
        let text = "the body is not fsynced on a majority of the group's voters";
        return ingest_result::Result::Problem(convert::problem(Kind::Refused, text));
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
