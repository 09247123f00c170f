//! Between openraft's types and protobuf's.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, LogId, Vote};
use skein_store::{TypeConfig, decode_entry, encode_entry};
use skein_wire::internal;
use skein_wire::internal::append_reply::Result as Appended;

/// A peer sent something that no version of ours sends.
#[derive(Debug, thiserror::Error)]
pub enum BadPeer {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("an entry cannot be read: {0}")]
    Entry(String),
}

pub fn vote(vote: Vote<u64>) -> internal::RaftVote {
    internal::RaftVote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub fn read_vote(vote: Option<internal::RaftVote>) -> Result<Vote<u64>, BadPeer> {
    let vote = vote.ok_or(BadPeer::Missing("the vote"))?;
    Ok(match vote.committed {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    })
}

pub fn log_id(id: LogId<u64>) -> internal::RaftLogId {
    internal::RaftLogId {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index,
    }
}

pub fn read_log_id(id: internal::RaftLogId) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(id.term, id.node), id.index)
}

pub fn append(
    group: u32,
    target: u64,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<internal::AppendRequest, BadPeer> {
    let entries = request.entries.into_iter().map(encode_entry);
    Ok(internal::AppendRequest {
        group,
        target,
        vote: Some(vote(request.vote)),
        previous: request.prev_log_id.map(log_id),
        entries: entries
            .map(|entry| entry.map(Into::into))
            .collect::<Result<_, _>>()
            .map_err(|error| BadPeer::Entry(error.to_string()))?,
        committed: request.leader_commit.map(log_id),
    })
}

pub fn read_append(
    request: internal::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, BadPeer> {
    let entries = request.entries.iter().map(|entry| decode_entry(entry));
    Ok(AppendEntriesRequest {
        vote: read_vote(request.vote)?,
        prev_log_id: request.previous.map(read_log_id),
        entries: entries
            .collect::<Result<_, _>>()
            .map_err(|error| BadPeer::Entry(error.to_string()))?,
        leader_commit: request.committed.map(read_log_id),
    })
}

pub fn appended(reply: AppendEntriesResponse<u64>) -> internal::AppendReply {
    let result = match reply {
        AppendEntriesResponse::Success => Some(Appended::Success(true)),
        AppendEntriesResponse::Conflict => Some(Appended::Conflict(true)),
        AppendEntriesResponse::HigherVote(higher) => Some(Appended::HigherVote(vote(higher))),
        AppendEntriesResponse::PartialSuccess(id) => id.map(|id| Appended::Partial(log_id(id))),
    };
    internal::AppendReply { result }
}

pub fn read_appended(reply: internal::AppendReply) -> Result<AppendEntriesResponse<u64>, BadPeer> {
    Ok(match reply.result {
        Some(Appended::Success(_)) => AppendEntriesResponse::Success,
        Some(Appended::Conflict(_)) => AppendEntriesResponse::Conflict,
        Some(Appended::HigherVote(higher)) => {
            AppendEntriesResponse::HigherVote(read_vote(Some(higher))?)
        }
        Some(Appended::Partial(id)) => AppendEntriesResponse::PartialSuccess(Some(read_log_id(id))),
        None => AppendEntriesResponse::PartialSuccess(None),
    })
}

pub fn vote_request(group: u32, target: u64, request: &VoteRequest<u64>) -> internal::VoteRequest {
    internal::VoteRequest {
        group,
        target,
        vote: Some(vote(request.vote)),
        last: request.last_log_id.map(log_id),
    }
}

pub fn read_vote_request(request: internal::VoteRequest) -> Result<VoteRequest<u64>, BadPeer> {
    let last = request.last.map(read_log_id);
    Ok(VoteRequest::new(read_vote(request.vote)?, last))
}

pub fn voted(reply: &VoteResponse<u64>) -> internal::VoteReply {
    internal::VoteReply {
        vote: Some(vote(reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.map(log_id),
    }
}

pub fn read_voted(reply: internal::VoteReply) -> Result<VoteResponse<u64>, BadPeer> {
    Ok(VoteResponse {
        vote: read_vote(reply.vote)?,
        vote_granted: reply.granted,
        last_log_id: reply.last.map(read_log_id),
    })
}
