#![expect(clippy::unwrap_used, reason = "tests")]
use bytes::Bytes;
use skein_model::mail::BodyRef;
use skein_model::{MessageId, NodeId, UnixMs};
use skein_store::BodyError;
use skein_wire::convert;
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{IngestItem, IngestRequest, ingest_item::Step};
use tokio_stream::StreamExt;

use super::work_tests::{GROUP, alone};

fn id() -> MessageId {
    MessageId::new(UnixMs(1), GROUP, 1)
}

fn steps(node: NodeId) -> IngestRequest {
    let steps = [
        Step::Append(Bytes::from_static(b"text")),
        Step::Finish(true),
    ];
    let item = |step| IngestItem {
        id: convert::message_id_bytes(id()),
        step: Some(step),
    };
    IngestRequest {
        items: steps.map(item).into(),
        node: node.0,
    }
}

#[tokio::test]
async fn bytes_that_are_meant_for_another_node_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    let node = control.spools[&GROUP].node;
    let mut client = SpoolClient::new(skein_client::in_process(control.internal_router()));
    let before = NodeId(node.0 ^ 1);
    let requests = tokio_stream::iter([steps(before)]).chain(tokio_stream::pending());
    let mut replies = client.ingest(requests).await.unwrap().into_inner();
    let refused = replies.message().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().starts_with("node: "), "{refused}");
    assert_eq!(control.spools[&GROUP].bodies.info(id()), None);

    let requests = tokio_stream::iter([steps(node)]).chain(tokio_stream::pending());
    let mut replies = client.ingest(requests).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    assert!(control.spools[&GROUP].bodies.info(id()).is_some());
}

#[tokio::test]
async fn a_copy_with_other_bytes_is_not_served_and_counts_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    let (bodies, needed) = {
        let spool = &control.spools[&GROUP];
        (spool.bodies.clone(), spool.bodies_needed.clone())
    };
    let text = b"text";
    let body = BodyRef {
        bytes: text.len() as u64,
        crc32c: crc32c::crc32c(text),
        acks: vec![NodeId(1)],
    };
    for (written, is_whole) in [(&b"texttext"[..], false), (text, true)] {
        bodies.append(id(), Bytes::copy_from_slice(written)).await;
        bodies.finish(id()).await.unwrap();
        needed.add(id(), &body);
        let read = needed.read(&bodies, id(), &body, 0, 100).await;
        match is_whole {
            true => assert_eq!(read.unwrap(), &text[..]),
            false => assert!(matches!(read, Err(BodyError::Corrupt))),
        }
        assert!(!needed.is_complete(&bodies) || is_whole);
        assert_eq!(needed.missing(&bodies) == 0, is_whole);
        needed.remove(id());
    }
}
