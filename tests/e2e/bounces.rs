//! What refusals are about: in events, in the history of a message, in metrics and on the command line.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::load::Probe;
use skein_testkit::process::http_get;
use skein_testkit::sink::{Act, Phase};
use skein_tests::{Bench, operator, until};

use crate::skeinctl;

/// A recipient, what its host says, and what that is about.
const REPLIES: [(&str, u16, &str, &str, &str); 5] = [
    (
        "nobody@there.test",
        550,
        "5.1.1 No such user here",
        "invalid_recipient",
        "hard",
    ),
    (
        "full@there.test",
        550,
        "5.2.2 Mailbox full",
        "mailbox_full",
        "soft",
    ),
    (
        "block@there.test",
        550,
        "5.7.1 Service unavailable, Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "block_ip",
        "block",
    ),
    (
        "grey@there.test",
        450,
        "4.2.0 Greylisted, please try again",
        "greylisted",
        "soft",
    ),
    (
        "wrong@there.test",
        550,
        "5.7.26 This mail is unauthenticated",
        "auth",
        "policy",
    ),
];
const WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

async fn hand_in(bench: &Bench) -> String {
    let (mut probe, _) = Probe::greet(bench.smtp).await.unwrap();
    probe.cmd("EHLO client.test").await.unwrap();
    probe.cmd("MAIL FROM:<list@here.test>").await.unwrap();
    for (recipient, ..) in REPLIES {
        let reply = probe.cmd(&format!("RCPT TO:<{recipient}>")).await.unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text());
    }
    probe.cmd("DATA").await.unwrap();
    let taken = probe
        .cmd("From: list@here.test\r\n\r\nhello\r\n.")
        .await
        .unwrap();
    let text = taken.text();
    let (_, id) = text.rsplit_once("queued as ").unwrap();
    id.trim().to_owned()
}

/// Class and group of each recipient's last event.
fn classes(events: &[Value]) -> BTreeMap<&str, (&str, &str)> {
    let told = events.iter().filter_map(|event| {
        let recipient = event["recipient"].as_str()?;
        Some((
            recipient,
            (event["class"].as_str()?, event["group"].as_str()?),
        ))
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refusal_is_about_is_told_everywhere() {
    let bench = Bench::new().await.unwrap();
    bench.sink.set_script(|moment| match moment.phase {
        Phase::Rcpt => {
            let said = REPLIES.iter().find(|(of, ..)| *of == moment.address);
            said.map_or(Act::Accept, |(_, code, text, ..)| Act::reply(*code, *text))
        }
        _ => Act::Accept,
    });
    let _node = bench.start().await.unwrap();
    // From a second after its start on, the group keeps classes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let id = hand_in(&bench).await;

    let log = bench.data().join("events.jsonl");
    let wanted: BTreeMap<_, _> = REPLIES
        .iter()
        .map(|(recipient, _, _, class, group)| (*recipient, (*class, *group)))
        .collect();
    let mut events = Vec::new();
    let found = until("all classes", WITHIN, LOOK, || {
        events = operator::events(&log).unwrap();
        (classes(&events).len() == wanted.len()).then_some(())
    });
    found
        .await
        .unwrap_or_else(|error| panic!("{error}: {events:#?}"));
    assert_eq!(classes(&events), wanted);

    let shown = skeinctl(&bench, &["message", "show", &id]);
    for (_, _, text, class, _) in REPLIES {
        let line = shown.lines().find(|line| line.contains(text));
        let line = line.unwrap_or_else(|| panic!("{text}: {shown}"));
        assert!(line.ends_with(&format!("({class})")), "{line}");
    }
    let (_, metrics) = http_get(bench.http, "/metrics").await.unwrap();
    for (_, code, _, class, group) in REPLIES {
        let outcome = if code < 500 { "deferred" } else { "bounced" };
        let counted = metrics.lines().any(|line| {
            let has = |label: &str| line.contains(label);
            line.starts_with("skein_delivery_bounces_total")
                && has(&format!("class=\"{class}\""))
                && has(&format!("group=\"{group}\""))
                && has(&format!("outcome=\"{outcome}\""))
        });
        assert!(counted, "{class} {outcome}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_asks_what_a_reply_or_a_report_is_about() {
    let bench = Bench::new().await.unwrap();
    for (_, code, text, class, _) in REPLIES {
        let said = skeinctl(&bench, &["bounce", "classify", &format!("{code} {text}")]);
        assert!(said.contains(&format!("class       {class}\n")), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.eml");
    std::fs::write(&file, REPORT.replace('\n', "\r\n")).unwrap();
    let path = file.display().to_string();
    let told: Value = serde_json::from_str(&skeinctl(
        &bench,
        &["bounce", "classify", "--file", &path, "--json"],
    ))
    .unwrap();
    let one = &told["recipients"][0];
    assert_eq!(one["address"], "nobody@there.test", "{told}");
    assert_eq!(one["class"], "invalid_recipient", "{told}");
    let mapping = skeinctl(&bench, &["bounce", "mapping"]);
    assert!(mapping.contains("Permanent/NoEmail"), "{mapping}");
    let refused = operator::try_skeinctl(bench.admin, &["bounce", "classify", " "]).unwrap();
    assert!(!refused.status.success());
}

const REPORT: &str = "\
From: MAILER-DAEMON@there.test
To: list@here.test
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"

--b
Content-Type: text/plain

Your message could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.there.test

Final-Recipient: rfc822; nobody@there.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user here

--b--
";
