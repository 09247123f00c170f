//! RFC 2033: after the body a host says of each recipient that it took what became of it.

use super::*;
use crate::reply::Reply;
use crate::reply_class::{ReplyClass, Scope};

fn message(recipients: usize) -> OutgoingMessage {
    OutgoingMessage {
        reverse_path: "a@here.test".into(),
        recipients: (0..recipients)
            .map(|n| OutgoingRecipient {
                address: format!("r{n}@there.test"),
                ..OutgoingRecipient::default()
            })
            .collect(),
        body_bytes: 10,
        ..OutgoingMessage::default()
    }
}

/// Answers with these codes in turn; 0 closes the connection.
fn answered(recipients: usize, codes: &[u16]) -> TransactionOutcome {
    let capabilities = Capabilities {
        pipelining: true,
        lmtp: true,
        ..Capabilities::default()
    };
    let message = message(recipients);
    let mut transaction = Transaction::new(&capabilities, &message).expect("it can be sent");
    let mut codes = codes.iter();
    let mut out = Vec::new();
    loop {
        match transaction.poll(&mut out) {
            Next::NeedReply(_) => match codes.next().expect("a reply to each command") {
                0 => transaction.on_closed(Reply::plain(421, "closed")),
                code => transaction.on_reply(Reply::plain(*code, "as the test says")),
            },
            Next::SendBody(_) => transaction.final_dot(),
            Next::Done => break,
        }
    }
    assert!(codes.next().is_none(), "{codes:?} were not asked for");
    transaction.outcome()
}

#[test]
fn each_recipient_has_the_reply_that_is_its_own() {
    use ReplyClass::{Deferred, Delivered, Failed};
    use Scope::{Connection, Recipient};
    for (codes, classes, is_usable, is_ambiguous) in [
        (
            &[250, 250, 250, 250, 354, 250, 250, 250][..],
            [Delivered; 3],
            true,
            false,
        ),
        // One that was refused at RCPT has no reply after the body.
        (
            &[250, 250, 550, 250, 354, 250, 452],
            [Delivered, Failed(Recipient), Deferred(Recipient)],
            true,
            false,
        ),
        (
            &[250, 250, 250, 250, 354, 552, 250, 451],
            [Failed(Recipient), Delivered, Deferred(Recipient)],
            true,
            false,
        ),
        // What is said of one is not said of the others.
        (
            &[250, 250, 250, 250, 354, 250, 421, 250],
            [Delivered, Deferred(Recipient), Delivered],
            false,
            false,
        ),
        (
            &[250, 250, 250, 250, 354, 250, 530, 250],
            [Delivered, Deferred(Recipient), Delivered],
            true,
            false,
        ),
        // Those without a reply may have been delivered, and are tried again.
        (
            &[250, 250, 250, 250, 354, 250, 0],
            [Delivered, Deferred(Connection), Deferred(Connection)],
            false,
            true,
        ),
        (
            &[250, 250, 250, 250, 354, 0],
            [Deferred(Connection); 3],
            false,
            true,
        ),
        (
            &[250, 550, 550, 550, 503],
            [Failed(Recipient); 3],
            true,
            false,
        ),
        // A host that takes a body for nobody is left: it would be out of step.
        (
            &[250, 550, 550, 550, 354],
            [Failed(Recipient); 3],
            false,
            false,
        ),
        (
            &[250, 250, 250, 250, 451],
            [Deferred(Scope::Message); 3],
            true,
            false,
        ),
    ] {
        let outcome = answered(3, codes);
        let found: Vec<ReplyClass> = outcome.recipients.iter().map(|one| one.class).collect();
        assert_eq!(found, classes, "{codes:?}");
        assert_eq!(outcome.connection_usable, is_usable, "{codes:?}");
        assert_eq!(outcome.is_ambiguous, is_ambiguous, "{codes:?}");
    }
}
