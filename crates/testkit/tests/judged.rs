//! The injector against the sink, judged by the oracle.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Outcome, Probe};
use skein_testkit::oracle::{Reconciliation, judge};
use skein_testkit::sink::{Act, Extensions, Phase, Record, RecordRecipient, Sink, SinkConfig};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn inject(sink: &Sink, connections: usize, messages: usize, rcpts: usize) -> Vec<Injected> {
    let config = InjectorConfig {
        connections,
        messages_per_connection: messages,
        recipients_per_message: rcpts,
        domains: vec!["a.test".into(), "B.test".into()],
        reply_wait: Duration::from_secs(5),
        ..InjectorConfig::to(sink.address())
    };
    Injector::new(config).run().await
}

#[tokio::test]
async fn an_accepting_sink_loses_and_doubles_nothing() {
    let sink = Sink::start(SinkConfig::at(loopback())).await.unwrap();
    let injected = inject(&sink, 4, 50, 3).await;
    assert!(injected.iter().all(Injected::acked));
    let verdict = judge(&injected, &sink.records());
    assert!(verdict.is_clean(), "{}", verdict.summary());
    assert_eq!(verdict.delivered.len(), 600);
    assert_eq!(sink.connections(), 4);
}

#[tokio::test]
async fn scripted_faults_turn_into_the_outcomes_they_mean() {
    let phases = [
        (Phase::Connect, Act::reply(421, "later"), "refused"),
        (Phase::Mail, Act::reply(451, "later"), "refused"),
        (Phase::Rcpt, Act::reply(550, "nobody"), "refused"),
        (Phase::Data, Act::reply(554, "no"), "refused"),
        (Phase::Dot, Act::reply(554, "spam"), "refused"),
        (Phase::Dot, Act::Drop, "unknown"),
        (Phase::AfterDot, Act::Drop, "unknown, arrived"),
        (Phase::Dot, Act::AcceptThenDrop, "acked, arrived"),
        (Phase::AfterDot, Act::AcceptThenDrop, "acked, arrived"),
        (
            Phase::Dot,
            Act::Delay(Duration::from_millis(1)),
            "acked, arrived",
        ),
    ];
    for (phase, act, expected) in phases {
        let scripted = act.clone();
        let config = SinkConfig::at(loopback()).script(move |moment| match moment.phase == phase {
            true => scripted.clone(),
            false => Act::Accept,
        });
        let sink = Sink::start(config).await.unwrap();
        let config = InjectorConfig {
            connections: 1,
            messages_per_connection: 1,
            tries: 2,
            ..InjectorConfig::to(sink.address())
        };
        let injected = Injector::new(config).run().await;
        let verdict = judge(&injected, &sink.records());
        let outcome = match injected[0].outcome {
            Outcome::Acked { .. } => "acked",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown => "unknown",
        };
        let arrived = if verdict.delivered.is_empty() {
            ""
        } else {
            ", arrived"
        };
        assert_eq!(format!("{outcome}{arrived}"), expected, "{phase:?} {act:?}");
        assert!(
            verdict.is_clean(),
            "{phase:?} {act:?}: {}",
            verdict.summary()
        );
    }
}

#[tokio::test]
async fn dropped_connections_before_the_dot_are_survived() {
    let count = Arc::new(AtomicUsize::new(0));
    let config = SinkConfig::at(loopback()).script(move |moment| match moment.phase {
        Phase::Data if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) => Act::Drop,
        _ => Act::Accept,
    });
    let sink = Sink::start(config).await.unwrap();
    let injected = inject(&sink, 2, 6, 1).await;
    let verdict = judge(&injected, &sink.records());
    assert!(injected.iter().all(Injected::acked));
    assert!(verdict.is_clean(), "{}", verdict.summary());
    assert_eq!(verdict.delivered.len(), 12);
}

