//! What the sink can be told to do, and what the injector makes of it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Outcome, Probe};
use skein_testkit::oracle::{Window, judge, judge_with};
use skein_testkit::sink::{Act, Occurrences, Phase, Record, Sink, SinkConfig, read_jsonl};

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn one(sink: &Sink, pipelining: bool) -> Injected {
    let config = InjectorConfig {
        connections: 1,
        messages_per_connection: 1,
        tries: 1,
        pipelining,
        reply_wait: Duration::from_millis(100),
        ..InjectorConfig::to(sink.address())
    };
    Injector::new(config).run().await.remove(0)
}

fn when(phase: Phase, act: Act) -> SinkConfig {
    SinkConfig::at(loopback()).script(move |moment| match moment.phase == phase {
        true => act.clone(),
        false => Act::Accept,
    })
}

#[tokio::test]
async fn every_act_is_seen_by_a_client_that_does_not_pipeline() {
    let rows = [
        (Phase::Connect, Act::Reset, "refused 0"),
        (Phase::Connect, Act::Tarpit, "refused 0"),
        (Phase::Ehlo, Act::Drop, "refused 0"),
        (Phase::Mail, Act::Tarpit, "refused 0"),
        (Phase::Mail, Act::reply(451, "4.3.0 no"), "refused 451"),
        (Phase::Rcpt, Act::reply(550, "5.1.1 no"), "refused 550"),
        (Phase::Data, Act::reply(554, "5.0.0 no"), "refused 554"),
        (Phase::Data, Act::Reset, "refused 0"),
        (Phase::Dot, Act::Reset, "unknown"),
        (Phase::Dot, Act::Tarpit, "unknown"),
        (Phase::Dot, Act::reply(451, "4.4.5 not known"), "unknown"),
        (Phase::AfterDot, Act::Reset, "unknown"),
        (Phase::Dot, Act::reply(250, "fine"), "acked 2.0.0 taken"),
        (Phase::AfterDot, Act::reply(250, "ok"), "acked ok"),
        (Phase::Quit, Act::Drop, "acked 2.0.0 taken"),
    ];
    for (phase, act, expected) in rows {
        let sink = Sink::start(when(phase, act.clone())).await.unwrap();
        for pipelining in [false, true] {
            let found = match one(&sink, pipelining).await.outcome {
                Outcome::Acked { reply } => format!("acked {reply}"),
                Outcome::Refused { code, .. } => format!("refused {code}"),
                Outcome::Unknown => "unknown".to_owned(),
            };
            assert_eq!(found, expected, "{phase:?} {act:?} pipelining {pipelining}");
        }
    }
}

#[tokio::test]
async fn a_positive_reply_at_the_dot_is_one_reply() {
    let sink = Sink::start(when(Phase::Dot, Act::reply(250, "fine")))
        .await
        .unwrap();
    let (mut probe, _) = Probe::greet(sink.address()).await.unwrap();
    probe
        .send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n.\r\nNOOP\r\n")
        .await
        .unwrap();
    let mut texts = Vec::new();
    for _ in 0..5 {
        texts.push(probe.reply().await.unwrap().text());
    }
    assert_eq!(texts[3..], ["2.0.0 taken", "2.0.0 ok"]);
}

#[tokio::test]
async fn the_first_times_of_a_recipient_can_be_deferred() {
    let seen = Occurrences::default();
    let config = SinkConfig::at(loopback()).script(move |moment| match moment.phase {
        Phase::Rcpt if seen.of(moment.address) <= 2 => Act::reply(450, "4.2.0 later"),
        _ => Act::Accept,
    });
    let sink = Sink::start(config).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..3 {
        one(&sink, true).await;
        codes.push(sink.records().last().unwrap().recipients[0].code);
    }
    assert_eq!(codes, [450, 450, 250]);
}

#[tokio::test]
async fn a_login_can_be_required() {
    let config = SinkConfig {
        login: Some(("user".into(), "secret".into())),
        ..SinkConfig::at(loopback())
    };
    let sink = Sink::start(config).await.unwrap();
    // PLAIN: "\0user\0secret", "\0user\0wrong"; LOGIN: "user", "secret".
    let rows: [(&[&str], u16); 5] = [
        (&["AUTH PLAIN AHVzZXIAc2VjcmV0"], 235),
        (&["AUTH PLAIN", "AHVzZXIAc2VjcmV0"], 235),
        (&["AUTH PLAIN AHVzZXIAd3Jvbmc="], 535),
        (&["AUTH LOGIN", "dXNlcg==", "c2VjcmV0"], 235),
        (&["AUTH CRAM-MD5"], 504),
    ];
    for (lines, code) in rows {
        let (mut probe, ehlo) = Probe::greet(sink.address()).await.unwrap();
        assert!(ehlo.announces("AUTH"));
        let mut last = 0;
        for line in lines {
            last = probe.cmd(line).await.unwrap().code;
        }
        assert_eq!(last, code, "{lines:?}");
        let mail = probe.cmd("MAIL FROM:<a@b.test>").await.unwrap().code;
        assert_eq!(mail, if code == 235 { 250 } else { 530 }, "{lines:?}");
    }
}

