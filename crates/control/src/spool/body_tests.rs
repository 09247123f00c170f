#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::BoxStream;
use skein_client::{Cluster, ClusterState, Spool, SpoolError, Spools};
use skein_model::mail::{BodyRef, BodyType};
use skein_model::spool::{Accept, NewTask};
use skein_model::{Domain, Envelope, MessageId, NodeId, Notify, Priority, Recipient, Slot, UnixMs};
use skein_store::BodyError;
use skein_wire::convert;
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{IngestItem, IngestRequest, ingest_item::Step};
use tokio_stream::StreamExt;

use super::dispatch::as_it_goes_out;
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
        prefix_bytes: None,
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

fn accept(id: MessageId, body: BodyRef) -> Accept {
    let recipient = Recipient {
        address: "u@b.test".into(),
        notify: Notify::default(),
        orcpt: None,
    };
    let recipients = [(Domain::new("b.test"), recipient)];
    Accept {
        id,
        envelope: Envelope {
            return_path: String::new(),
            body_type: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            ret: None,
            envid: None,
            tenant: "default".into(),
            pool: "default".into(),
            client: None,
            traceparent: None,
            campaign: None,
            tls_optional: false,
            priority: Priority::default(),
        },
        body,
        tasks: NewTask::plan(recipients, 1, &BTreeMap::new(), |_| Slot(1)),
        about: None,
    }
}

type Parts = Result<BoxStream<'static, Result<Bytes, SpoolError>>, SpoolError>;

async fn all(parts: Parts) -> Vec<u8> {
    let parts: Result<Vec<Bytes>, _> = parts.unwrap().collect().await;
    parts.unwrap().concat()
}

/// Hands in a message whose last octets go out first.
async fn hand_in(spool: &Spool, stored: &[u8], prefix_bytes: Option<u32>) -> (MessageId, BodyRef) {
    let mut upload = spool.begin(UnixMs(1), rand::random()).unwrap();
    let id = upload.id();
    for part in stored.chunks(256 << 10) {
        upload.write(Bytes::copy_from_slice(part)).await.unwrap();
    }
    let body = upload.finish(prefix_bytes).await.unwrap();
    spool.accept(&accept(id, body.clone())).await.unwrap();
    (id, body)
}

#[tokio::test]
async fn what_is_read_of_a_message_begins_with_its_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    let channel = skein_client::in_process(control.internal_router());
    let spools = Spools::new(Cluster::in_process(channel), ClusterState::default());
    let spool = spools.pick(0).await.unwrap();
    for (bytes, prefix) in [(10, 3), (700_001, 8192), (2_500_000, 1500), (5, 5), (9, 0)] {
        let stored: Vec<u8> = (0..bytes).map(|n: usize| (n / 7) as u8).collect();
        let (id, body) = hand_in(&spool, &stored, Some(prefix)).await;
        let (rest, first) = stored.split_at(bytes - prefix as usize);
        let whole = [first, rest].concat();
        assert_eq!(all(spool.read_stored(id).await).await, stored);
        for from in [0, 1, prefix as usize, bytes / 2, bytes, bytes + 1] {
            let expected = whole.get(from..).unwrap_or_default();
            let read = all(spool.read_body(id, from as u64).await).await;
            assert!(read == expected, "{bytes} {prefix} {from}");
        }
        let mut read = Vec::new();
        for length in [1, 2, 777, 8191, 262_145, 1_048_577].iter().cycle() {
            let part = all(spool.read_part(id, read.len() as u64, *length).await).await;
            if part.is_empty() {
                break;
            }
            read.extend(part);
        }
        assert!(read == whole, "{bytes} {prefix}");
        let travels = as_it_goes_out(&body, Bytes::from(stored));
        assert!(travels == whole, "{bytes} {prefix}");
    }
    let (id, body) = hand_in(&spool, b"as it is", None).await;
    assert_eq!(all(spool.read_body(id, 0).await).await, b"as it is");
    assert_eq!(body.prefix_bytes, None);
    // More than signatures have, and more than there is.
    for (stored, prefix) in [(vec![7; 9000], 8193), (vec![7; 10], 11)] {
        let mut upload = spool.begin(UnixMs(1), rand::random()).unwrap();
        let id = upload.id();
        upload.write(Bytes::from(stored)).await.unwrap();
        let body = upload.finish(Some(prefix)).await.unwrap();
        let refused = spool.accept(&accept(id, body)).await;
        assert!(
            matches!(refused, Err(SpoolError::Refused(_))),
            "{refused:?}"
        );
    }
}