#[tokio::test]
async fn refused_recipients_are_not_expected_to_arrive() {
    let config = SinkConfig::at(loopback()).script(|moment| match moment.phase {
        Phase::Rcpt if moment.address.contains("-0@") => Act::reply(452, "later"),
        _ => Act::Accept,
    });
    let sink = Sink::start(config).await.unwrap();
    let injected = inject(&sink, 1, 3, 2).await;
    let verdict = judge(&injected, &sink.records());
    assert!(verdict.is_clean(), "{}", verdict.summary());
    assert_eq!(verdict.delivered.len(), 3);
}

#[tokio::test]
async fn the_probe_speaks_tls_and_bdat_and_the_sink_keeps_exact_bytes() {
    let sink = Sink::start(SinkConfig::at(loopback())).await.unwrap();
    let (mut probe, ehlo) = Probe::greet(sink.address()).await.unwrap();
    assert!(ehlo.announces("CHUNKING") && ehlo.announces("STARTTLS"));
    probe.starttls().await.unwrap();
    let ehlo = probe.cmd("EHLO again.test").await.unwrap();
    assert!(!ehlo.announces("STARTTLS"));
    assert_eq!(
        probe
            .cmd("MAIL FROM:<a@b.test> SIZE=20 SMTPUTF8")
            .await
            .unwrap()
            .code,
        250
    );
    assert_eq!(
        probe
            .cmd("RCPT TO:<c@d.test> NOTIFY=NEVER")
            .await
            .unwrap()
            .code,
        250
    );
    probe.send(b"BDAT 6\r\n.a\r\n.\r").await.unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 250);
    probe.send(b"BDAT 4 LAST\r\n\nb\xff\x00").await.unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 250);
    let records = sink.records();
    let record = &records[0];
    assert_eq!(record.message, b".a\r\n.\r\nb\xff\x00");
    assert!(record.tls && record.accepted);
    assert_eq!(record.helo, "again.test");
    assert_eq!(record.recipients[0].line, "RCPT TO:<c@d.test> NOTIFY=NEVER");
    assert_eq!(record.peer, probe.local_addr());
    assert_eq!(probe.cmd("QUIT").await.unwrap().code, 221);
    assert!(probe.closed().await);
}

