use super::*;
use crate::reply::Reply;
use crate::reply_class::{ReplyClass, Scope, Stage};

fn message(recipients: &[&str]) -> OutgoingMessage {
    OutgoingMessage {
        reverse_path: "a@here.test".into(),
        recipients: recipients
            .iter()
            .map(|address| OutgoingRecipient {
                address: (*address).to_owned(),
                ..OutgoingRecipient::default()
            })
            .collect(),
        body_bytes: 10,
        ..OutgoingMessage::default()
    }
}

/// Answers the commands in turn up to the body, and returns how it ended.
fn answered(pipelining: bool, recipients: &[&str], codes: &[u16]) -> TransactionOutcome {
    let capabilities = Capabilities {
        pipelining,
        ..Capabilities::default()
    };
    let mut transaction =
        Transaction::new(&capabilities, &message(recipients)).expect("it can be sent");
    let mut codes = codes.iter();
    let mut out = Vec::new();
    loop {
        match transaction.poll(&mut out) {
            Next::NeedReply(_) => {
                let code = codes.next().expect("a reply to each command");
                transaction.on_reply(Reply::plain(*code, "as the test says"));
            }
            Next::SendBody(_) => transaction.final_dot(),
            Next::Done => break,
        }
    }
    assert!(codes.next().is_none(), "{codes:?} were not asked for");
    transaction.outcome()
}

/// RFC 2920: the replies to what was on its way when MAIL or all of RCPT were refused say nothing of the connection.
#[test]
fn what_follows_from_a_refusal_decides_nothing() {
    use ReplyClass::{Deferred, Delivered, Failed};
    use Scope::{Connection, Message, Recipient};
    for (pipelining, codes, classes, usable) in [
        (true, &[550, 503, 503, 503][..], [Failed(Message); 2], true),
        (true, &[451, 503, 503, 503], [Deferred(Message); 2], true),
        (false, &[550], [Failed(Message); 2], true),
        (true, &[250, 550, 550, 503], [Failed(Recipient); 2], true),
        (true, &[250, 550, 550, 554], [Failed(Recipient); 2], true),
        (
            true,
            &[250, 550, 550, 354, 554],
            [Failed(Recipient); 2],
            true,
        ),
        (true, &[550, 421], [Failed(Message); 2], false),
        // Where MAIL was accepted, the same words are about the session.
        (false, &[250, 503], [Deferred(Connection); 2], false),
        (true, &[250, 503], [Deferred(Connection); 2], false),
        (false, &[250, 250, 530], [Deferred(Connection); 2], false),
        (
            true,
            &[250, 250, 250, 503],
            [Deferred(Connection); 2],
            false,
        ),
        (
            true,
            &[250, 250, 250, 354, 503],
            [Deferred(Connection); 2],
            false,
        ),
        (false, &[502], [Deferred(Connection); 2], false),
        (false, &[250, 250, 250, 354, 250], [Delivered; 2], true),
    ] {
        let outcome = answered(pipelining, &["b@there.test", "c@there.test"], codes);
        let found: Vec<_> = outcome.recipients.iter().map(|one| one.class).collect();
        assert_eq!(found, classes, "{codes:?}");
        assert_eq!(outcome.connection_usable, usable, "{codes:?}");
    }
}

#[test]
fn a_refusal_of_one_recipient_stays_with_it() {
    let outcome = answered(
        true,
        &["b@there.test", "c@there.test"],
        &[250, 550, 250, 354, 250],
    );
    let found: Vec<_> = outcome.recipients.iter().map(|one| one.class).collect();
    assert_eq!(
        found,
        [ReplyClass::Failed(Scope::Recipient), ReplyClass::Delivered]
    );
    assert_eq!(outcome.recipients[0].stage, Stage::Rcpt);
}
