//! Mail into the mailboxes of a real Dovecot: each message once.

use std::collections::BTreeMap;

use super::dovecot::Dovecot;
use super::{Host, LOOK, WITHIN, message, send, stranger};

pub fn policy(dovecot: &Dovecot) -> String {
    format!(
        "kind: inbound\nname: mailboxes\ndomains: [hosted.test]\naddresses:\n  - {{address: '*', lmtp: '{}'}}\n",
        dovecot.address
    )
}

/// How often each subject is in a mailbox.
pub fn subjects(dovecot: &Dovecot, user: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for mail in dovecot.mailbox(user) {
        let mut lines = mail.lines();
        let subject = lines.find_map(|line| line.strip_prefix("Subject: "));
        *found
            .entry(subject.unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_once_in_each_mailbox() {
    const MESSAGES: usize = 200;
    let users = ["a@hosted.test", "b@hosted.test", "full@hosted.test"];
    let dovecot = Dovecot::start(&users).await;
    let host = Host::new(&policy(&dovecot)).await;
    let mut client = stranger(2, host.bench.smtp).await;
    let to = [
        "<a@hosted.test>",
        "<full@hosted.test>",
        "<b@hosted.test>",
        "<gone@hosted.test>",
    ];
    for nth in 0..MESSAGES {
        let mut text = message("x@sender.test", &format!("m{nth}"));
        if nth % 50 == 0 {
            // One that is streamed, and has lines that look like the end of it.
            text.push_str(&".\r\n..\r\nline\r\n".repeat(20_000));
            text = text.replace("\r\n.\r\n", "\r\n..x\r\n");
        }
        let (code, said) = send(&mut client, "x@sender.test", &to[..1 + nth % 4], &text).await;
        assert_eq!(code, 250, "{said}");
    }
    let sent = |index: usize| (0..MESSAGES).filter(|nth| nth % 4 >= index).count();
    let ended =
        |event: &serde_json::Value| event["event"] == "delivered" || event["event"] == "bounced";
    let all = (0..4).map(sent).sum();
    let ended = host.events_such(all, ended).await;
    assert_eq!(ended.len(), all);
    for (index, user) in [(0, "a@hosted.test"), (2, "b@hosted.test")] {
        let found = subjects(&dovecot, user);
        assert_eq!(found.len(), sent(index), "{user}\n{}", dovecot.log());
        assert!(found.values().all(|count| *count == 1), "{found:?}");
    }
    assert!(subjects(&dovecot, "full@hosted.test").is_empty());
    let bounced = |code: &str, to: &str| {
        let such = ended.iter().filter(|event| {
            let text = event.to_string();
            event["event"] == "bounced" && text.contains(code) && text.contains(to)
        });
        such.count()
    };
    assert_eq!(bounced("5.2.2", "full@hosted.test"), sent(1));
    assert_eq!(bounced("5.1.1", "gone@hosted.test"), sent(3));
    let mail = dovecot.mailbox("a@hosted.test").remove(0);
    assert!(mail.contains("Return-Path: <x@sender.test>"), "{mail}");
    assert!(
        mail.contains("Authentication-Results: mx.skein.test;"),
        "{mail}"
    );
    // Nobody is told: the return path proves nothing.
    assert!(host.bench.sink.records().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_server_that_is_away() {
    let dovecot = Dovecot::start(&["a@hosted.test"]).await;
    let policy = policy(&dovecot);
    let address = dovecot.address;
    drop(dovecot);
    let host = Host::new(&policy).await;
    let mut client = stranger(2, host.bench.smtp).await;
    let text = message("x@sender.test", "waits");
    let (code, _) = send(&mut client, "x@sender.test", &["<a@hosted.test>"], &text).await;
    assert_eq!(code, 250);
    host.events_such(1, |event| event["event"] == "deferred")
        .await;
    let dovecot = Dovecot::start(&["a@hosted.test"]).await;
    host.apply(&policy.replace(&address.to_string(), &dovecot.address.to_string()));
    let arrived = skein_tests::until("mail", WITHIN, LOOK, || {
        let found = subjects(&dovecot, "a@hosted.test");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(
        arrived.await.unwrap(),
        BTreeMap::from([("waits".to_owned(), 1)])
    );
}
