#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;
use std::time::Duration;

use skein_model::{GroupId, SessionId};
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{OpenWork, WorkReply, WorkRequest, work_request::Request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{Config, Control};

const SESSION: SessionId = SessionId(7);

async fn alone(dir: &std::path::Path) -> Control {
    let config = Config {
        data_dir: dir.to_owned(),
        version: String::new(),
        role: "all".into(),
        address: String::new(),
        founders: Vec::new(),
        peers: Vec::new(),
        spool_groups: 1,
        connect: Arc::new(|_| unreachable!("a node that is alone connects to nobody")),
        store: crate::StoreOptions::default(),
        pull_bytes_per_second: 1 << 20,
    };
    Control::start(config).await.unwrap()
}

/// A sender that goes on listening to a node that has forgotten it would wait for tasks for ever: the slots that it is to
/// let go of, too, wait for the stream to conform.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_leader_leads_anew() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    let mut client = SpoolClient::new(skein_client::in_process(control.internal_router()));
    let open = OpenWork {
        session: SESSION.0,
        window: 10,
        group: 1,
        ..OpenWork::default()
    };
    let (requests, outgoing) = mpsc::channel(1);
    let open = WorkRequest {
        request: Some(Request::Open(open)),
    };
    requests.send(open).await.unwrap();
    let work = client.work(ReceiverStream::new(outgoing)).await;
    let mut replies = work.unwrap().into_inner();

    let dispatch = &control.spools[&GroupId(1)].dispatch;
    dispatch.follow();
    dispatch.lead([SESSION].into());

    let end = async {
        loop {
            let reply: Result<Option<WorkReply>, Status> = replies.message().await;
            if !matches!(reply, Ok(Some(_))) {
                return;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), end).await;
    assert!(ended.is_ok(), "the stream goes on, and brings nothing");
}