#[tokio::test]
async fn data_ends_at_crlf_dot_crlf_only() {
    let sink = Sink::start(SinkConfig::at(loopback())).await.unwrap();
    let (mut probe, _) = Probe::greet(sink.address()).await.unwrap();
    let rows: [(&[u8], &[u8]); 5] = [
        (b".\r\n", b""),
        (b"..a\r\n..\r\n.\r\n", b".a\r\n.\r\n"),
        (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n"),
        (b"a\r.\r\n.\r\n", b"a\r.\r\n"),
    ];
    for (wire, expected) in rows {
        probe
            .send(b"MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
            .await
            .unwrap();
        for code in [250, 250, 354] {
            assert_eq!(probe.reply().await.unwrap().code, code);
        }
        probe.send(wire).await.unwrap();
        assert_eq!(probe.reply().await.unwrap().code, 250);
        assert_eq!(sink.records().last().unwrap().message, expected, "{wire:?}");
    }
}

#[tokio::test]
async fn parameters_that_were_not_announced_are_refused() {
    let extensions = Extensions {
        eight_bit_mime: false,
        smtp_utf8: false,
        chunking: false,
        dsn: false,
        starttls: false,
        size: Some(1000),
        ..Extensions::default()
    };
    let config = SinkConfig {
        extensions,
        ..SinkConfig::at(loopback())
    };
    let sink = Sink::start(config).await.unwrap();
    let (mut probe, ehlo) = Probe::greet(sink.address()).await.unwrap();
    assert!(!ehlo.announces("8BITMIME") && ehlo.announces("PIPELINING"));
    let rows = [
        ("MAIL FROM:<a@b.test> BODY=8BITMIME", 555),
        ("MAIL FROM:<a@b.test> SMTPUTF8", 555),
        ("MAIL FROM:<a@b.test> RET=HDRS", 555),
        ("MAIL FROM:<a@b.test> SIZE=1001", 552),
        ("STARTTLS", 502),
        ("BDAT 3", 502),
        ("DATA", 503),
        ("MAIL FROM:<a@b.test> SIZE=1000", 250),
    ];
    for (line, code) in rows {
        assert_eq!(probe.cmd(line).await.unwrap().code, code, "{line}");
    }
}

fn record(sender: &str, recipient: &str, message: &[u8]) -> Record {
    Record {
        at_ms: 0,
        connection: 0,
        index: 0,
        peer: loopback(),
        local: loopback(),
        tls: false,
        helo: String::new(),
        user: None,
        mail: format!("MAIL FROM:<{sender}>"),
        recipients: vec![RecordRecipient {
            line: String::new(),
            address: recipient.to_owned(),
            accepted: true,
            code: 250,
        }],
        message: message.to_vec(),
        test_id: Some("m".to_owned()),
        tail: None,
        message_bytes: message.len() as u64,
        accepted: true,
        refused_with: 0,
    }
}

fn dsn(id: &str, recipient: &str, action: &str) -> Record {
    let text = format!(
        "Received: x\r\nContent-Type: multipart/report;\r\n report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\n\r\nsorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: 5.1.1\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nX-Test-Id: {id}\r\n--b--\r\n"
    );
    record("", "s@from.test", text.as_bytes())
}

#[test]
fn the_oracle_names_every_kind_of_wrong() {
    let message = |id: &str, outcome: Outcome| {
        let mut message = Injected::generated(id, "s@from.test", vec!["r@D.test".into()], 500);
        message.outcome = outcome;
        message
    };
    let acked = || Outcome::Acked {
        reply: "2.0.0 ok".into(),
    };
    let refused = || Outcome::Refused {
        code: 550,
        reply: "no".into(),
    };
    let good = message("m", acked()).data();
    let with_trace = [b"Received: by us\r\n".as_slice(), &good].concat();
    let cut = good[..good.len() - 3].to_vec();
    let arrived = |bytes: &[u8]| record("s@from.test", "r@d.test", bytes);
    let rows: Vec<(&str, Outcome, Vec<Record>, &str)> = vec![
        ("intact", acked(), vec![arrived(&with_trace)], "delivered"),
        ("never came", acked(), vec![], "lost"),
        (
            "bounced",
            acked(),
            vec![dsn("m", "r@d.test", "failed")],
            "bounced",
        ),
        (
            "only delayed",
            acked(),
            vec![dsn("m", "r@d.test", "delayed")],
            "lost",
        ),
        (
            "twice",
            acked(),
            vec![arrived(&good), arrived(&good)],
            "delivered duplicates",
        ),
        ("cut", acked(), vec![arrived(&cut)], "delivered corrupted"),
        (
            "both",
            acked(),
            vec![arrived(&good), dsn("m", "r@d.test", "failed")],
            "delivered bounced contradictory",
        ),
        (
            "refused and came",
            refused(),
            vec![arrived(&good)],
            "delivered unexpected",
        ),
        ("refused", refused(), vec![], ""),
        (
            "unknown and came",
            Outcome::Unknown,
            vec![arrived(&good)],
            "delivered",
        ),
        ("unknown", Outcome::Unknown, vec![], ""),
        (
            "stranger",
            acked(),
            vec![record("s@x", "other@d.test", &good)],
            "lost delivered unexpected",
        ),
    ];
    for (what, outcome, records, expected) in rows {
        let verdict = judge(&[message("m", outcome)], &records);
        assert_eq!(names(&verdict), expected, "{what}");
    }
}

fn names(verdict: &Reconciliation) -> String {
    let lists = [
        ("lost", &verdict.lost),
        ("delivered", &verdict.delivered),
        ("bounced", &verdict.bounced),
        ("duplicates", &verdict.duplicates),
        ("corrupted", &verdict.corrupted),
        ("contradictory", &verdict.contradictory),
        ("unexpected", &verdict.unexpected),
    ];
    let present = lists
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, _)| *name);
    present.collect::<Vec<_>>().join(" ")
}
