//! What other control nodes ask of this one.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::{Snapshot, SnapshotMeta};
use skein_model::{GroupId, NodeId, codec, meta};
use skein_store::{SnapshotSource, Store};
use skein_wire::internal::peer_server::Peer;
use skein_wire::internal::snapshot_part::Part;
use skein_wire::internal::{
    AppendReply, AppendRequest, ElectReply, ElectRequest, EndSenderReply, EndSenderRequest,
    GetWaitsReply, GetWaitsRequest, HelloReply, HelloRequest, JoinReply, JoinRequest, LocksReply,
    LocksRequest, MoveLeaderReply, MoveLeaderRequest, ProposeReply, ProposeRequest, SnapshotHead,
    SnapshotPart, SnapshotReply, VoteReply, VoteRequest,
};
use tonic::{Request, Response, Status, Streaming};

use crate::access;
use crate::cluster::Members;
use crate::raft::{Group, Implausible, convert};
use crate::senders::SessionsService;

pub struct PeerService {
    pub store: Arc<Store>,
    pub members: Members,
    pub sessions: SessionsService,
}

impl PeerService {
    fn groups(&self) -> &BTreeMap<GroupId, Arc<Group>> {
        &self.members.forward.groups
    }

    fn group(&self, group: u32) -> Result<&Arc<Group>, Status> {
        u16::try_from(group)
            .ok()
            .and_then(|group| self.groups().get(&GroupId(group)))
            .ok_or_else(|| Status::not_found(format!("group: no group {group} is here")))
    }

    /// The group for a call to this very node: one that is meant for another, whose address this one has now, must not
    /// count as answered by it.
    fn group_at(&self, group: u32, target: u64) -> Result<&Arc<Group>, Status> {
        let node = self.members.node.0;
        if target != node {
            return Err(Status::failed_precondition(format!(
                "target: this is node {node:016x}, not {target:016x}"
            )));
        }
        self.group(group)
    }
}

fn refusal(refused: String) -> Response<JoinReply> {
    Response::new(JoinReply {
        refused,
        ..JoinReply::default()
    })
}

