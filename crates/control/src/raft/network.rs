//! Calls from one member of a group to another.

use skein_client::Channels;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::error::{
    Fatal, InstallSnapshotError, RPCError, RaftError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, Snapshot, Vote};
use skein_model::GroupId;
use skein_store::{SnapshotSource, TypeConfig, View};
use skein_wire::internal::peer_client::PeerClient;
use skein_wire::internal::snapshot_part::Part;
use skein_wire::internal::{SnapshotHead, SnapshotPart, SnapshotRow, SnapshotRows};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::convert;
use crate::MESSAGE_BYTES_MAX;

/// Rows of one part of a snapshot.
const PART_BYTES: usize = 512 << 10;
/// A snapshot of any size is through by then, or begun anew.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(1800);

/// How one group reaches its other members.
pub struct Network {
    pub group: GroupId,
    pub peers: Channels,
}

pub struct Connection {
    group: u32,
    /// Told with every call: another node with another disk may be at its address by now.
    target: u64,
    client: PeerClient<Channel>,
}

type CallError<E = openraft::error::Infallible> = RPCError<u64, BasicNode, RaftError<u64, E>>;

fn unreachable(error: &(impl std::error::Error + 'static)) -> Unreachable {
    Unreachable::new(error)
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        let client = PeerClient::new(self.peers.get(&node.addr))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Connection {
            group: self.group.0.into(),
            target,
            client,
        }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        let request =
            convert::append(self.group, self.target, request).map_err(|e| unreachable(&e))?;
        let reply = self
            .client
            .append(request)
            .await
            .map_err(|e| unreachable(&e))?;
        convert::read_appended(reply.into_inner()).map_err(|e| unreachable(&e).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        let request = convert::vote_request(self.group, self.target, &request);
        let reply = self
            .client
            .vote(request)
            .await
            .map_err(|e| unreachable(&e))?;
        convert::read_voted(reply.into_inner()).map_err(|e| unreachable(&e).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let parts = parts(self.group, self.target, vote, snapshot).map_err(|e| unreachable(&e))?;
        let sent = async {
            let reply = self.client.install_snapshot(parts).await;
            let reply = reply.map_err(|e| unreachable(&e))?.into_inner();
            let vote = convert::read_vote(reply.vote).map_err(|e| unreachable(&e))?;
            Ok(SnapshotResponse::new(vote))
        };
        tokio::select! {
            sent = tokio::time::timeout(SNAPSHOT_WITHIN, sent) => match sent {
                Ok(sent) => sent,
                Err(elapsed) => Err(unreachable(&elapsed).into()),
            },
            closed = cancel => Err(closed.into()),
        }
    }

    async fn install_snapshot(
        &mut self,
        _request: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<InstallSnapshotError>> {
        let text = "snapshots are sent as streams of rows";
        Err(unreachable(&std::io::Error::other(text)).into())
    }
}

fn parts(
    group: u32,
    target: u64,
    vote: Vote<u64>,
    snapshot: Snapshot<TypeConfig>,
) -> Result<impl Stream<Item = SnapshotPart> + Send + 'static, std::io::Error> {
    let SnapshotSource::View(view) = *snapshot.snapshot else {
        return Err(std::io::Error::other("only a view of our rows can be sent"));
    };
    let head = SnapshotHead {
        group,
        vote: Some(convert::vote(vote)),
        last: snapshot.meta.last_log_id.map(convert::log_id),
        membership: serde_json::to_vec(&snapshot.meta.last_membership)?.into(),
        id: snapshot.meta.snapshot_id,
        target,
    };
    let (rows, received) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || read_rows(&view, &rows));
    let head = futures::stream::once(async { Part::Head(head) });
    let all = head.chain(ReceiverStream::new(received));
    Ok(all.map(|part| SnapshotPart { part: Some(part) }))
}

/// Reads until the end, or until the receiver is gone.
fn read_rows(view: &View, parts: &mpsc::Sender<Part>) {
    let (mut rows, mut bytes, mut count) = (Vec::new(), 0, 0);
    let mut is_open = true;
    view.scan_all(&mut |key, value| {
        count += 1;
        bytes += key.len() + value.len();
        rows.push(SnapshotRow {
            key: key.to_vec().into(),
            value: value.to_vec().into(),
        });
        if bytes >= PART_BYTES {
            bytes = 0;
            let rows = std::mem::take(&mut rows);
            is_open = parts
                .blocking_send(Part::Rows(SnapshotRows { rows }))
                .is_ok();
        }
        is_open
    });
    if is_open
        && parts
            .blocking_send(Part::Rows(SnapshotRows { rows }))
            .is_ok()
    {
        // Without the end the receiver throws the snapshot away, which is what it should do if this fails.
        let _ = parts.blocking_send(Part::End(count));
    }
}
