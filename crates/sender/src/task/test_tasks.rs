//! Tasks for the tests of the pure parts.

use bytes::Bytes;
use skein_client::LeasedTask;
use skein_model::mail::{BodyRef, BodyType};
use skein_model::spool::{MessageRow, TaskRow};
use skein_model::{
    Domain, Envelope, Epoch, GroupId, MessageId, Notify, Priority, Recipient, SessionId, Slot,
    TaskId, UnixMs,
};

pub const DOMAIN: &str = "there.test";

/// A task that came in at time 0, from `a@here.test` to these recipients.
pub fn task(recipients: &[&str]) -> LeasedTask {
    let recipients = (0..).zip(recipients.iter().map(|address| Recipient {
        address: (*address).to_owned(),
        notify: Notify::default(),
        orcpt: None,
    }));
    let body = Bytes::from_static(b"Subject: hello\r\nX-Secret: no\r\n\r\nthe text\r\n");
    LeasedTask {
        id: TaskId {
            message: MessageId::new(UnixMs(0), GroupId::FIRST_SPOOL, 7),
            number: 0,
        },
        session: SessionId(1),
        epoch: Epoch(1),
        message: MessageRow {
            envelope: envelope(),
            body: BodyRef {
                bytes: body.len() as u64,
                crc32c: 0,
                acks: Vec::new(),
                prefix_bytes: None,
            },
            accepted_at: UnixMs(0),
            open_tasks: 1,
            finished_at: None,
            is_counted: None,
        },
        task: TaskRow {
            domain: Domain::new(DOMAIN),
            slot: Slot::of(DOMAIN, 0),
            recipients: recipients.collect(),
            attempts: 0,
            due: UnixMs(0),
            created: UnixMs(0),
            last_reply: None,
            delay_notified: false,
            site: None,
            moves: 0,
            pool: None,
            absences: 0,
            awaits_host: false,
            created_in: None,
            return_path: None,
        },
        body: Some(body),
    }
}

fn envelope() -> Envelope {
    Envelope {
        return_path: "a@here.test".into(),
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
        priority: Priority::Bulk,
    }
}
