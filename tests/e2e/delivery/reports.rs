//! What senders are told: failures, delays, successes, and when nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skein_testkit::dns::Fault;
use skein_testkit::sink::{Act, Extensions, Occurrences, Phase};

use super::{World, accepted, assert_has, recipients, taken, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_refused_for_too_long_expires() {
    let mut world = World::new().await;
    let config = world.sink_config(3).script(|moment| match moment.phase {
        Phase::Rcpt => Act::reply(451, "4.7.1 greylisted for ever"),
        _ => Act::Accept,
    });
    let _sink = world.sink_of(config, "there.test").await;
    world
        .start(
            "retry = { first = \"100ms\", cap = \"200ms\", max_age = \"1s\" }",
            "",
        )
        .await;
    let id = world.send(&["b@there.test"]).await;
    let report = world.report(&id).await;
    assert_has(
        &report,
        &[
            "Action: failed\r\n",
            "Status: 4.4.7\r\n",
            "delivery time expired",
            "greylisted for ever",
        ],
    );
    let attempts = world.events_of(&id);
    let deferrals = attempts.iter().filter(|e| e["event"] == "deferred").count();
    assert!(deferrals >= 2, "{deferrals} deferrals within a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_recipients_that_were_deferred_are_tried_again() {
    let mut world = World::new().await;
    let seen = Occurrences::default();
    let config = world
        .sink_config(3)
        .script(move |moment| match (moment.phase, moment.address) {
            (Phase::Rcpt, "full@there.test") if seen.of("full") <= 2 => {
                Act::reply(452, "4.2.2 mailbox full")
            }
            (Phase::Rcpt, "unknown@there.test") => Act::reply(550, "5.1.1 no such user"),
            _ => Act::Accept,
        });
    let sink = world.sink_of(config, "there.test").await;
    world
        .start("retry.first = \"100ms\"\nretry.cap = \"100ms\"", "")
        .await;
    let to = ["a@there.test", "full@there.test", "unknown@there.test"];
    let id = world.send(&to).await;
    let records = taken(&sink, 2).await;
    assert_eq!(recipients(&records[0]), ["a@there.test"]);
    assert_eq!(recipients(&records[1]), ["full@there.test"]);
    let asked = |record: &skein_testkit::sink::Record| {
        let addresses = record.recipients.iter().map(|to| to.address.clone());
        addresses.collect::<Vec<_>>()
    };
    let transactions: Vec<_> = sink.records().iter().map(|one| asked(one)).collect();
    assert_eq!(
        transactions[1..],
        [["full@there.test"], ["full@there.test"]],
        "{transactions:?}"
    );
    let report = world.report(&id).await;
    assert_has(&report, &["unknown@there.test", "Status: 5.1.1\r\n"]);
    assert!(!report.contains("full@there.test"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_beyond_what_a_host_takes_at_a_time_follow_at_once() {
    let mut world = World::new().await;
    let config = world.sink_config(3).script(|moment| match moment.phase {
        Phase::Rcpt if moment.recipients.len() >= 3 => Act::reply(452, "4.5.3 three at a time"),
        _ => Act::Accept,
    });
    let sink = world.sink_of(config, "there.test").await;
    // The default policy waits five minutes after a deferral.
    world.start("", "").await;
    let to: Vec<String> = (0..8).map(|n| format!("b{n}@there.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    world.send(&to).await;
    let records = taken(&sink, 3).await;
    let reached: BTreeSet<&str> = records.iter().flat_map(|one| recipients(one)).collect();
    assert_eq!(reached.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_told_once() {
    let mut world = World::new().await;
    let count = Arc::new(AtomicU64::new(0));
    let tries = count.clone();
    let config = world
        .sink_config(3)
        .script(move |moment| match moment.phase {
            Phase::Mail if tries.fetch_add(1, Ordering::Relaxed) < 8 => {
                Act::reply(451, "4.3.0 come back later")
            }
            _ => Act::Accept,
        });
    let sink = world.sink_of(config, "there.test").await;
    world
        .start(
            "retry = { first = \"100ms\", cap = \"100ms\", delay_notice = \"200ms\" }",
            "",
        )
        .await;
    let id = world.send(&["b@there.test"]).await;
    let report = world.report(&id).await;
    assert_has(
        &report,
        &[
            "Subject: Delivery delayed\r\n",
            "Action: delayed\r\n",
            "Status: 4.3.0\r\n",
            "come back later",
            "Will-Retry-Until: ",
        ],
    );
    taken(&sink, 1).await;
    world.event(&id, "delivered").await;
    assert_eq!(accepted(&world.here).len(), 1);
    assert!(count.load(Ordering::Relaxed) > 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_reported_by_us_only_if_the_next_host_does_not() {
    let mut world = World::new().await;
    let mut config = world.sink_config(3);
    config.extensions = Extensions {
        dsn: false,
        ..Extensions::default()
    };
    let without = world.sink_of(config, "without.test").await;
    let with = world.sink(4, "with.test").await;
    world.start("", "").await;
    let mail = "MAIL FROM:<a@here.test> RET=HDRS ENVID=QQ+2B314";
    let to =
        |domain: &str| format!("b@{domain} NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2Bb@{domain}");
    let body = "Subject: hello\r\n\r\nhi\r\n";
    let known = world.hand_in(mail, &[&to("with.test")], body).await;
    let unknown = world.hand_in(mail, &[&to("without.test")], body).await;

    let report = world.report(&unknown).await;
    assert_has(
        &report,
        &[
            "Action: relayed\r\n",
            "Final-Recipient: rfc822; b@without.test\r\n",
            "Original-Recipient: rfc822; first+b@without.test\r\n",
            "Original-Envelope-Id: QQ+314\r\n",
        ],
    );
    let record = &taken(&without, 1).await[0];
    assert!(!record.mail.contains("ENVID"), "{}", record.mail);
    assert_eq!(record.recipients[0].line, "RCPT TO:<b@without.test>");

    let record = &taken(&with, 1).await[0];
    assert_has(&record.mail, &["RET=HDRS", "ENVID=QQ+2B314"]);
    assert_has(
        &record.recipients[0].line,
        &["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first+2Bb@with.test"],
    );
    world.event(&known, "delivered").await;
    assert_eq!(accepted(&world.here).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_about_reports_or_against_their_wish() {
    let mut world = World::new().await;
    world.dns.fault("null.test", Some(Fault::NullMx));
    world.start("", "").await;
    let body = "Subject: hello\r\n\r\nhi\r\n";
    let ids = [
        world.hand_in("MAIL FROM:<>", &["b@null.test"], body).await,
        world
            .hand_in(
                "MAIL FROM:<a@here.test>",
                &["b@null.test NOTIFY=NEVER"],
                body,
            )
            .await,
    ];
    for id in &ids {
        let bounced = world.event(id, "bounced").await;
        assert!(bounced.get("related_message").is_none(), "{bounced}");
    }
    // The return path itself takes no mail: the report bounces, and that is the end of it.
    let id = world
        .hand_in("MAIL FROM:<a@null.test>", &["b@null.test"], body)
        .await;
    let bounced = world.event(&id, "bounced").await;
    let report = bounced["related_message"].as_str().unwrap().to_owned();
    let end = world.event(&report, "bounced").await;
    assert!(end.get("related_message").is_none(), "{end}");
    assert_eq!(accepted(&world.here).len(), 0);
}

/// Nobody would hear of a report that a host could not take: it has the null return path.
#[tokio::test(flavor = "multi_thread")]
async fn reports_about_any_mail_reach_hosts_without_extensions() {
    let mut world = World::new().await;
    let mut config = world.sink_config(3);
    config.extensions = Extensions {
        eight_bit_mime: false,
        smtp_utf8: false,
        chunking: false,
        ..Extensions::default()
    };
    let back = world.sink_of(config, "xn--bcher-kva.test").await;
    let bad = world.sink_config(4).script(|moment| match moment.phase {
        Phase::Rcpt => Act::reply(550, "5.1.1 kein Gr\u{fc}n hier"),
        _ => Act::Accept,
    });
    let _bad = world.sink_of(bad, "there.test").await;
    world.start("", "").await;
    let mail = "MAIL FROM:<a@b\u{fc}cher.test> BODY=8BITMIME SMTPUTF8 RET=FULL";
    let messages = [
        "Subject: gr\u{fc}n\r\n\r\nplain\r\n",
        "Subject: x\r\n\r\nein gr\u{fc}ner Baum\r\n",
    ];
    for message in messages {
        world.hand_in(mail, &["\u{fc}@there.test"], message).await;
    }
    for record in taken(&back, messages.len()).await {
        let text = String::from_utf8(record.message.clone()).unwrap();
        assert!(text.is_ascii(), "{text}");
        assert_eq!(recipients(&record), ["a@xn--bcher-kva.test"]);
        assert_has(
            &text,
            &[
                "To: <a@xn--bcher-kva.test>\r\n",
                "Final-Recipient: utf-8; \\x{FC}@there.test\r\n",
                "Diagnostic-Code: smtp; 550 5.1.1 kein =?utf-8?B?",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_needs_what_a_host_lacks_fails_clearly() {
    let mut world = World::new().await;
    let mut config = world.sink_config(3);
    config.extensions = Extensions {
        eight_bit_mime: false,
        smtp_utf8: false,
        size: Some(2000),
        ..Extensions::default()
    };
    let old = world.sink_of(config, "old.test").await;
    world.start("", "").await;
    let eight = "MAIL FROM:<a@here.test> BODY=8BITMIME";
    let utf8 = "MAIL FROM:<a@here.test> BODY=8BITMIME SMTPUTF8";
    let big = format!("Subject: big\r\n\r\n{}", "0123456789abcde\r\n".repeat(200));
    for (mail, to, message, status) in [
        (
            eight,
            "b@old.test",
            "DKIM-Signature: v=1\r\n\r\ngr\u{fc}n\r\n",
            "5.6.3",
        ),
        (
            utf8,
            "b@old.test",
            "Subject: gr\u{fc}n\r\n\r\nhi\r\n",
            "5.6.7",
        ),
        (utf8, "\u{fc}@old.test", "Subject: x\r\n\r\nhi\r\n", "5.6.7"),
        (eight, "b@old.test", &big, "5.3.4"),
    ] {
        let id = world.hand_in(mail, &[to], message).await;
        let bounced = world.event(&id, "bounced").await;
        assert_eq!(bounced["enhanced"], status, "{bounced}");
        assert!(bounced["related_message"].is_string(), "{bounced}");
    }
    assert_eq!(accepted(&old).len(), 0);
    // Declared, but not needed: the host gets what it can take.
    for mail in [eight, utf8] {
        world
            .hand_in(mail, &["b@old.test"], "Subject: x\r\n\r\nhi\r\n")
            .await;
    }
    taken(&old, 2).await;
    // A body that nobody signed has another form.
    let converted = "Subject: x\r\n\r\nein gr\u{fc}ner Baum\r\n";
    world.hand_in(utf8, &["b@old.test"], converted).await;
    let records = taken(&old, 3).await;
    let text = String::from_utf8(records[2].message.clone()).unwrap();
    assert_has(
        &text,
        &["Content-Transfer-Encoding: quoted-printable\r\n\r\nein gr=C3=BCner Baum\r\n"],
    );
    wait_for("four reports", || {
        (accepted(&world.here).len() == 4).then_some(())
    })
    .await;
}
