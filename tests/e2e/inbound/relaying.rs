//! Strangers reach hosted addresses and nobody else, however they write it.

use super::{Host, message, send, stranger};

const POLICY: &str = "kind: inbound\nname: own\ndomains: [hosted.test, xn--bcher-kva.test]\nmax_recipients: 3\nmax_size: 2KiB\n\
    addresses:\n  - {address: [postmaster, 'b+*'], discard: true}\n---\n\
    kind: inbound\nname: all\ndomains: [all.test]\naddresses: [{address: '*', discard: true}]\n";

/// Recipients that would be somebody else's, or nobody's.
const ELSEWHERE: [&str; 44] = [
    "<victim@other.test>",
    "<victim@OTHER.TEST>",
    "<@hosted.test:victim@other.test>",
    "<@hosted.test,@all.test:victim@other.test>",
    "<victim%other.test@hosted.test>",
    "<victim%other.test@all.test>",
    "<b+victim%other.test@hosted.test>",
    "<\"victim%other.test\"@all.test>",
    "<\"victim@other.test\"@all.test>",
    "<\"victim@other.test\"@hosted.test>",
    "<victim\\@other.test@all.test>",
    "<other.test!victim@all.test>",
    "<other.test!victim@hosted.test>",
    "<hosted.test!other.test!victim@all.test>",
    "<\"other.test!victim\"@all.test>",
    "<b+other.test!victim@hosted.test>",
    "<victim@hosted.test@other.test>",
    "<victim@other.test@hosted.test>",
    "<victim@hosted.test.other.test>",
    "<victim@other.test.>",
    "<postmaster@hosted.test.>",
    "<postmaster@hosted.test..>",
    "<postmaster@.hosted.test>",
    "<postmaster@xhosted.test>",
    "<postmaster@sub.hosted.test>",
    "<postmaster@[127.0.0.1]>",
    "<victim@[127.0.0.1]>",
    "<victim@[IPv6:::1]>",
    "<victim@127.0.0.1>",
    "<victim@localhost>",
    "<victim@mx.skein.test>",
    "<victim@>",
    "<victim>",
    "<postmaster>",
    "<@other.test>",
    "<victim @other.test>",
    "<victim@other.test >",
    "<\"victim\"@other.test>",
    "<\"vic\\tim\"@other.test>",
    "<victim@xn--other-kva.test>",
    "<victim@b\u{fc}cher.other.test>",
    "<postmaster@hosted.test,victim@other.test>",
    "victim@other.test",
    "<\"postmaster\\\"@hosted.test>",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_relays() {
    let host = Host::new(POLICY).await;
    let mut counted = 0;
    for (nth, to) in ELSEWHERE.iter().enumerate() {
        // Each from an address of its own: who tries often is locked out.
        let last = u8::try_from(nth).unwrap() + 10;
        let mut client = stranger(last, host.bench.smtp).await;
        let mail = client
            .cmd("MAIL FROM:<a@sender.test> SMTPUTF8")
            .await
            .unwrap();
        assert_eq!(mail.code, 250);
        let reply = client.cmd(&format!("RCPT TO:{to}")).await.unwrap();
        assert!(
            (500..600).contains(&reply.code),
            "{to}: {} {}",
            reply.code,
            reply.text()
        );
        let text = reply.text();
        counted += u64::from(text.contains("5.7.1") || text.contains("5.1.1"));
        let data = client.cmd("DATA").await.unwrap();
        assert!(data.code >= 500, "{to}: {}", data.text());
    }
    let refused = host.metric("skein_smtp_in_relaying_refused_total").await;
    let unknown = host.metric("skein_smtp_in_unknown_recipients_total").await;
    assert_eq!(refused + unknown, counted);
    assert!(refused >= 15 && unknown >= 8, "{refused} {unknown}");
    assert!(host.bench.sink.records().is_empty());
    assert!(
        host.events()
            .iter()
            .all(|event| event["event"] != "accepted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosted_addresses_are_taken_in_each_of_their_forms() {
    let host = Host::new(POLICY).await;
    let mut client = stranger(2, host.bench.smtp).await;
    for (to, expected) in [
        ("<postmaster@hosted.test>", "250"),
        ("<PostMaster@Hosted.TEST>", "250"),
        ("<\"postmaster\"@hosted.test>", "250"),
        ("<\"post\\master\"@hosted.test>", "250"),
        ("<b+tag=x.test@hosted.test>", "250"),
        ("<postmaster@xn--bcher-kva.test>", "250"),
        ("<postmaster@XN--BCHER-KVA.test>", "250"),
        ("<postmaster@b\u{fc}cher.test>", "250"),
        ("<anybody@all.test>", "250"),
        ("<\"any body\"@all.test>", "250"),
        ("<b+@hosted.test>", "550 5.1.1"),
        ("<nobody@hosted.test>", "550 5.1.1"),
        ("<nobody@other.test>", "550 5.7.1"),
    ] {
        client.cmd("MAIL FROM:<> SMTPUTF8").await.unwrap();
        let reply = client.cmd(&format!("RCPT TO:{to}")).await.unwrap();
        let said = format!("{} {}", reply.code, reply.text());
        assert!(said.starts_with(expected), "{to}: {said}");
        client.cmd("RSET").await.unwrap();
    }
}

/// Who relays from a network of ours is no stranger, and mail to hosted domains goes where the policy says all the same.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_mail_to_hosted_domains_goes_there_as_well() {
    let host = Host::new(POLICY).await;
    let mut client = stranger(1, host.bench.smtp).await;
    let text = message("a@sender.test", "own");
    let to = [
        "<postmaster@hosted.test>",
        "<someone@elsewhere.test>",
        "<nobody@hosted.test>",
    ];
    let (code, said) = send(&mut client, "a@sender.test", &to, &text).await;
    assert_eq!(code, 250, "{said}");
    let discarded = |event: &serde_json::Value| event.to_string().contains("discarded");
    host.events_such(1, discarded).await;
    let unknown = |event: &serde_json::Value| event["event"] == "bounced";
    let bounced = host.events_such(1, unknown).await;
    assert!(bounced[0].to_string().contains("5.1.1"), "{bounced:?}");
    let sink = &host.bench.sink;
    let arrived = skein_tests::until("mail", super::WITHIN, super::LOOK, || {
        let records = sink.records();
        let all = records.iter().flat_map(|record| &record.recipients);
        let all: Vec<String> = all.map(|to| to.address.clone()).collect();
        // The message for the one who is elsewhere, and the report for its sender.
        (all.len() >= 2).then_some(all)
    });
    let arrived = arrived.await.unwrap().join(" ");
    assert!(arrived.contains("someone@elsewhere.test") && arrived.contains("a@sender.test"));
    assert!(!arrived.contains("postmaster@hosted.test"), "{arrived}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_recipients_are_bounded_and_loops_end() {
    let host = Host::new(POLICY).await;
    let mut client = stranger(2, host.bench.smtp).await;
    let small = message("a@sender.test", "m");
    let known = "<postmaster@hosted.test>";
    let cases: [(&str, &[&str], String, &str); 7] = [
        (
            "large",
            &[known],
            format!("{small}{}", "x\r\n".repeat(800)),
            "552 5.3.4",
        ),
        ("fits", &[known], small.clone(), "250"),
        (
            "many",
            &[
                known,
                "<b+1@hosted.test>",
                "<b+2@hosted.test>",
                "<b+3@hosted.test>",
            ],
            small.clone(),
            "452 4.5.3",
        ),
        (
            "other resource",
            &[known, "<x@all.test>"],
            small.clone(),
            "452 4.5.3",
        ),
        (
            "here before",
            &[known],
            format!("Delivered-To: Postmaster@hosted.test\r\n{small}"),
            "554 5.4.6",
        ),
        (
            "elsewhere before",
            &[known],
            format!("Delivered-To: other@hosted.test\r\n{small}"),
            "250",
        ),
        (
            "round and round",
            &["<x@all.test>"],
            format!("{}{small}", "Received: x\r\n".repeat(101)),
            "554 5.4.6",
        ),
    ];
    for (what, to, text, expected) in cases {
        let (code, said) = send(&mut client, "a@sender.test", to, &text).await;
        let said = format!("{code} {said}");
        assert!(said.starts_with(expected), "{what}: {said}");
    }
    let reply = client
        .cmd("MAIL FROM:<a@sender.test> SIZE=2049")
        .await
        .unwrap();
    assert_eq!(reply.code, 250, "for whom it is comes later");
    let reply = client.cmd(&format!("RCPT TO:{known}")).await.unwrap();
    assert_eq!(reply.code, 552, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_come_and_go_with_the_policy() {
    let host = Host::new(POLICY).await;
    let mut client = stranger(2, host.bench.smtp).await;
    client.cmd("MAIL FROM:<a@sender.test>").await.unwrap();
    let known = "RCPT TO:<postmaster@hosted.test>";
    let new = "RCPT TO:<abuse@hosted.test>";
    assert_eq!(client.cmd(new).await.unwrap().code, 550);
    host.apply(&POLICY.replace("[postmaster,", "[abuse,"));
    assert_eq!(client.cmd(new).await.unwrap().code, 250);
    assert_eq!(client.cmd(known).await.unwrap().code, 550);
}