fn bad(error: &convert::BadPeer) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A node that says what no member says is looked into by people.
fn implausible(group: GroupId, error: &Implausible) -> Status {
    tracing::warn!(%group, %error, "another node's call is refused");
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let request = request.into_inner();
        if request.stopping_node != 0 {
            self.members.note_stop(NodeId(request.stopping_node));
        }
        Ok(Response::new(self.members.hello(request.in_detail)))
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeReply>, Status> {
        let request = request.into_inner();
        let group = self.group(request.group)?;
        let checked = group.check_forwarded(&request.command);
        checked.map_err(|error| error.status())?;
        if group.id() == GroupId::META
            && let Ok(meta::Command::Join(join)) = codec::decode(&request.command)
        {
            let verified = self.members.verify(&join).await;
            verified.map_err(Status::failed_precondition)?;
        }
        let proposed = group.propose(request.command.to_vec()).await;
        let reply = proposed.map_err(|error| error.status())?.into();
        Ok(Response::new(ProposeReply { reply }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let mut request = request.into_inner();
        let spool_groups = u16::try_from(request.spool_groups)
            .map_err(|_| Status::invalid_argument("spool_groups: too many"))?;
        let join = meta::Join {
            node: NodeId(request.node),
            address: std::mem::take(&mut request.address),
            version: std::mem::take(&mut request.version),
            spool_groups,
        };
        access::check_address(&join.address)?;
        if meta::is_as_told(&self.members.meta, &join) {
            return Ok(Response::new(JoinReply::default()));
        }
        let pristine = match self.members.verify(&join).await {
            Ok(pristine) => pristine,
            Err(refused) => return Ok(refusal(refused)),
        };
        if request.uninvited && meta::is_stranger(&self.members.meta, &join) {
            let meta = &self.groups()[&GroupId::META];
            if !meta.is_leader() {
                let leader = meta.leader_address();
                let leader =
                    leader.ok_or_else(|| Status::unavailable("the meta group has no leader"))?;
                let refused = format!("the leader of the meta group lets nodes in, at {leader}");
                return Ok(Response::new(JoinReply {
                    refused,
                    leader,
                    ..JoinReply::default()
                }));
            }
            if let Err(refused) = self.members.admit(&join, pristine).await {
                return Ok(refusal(refused));
            }
        }
        let command = meta::Command::Join(join);
        let reply = self.members.forward.commit_meta(&command).await?;
        Ok(Response::new(match reply {
            meta::Response::Refused(refusal) => JoinReply {
                refused: refusal.to_string(),
                removed: refusal == meta::Refusal::Removed,
                ..JoinReply::default()
            },
            _ => JoinReply::default(),
        }))
    }

    async fn elect(&self, request: Request<ElectRequest>) -> Result<Response<ElectReply>, Status> {
        self.group(request.into_inner().group)?.elect().await;
        Ok(Response::new(ElectReply {}))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderReply>, Status> {
        let request = request.into_inner();
        let group = self.group(request.group)?.id();
        self.members
            .move_leader(group, NodeId(request.node))
            .await
            .map_err(|error| error.status())?;
        Ok(Response::new(MoveLeaderReply {}))
    }

    async fn end_sender(
        &self,
        request: Request<EndSenderRequest>,
    ) -> Result<Response<EndSenderReply>, Status> {
        let EndSenderRequest { name, is_dead } = request.into_inner();
        let slots = self.sessions.end_sender(&name, is_dead).await?;
        Ok(Response::new(EndSenderReply { slots }))
    }

    async fn get_waits(
        &self,
        request: Request<GetWaitsRequest>,
    ) -> Result<Response<GetWaitsReply>, Status> {
        let probe = request.into_inner().probe;
        Ok(Response::new(self.sessions.waits(&probe)))
    }

    async fn locks(&self, request: Request<LocksRequest>) -> Result<Response<LocksReply>, Status> {
        if !self.groups()[&GroupId::META].is_leader() {
            return Err(Status::unavailable(
                "this node does not lead the meta group",
            ));
        }
        let unlock = request.into_inner().unlock;
        Ok(Response::new(self.sessions.locks(&unlock)))
    }

    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendReply>, Status> {
        let request = request.into_inner();
        let group = self.group_at(request.group, request.target)?;
        let request = convert::read_append(request).map_err(|error| bad(&error))?;
        let checked = group.check_append(&request);
        checked.map_err(|error| implausible(group.id(), &error))?;
        let reply = group
            .raft()
            .append_entries(request)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(convert::appended(reply)))
    }

    async fn vote(&self, request: Request<VoteRequest>) -> Result<Response<VoteReply>, Status> {
        let request = request.into_inner();
        let group = self.group_at(request.group, request.target)?;
        let request = convert::read_vote_request(request).map_err(|error| bad(&error))?;
        let checked = group.check_vote(&request.vote);
        checked.map_err(|error| implausible(group.id(), &error))?;
        let reply = group
            .raft()
            .vote(request)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(convert::voted(&reply)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotPart>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Head(head)) = next(&mut parts).await? else {
            return Err(Status::invalid_argument(
                "part: a snapshot begins with its head",
            ));
        };
        let group = self.group_at(head.group, head.target)?;
        let vote = convert::read_vote(head.vote).map_err(|error| bad(&error))?;
        let meta = meta(&head)?;
        let checked = group.check_snapshot(&vote, &meta);
        checked.map_err(|error| implausible(group.id(), &error))?;
        let disk = |error: std::io::Error| Status::resource_exhausted(error.to_string());
        let id = GroupId(u16::try_from(head.group).unwrap_or_default());
        let mut incoming = self.store.incoming_snapshot(id).map_err(disk)?;
        let count = loop {
            match next(&mut parts).await? {
                Some(Part::Rows(rows)) => {
                    for row in rows.rows {
                        incoming.push(&row.key, &row.value).map_err(disk)?;
                    }
                }
                Some(Part::End(count)) => break count,
                Some(Part::Head(_)) | None => {
                    return Err(Status::invalid_argument("part: the snapshot is not whole"));
                }
            }
        };
        let received = skein_runtime::blocking(move || incoming.finish(count)).await;
        let received = received.map_err(disk)?;
        let snapshot = Box::new(SnapshotSource::Received(received));
        let reply = group
            .raft()
            .install_full_snapshot(vote, Snapshot { meta, snapshot })
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(SnapshotReply {
            vote: Some(convert::vote(reply.vote)),
        }))
    }
}

async fn next(parts: &mut Streaming<SnapshotPart>) -> Result<Option<Part>, Status> {
    Ok(parts.message().await?.and_then(|part| part.part))
}

fn meta(head: &SnapshotHead) -> Result<SnapshotMeta<u64, openraft::BasicNode>, Status> {
    let last_membership = serde_json::from_slice(&head.membership)
        .map_err(|error| Status::invalid_argument(format!("membership: {error}")))?;
    Ok(SnapshotMeta {
        last_log_id: head.last.map(convert::read_log_id),
        last_membership,
        snapshot_id: head.id.clone(),
    })
}
