//! Replies of hosts on their way in, and what rules have in force on its way out.

use skein_model::automation::{self, MATCH_COUNTS_MAX, MatchCount};
use skein_model::meta::{Command, Refusal, Response};
use skein_model::{SessionId, codec};
use skein_store::Reader;
use skein_wire::internal::{GetForcesReply, TellRepliesRequest};
use tonic::Status;

use crate::clock;
use crate::raft::Group;
use crate::raft::propose;

/// Counts what a sender heard.
pub async fn tell(meta: &Group, request: TellRepliesRequest) -> Result<(), Status> {
    if request.told.len() > MATCH_COUNTS_MAX {
        return Err(Status::invalid_argument(format!(
            "told: has {} entries: {MATCH_COUNTS_MAX} at most",
            request.told.len()
        )));
    }
    let told = request
        .told
        .iter()
        .map(|one| codec::decode::<MatchCount>(one));
    let told: Result<Vec<MatchCount>, _> = told.collect();
    let told = told.map_err(|error| Status::invalid_argument(format!("told: {error}")))?;
    let command = Command::TellReplies {
        session: SessionId(request.session),
        batch: request.batch,
        told,
    };
    match propose(meta, command).await? {
        Response::Refused(refusal @ Refusal::NoSession) => {
            Err(Status::failed_precondition(format!("session: {refusal}")))
        }
        Response::Refused(refusal) => Err(Status::internal(refusal.to_string())),
        _ => Ok(()),
    }
}

pub fn active_actions(reader: &Reader) -> GetForcesReply {
    // Read first: a change that comes between is asked for again.
    let version = automation::actions_version(reader);
    GetForcesReply {
        version,
        active_actions: codec::encode(&automation::active_actions(reader)).into(),
        now_ms: clock::now().0,
        suspensions: codec::encode(&automation::suspensions(reader)).into(),
    }
}
