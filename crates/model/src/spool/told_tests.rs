#![expect(clippy::unwrap_used, reason = "tests")]

use super::tests::envelope;
use super::*;
use crate::bounce::Class;
use crate::event::{AttemptFacts, Event, EventKind};
use crate::feature::Feature;
use crate::id::{GroupId, MessageId, SessionId, Slot, TaskId};
use crate::mail::{BodyRef, Domain, Notify, Recipient, Reply};
use crate::rows::MemoryRows;
use crate::time::{DurationMs, UnixMs};

fn id(n: u64) -> MessageId {
    MessageId::new(UnixMs(n), GroupId(1), n)
}

fn accept(rows: &mut MemoryRows, n: u64, recipients: &[&str]) {
    let recipient = |address: &&str| Recipient {
        address: (*address).to_owned(),
        notify: Notify::default(),
        orcpt: None,
    };
    let new = NewTask {
        domain: Domain::new("there.test"),
        slot: Slot(1),
        recipients: recipients.iter().map(recipient).collect(),
        site: None,
        created_in: None,
        return_path: None,
    };
    let body = BodyRef {
        bytes: 1,
        crc32c: 0,
        acks: Vec::new(),
        prefix_bytes: None,
    };
    let accept = Accept {
        id: id(n),
        envelope: envelope(),
        body,
        tasks: vec![new],
        about: None,
    };
    done(rows, UnixMs(n), &Command::Accept(Box::new(accept)));
}

fn done(rows: &mut MemoryRows, at: UnixMs, command: &Command) {
    assert_eq!(apply(rows, at, command).response, Response::Done);
}

fn bounce(recipient: &str, by: u64) -> EventKind {
    EventKind::OutOfBandBounce {
        recipient: recipient.to_owned(),
        reply: Reply::ours((5, 1, 1), "no such user"),
        told_by: id(by),
    }
}

fn tell(rows: &mut MemoryRows, at: u64, n: u64, recipient: Option<u16>, news: Vec<EventKind>) {
    let told = Told {
        message: id(n),
        sender: "list@acme.test".into(),
        tenant: "acme".into(),
        recipient,
        news,
    };
    done(rows, UnixMs(at), &Command::Told(Box::new(told)));
}

fn told(rows: &MemoryRows) -> Vec<Event> {
    let all = query::events(rows, 0, usize::MAX).into_iter();
    all.filter(|event| event.kind.told_by().is_some()).collect()
}

#[test]
fn a_report_counts_once_and_for_the_recipient_that_its_token_names() {
    let mut rows = MemoryRows::default();
    accept(&mut rows, 1, &["ann@there.test", "bob@there.test"]);
    for at in [10, 11] {
        tell(
            &mut rows,
            at,
            1,
            Some(1),
            vec![bounce("alias@else.test", 5)],
        );
    }
    let events = told(&rows);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].kind, bounce("bob@there.test", 5));
    assert_eq!((events[0].message, events[0].at), (id(1), UnixMs(10)));
}

#[test]
fn of_a_message_that_is_forgotten_the_event_is_kept_for_its_sinks_and_then_forgotten_too() {
    let mut rows = MemoryRows::default();
    tell(&mut rows, 10, 1, Some(0), vec![bounce("ann@there.test", 5)]);
    let events = told(&rows);
    assert_eq!(events[0].kind, bounce("ann@there.test", 5));
    assert_eq!(
        (&*events[0].sender, &*events[0].tenant),
        ("list@acme.test", "acme")
    );
    let trim = Command::Trim {
        events_before: u64::MAX,
        finished_before: UnixMs(11),
        limit: 100,
    };
    apply(&mut rows, UnixMs(20), &trim);
    assert_eq!(
        rows.0.len(),
        1,
        "only the group's own row: {:?}",
        rows.0.keys()
    );
}

#[test]
fn who_has_a_token_makes_no_more_of_a_history_than_its_bound() {
    let mut rows = MemoryRows::default();
    accept(&mut rows, 1, &["ann@there.test", "bob@there.test"]);
    for by in 0..100 {
        tell(
            &mut rows,
            10 + by,
            1,
            Some(0),
            vec![bounce("x", by), bounce("y", by)],
        );
    }
    assert_eq!(told(&rows).len(), 16);
}

#[test]
fn a_class_is_kept_from_the_moment_on_at_which_every_replica_stores_it() {
    let mut rows = MemoryRows::default();
    for (n, keeps) in [(1, false), (2, true)] {
        if keeps {
            let version = Feature::BounceClasses.since().0;
            done(&mut rows, UnixMs(n), &Command::Keep(version));
        }
        accept(&mut rows, n, &["ann@there.test"]);
        let reply = Reply {
            class: Some(Class::InvalidRecipient),
            ..Reply::ours((5, 1, 1), "no such user")
        };
        let report = Report {
            task: TaskId {
                message: id(n),
                number: 0,
            },
            session: SessionId::NONE,
            epoch: crate::id::Epoch(0),
            facts: AttemptFacts {
                number: 1,
                queue: crate::id::QueueId(1),
                domain: Domain::new("there.test"),
                site: "there.test".into(),
                source: None,
                peer: None,
                tls: None,
                duration: DurationMs(1),
            },
            outcomes: vec![Outcome {
                recipient: 0,
                verdict: Verdict::Failed,
                reply,
            }],
            retry_after: DurationMs(0),
            dsn: None,
            delay_notified: false,
            away_for: None,
        };
        done(&mut rows, UnixMs(n), &Command::Report(Box::new(report)));
        let history = query::history(&rows, id(n));
        let class = history.iter().find_map(|event| match &event.kind {
            EventKind::Bounced { reply, .. } => Some(reply.class),
            _ => None,
        });
        assert_eq!(class.unwrap(), keeps.then_some(Class::InvalidRecipient));
    }
}