#[tokio::test]
async fn tls_can_be_refused_and_required() {
    let sink = Sink::start(when(Phase::StartTls, Act::reply(454, "4.7.0 not now")))
        .await
        .unwrap();
    let (mut probe, ehlo) = Probe::greet(sink.address()).await.unwrap();
    assert!(!ehlo.announces("REQUIRETLS"));
    assert_eq!(probe.cmd("STARTTLS").await.unwrap().code, 454);
    assert_eq!(probe.cmd("NOOP").await.unwrap().code, 250);
    let config = SinkConfig {
        implicit_tls: true,
        ..SinkConfig::at(loopback())
    };
    let sink = Sink::start(config).await.unwrap();
    let mut probe = Probe::connect_tls(sink.address()).await.unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 220);
    assert!(probe.cmd("EHLO x").await.unwrap().announces("REQUIRETLS"));
    let mail = probe.cmd("MAIL FROM:<a@b.test> REQUIRETLS").await.unwrap();
    assert_eq!(mail.code, 250);
}

#[tokio::test]
async fn hashes_in_a_file_are_enough_to_judge() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sink.jsonl");
    let config = SinkConfig {
        keep_messages: false,
        jsonl: Some(file.clone()),
        ..SinkConfig::at(loopback())
    };
    let sink = Sink::start(config).await.unwrap();
    let answered = std::sync::Arc::new(Mutex::new(0));
    let count = answered.clone();
    let injector = Injector::new(InjectorConfig {
        sizes: vec![0, 300, 5_000],
        ..InjectorConfig::to(sink.address())
    });
    let injector = injector.on_answered(move |_| *count.lock().unwrap() += 1);
    let injected = injector.run().await;
    assert_eq!(*answered.lock().unwrap(), injected.len());
    drop(sink);
    // The sink's process may have died in the middle of a line.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"at_ms\":1");
    std::fs::write(&file, bytes).unwrap();
    let mut records = read_jsonl(&file).unwrap();
    assert!(records.iter().all(|record| record.message.is_empty()));
    let verdict = judge(&injected, &records);
    assert!(verdict.is_clean(), "{}", verdict.summary());
    assert_eq!(verdict.delivered.len(), 100);
    assert!(verdict.unchecked.is_empty());
    let tail = records[0].tail.as_mut().unwrap();
    tail.sha256 = tail.sha256.chars().rev().collect();
    records[1].tail = None;
    let verdict = judge(&injected, &records);
    assert_eq!((verdict.corrupted.len(), verdict.unchecked.len()), (1, 1));
}

#[tokio::test]
async fn a_second_copy_is_excused_only_after_one_in_a_window() {
    let sink = Sink::start(SinkConfig::at(loopback())).await.unwrap();
    let injected = [one(&sink, true).await];
    let first = sink.records()[0].as_ref().clone();
    let copies = [10, 20, 30].map(|at_ms| Record {
        at_ms,
        ..first.clone()
    });
    let rows: [(&[(u64, u64)], bool); 4] = [
        (&[], false),
        (&[(10, 15)], false),
        (&[(5, 10), (20, 20)], true),
        (&[(15, 99)], false),
    ];
    for (windows, excused) in rows {
        let windows: Vec<Window> = windows
            .iter()
            .map(|(from_ms, to_ms)| Window {
                from_ms: *from_ms,
                to_ms: *to_ms,
                peer: Some(first.peer.ip()),
                cause: "a test".to_owned(),
            })
            .collect();
        let verdict = judge_with(&injected, &copies, &windows);
        assert_eq!(verdict.is_clean(), excused, "{windows:?}");
        assert_eq!(verdict.excused.len(), usize::from(excused), "{windows:?}");
        assert_eq!(
            verdict.causes.values().sum::<usize>(),
            2 * verdict.excused.len()
        );
        assert_eq!(verdict.acked, 1);
    }
    let of_another = Window {
        from_ms: 0,
        to_ms: 99,
        peer: Some("192.0.2.1".parse().unwrap()),
        cause: "a test".to_owned(),
    };
    assert!(!judge_with(&injected, &copies, &[of_another]).is_clean());
}
