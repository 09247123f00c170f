//! A tenant that sends as another: in the envelope, and in each field that says whose a message is.

use skein_testkit::load::{Probe, Reply};
use skein_tests::{Bench, operator};

use super::{Ports, TRUSTED, metric};

/// `acme` and `other` have a domain each; both are customers of this cluster.
const POLICY: &str = "
kind: tenant
name: acme
sender_domains: [acme.test, '*.acme.test']
---
kind: tenant
name: other
sender_domains: [other.test]
---
kind: credential
name: acme-hosts
tenant: acme
networks: [127.0.0.21]
---
kind: credential
name: other-hosts
tenant: other
networks: [127.0.0.22]
";

/// Return paths that `acme` tries, and whether it may.
const PATHS: [(&str, bool); 18] = [
    ("<x@acme.test>", true),
    ("<x@ACME.test>", true),
    ("<x@news.acme.test>", true),
    ("<>", true),
    ("<x%other.test@acme.test>", true),
    ("<\"x@other.test\"@acme.test>", true),
    ("<x@other.test>", false),
    ("<x@OTHER.TEST>", false),
    ("<x@sub.other.test>", false),
    ("<x@notacme.test>", false),
    ("<x@acme.test.other.test>", false),
    ("<@acme.test:x@other.test>", false),
    ("<\"x@acme.test\"@other.test>", false),
    ("<x@acme.test@other.test>", false),
    ("<x@other.test> AUTH=<x@acme.test>", false),
    ("<x@[127.0.0.1]>", false),
    ("<x@test>", false),
    ("<x@xn--cme-5cd.test>", false),
];

/// Headers of mail from `x@acme.test`, and whether they are its own.
const HEADERS: [(&str, bool); 46] = [
    ("From: x@acme.test", true),
    ("from : X <x@News.Acme.Test>", true),
    ("From: \"other.test\" <x@acme.test>", true),
    (
        "From: =?utf-8?q?The_CEO_of_other=2Etest?= <x@acme.test>",
        true,
    ),
    (
        "From: x@acme.test, y@acme.test\r\nSender: x@acme.test",
        true,
    ),
    ("From: team: x@acme.test, y@news.acme.test;", true),
    (
        "From: x@acme.test\r\nResent-From: y@acme.test\r\nResent-Sender: y@acme.test",
        true,
    ),
    ("From: x@acme.test\r\nReply-To: desk@other.test", true),
    // Another author.
    ("From: x@other.test", false),
    ("FROM:x@other.test", false),
    ("From: X <x@OTHER.test>", false),
    ("From:\r\n x@other.test", false),
    ("From: x@acme.test, y@other.test", false),
    ("From: y@other.test, x@acme.test", false),
    (
        "From: x@acme.test,y@sub.other.test\r\nSender: x@acme.test",
        false,
    ),
    ("From: team: x@acme.test, y@other.test;", false),
    ("From: x@other.test: y@acme.test;", false),
    ("From: x@other.test <x@acme.test>", false),
    ("From: x@acme.test (x@other.test)", false),
    ("From: x@(acme.test)other.test", false),
    ("From: x@other.test.", false),
    ("From: \"x\"@other.test", false),
    ("From: x @ other . test", false),
    // More than one field, or none.
    ("From: x@acme.test\r\nFrom: x@other.test", false),
    ("From: x@other.test\r\nFrom: x@acme.test", false),
    (
        "From: x@acme.test\r\nSubject: y\r\nfrom: x@acme.test",
        false,
    ),
    ("From: x@acme.test\r\nFrom : x@other.test", false),
    ("Subject: x", false),
    ("From:", false),
    ("From: x", false),
    // What readers take apart in different ways.
    ("From: <@other.test:x@acme.test>", false),
    ("From: <x@acme.test> <y@other.test>", false),
    ("From: <x@acme.test>y@other.test", false),
    ("From: x@acme.test@other.test", false),
    ("From: <\"<y@other.test>\"x@acme.test>", false),
    ("From: \"y@other.test\", x@acme.test", false),
    ("From: x@acme.test;y@other.test", false),
    ("From: =?utf-8?q?y=40other=2Etest?=", false),
    ("From: =?utf-8?q?y=40other=2Etest=2C?= x", false),
    ("From: x@acme.test\u{e9}.other.test", false),
    // Who sends for whom.
    ("From: x@acme.test\r\nSender: y@other.test", false),
    (
        "From: x@acme.test\r\nSender: x@acme.test\r\nSender: y@other.test",
        false,
    ),
    ("From: x@acme.test\r\nResent-From: y@other.test", false),
    ("From: x@acme.test\r\nResent-Sender: y@other.test", false),
    (
        "Resent-From: y@acme.test\r\nResent-From: z@other.test\r\nFrom: x@acme.test",
        false,
    ),
    (
        "From: x@acme.test\r\nresent-from : A <y@acme.test>, y@other.test",
        false,
    ),
];

async fn hosts(bench: &Bench, last: u8) -> Probe {
    let source = [127, 0, 0, last].into();
    let mut probe = Probe::connect_from(source, bench.smtp).await.unwrap();
    probe.reply().await.unwrap();
    probe.cmd("EHLO c").await.unwrap();
    probe
}

async fn message(probe: &mut Probe, path: &str, header: &str) -> Reply {
    for line in [
        &format!("MAIL FROM:{path} BODY=8BITMIME")[..],
        "RCPT TO:<u@there.test>",
        "DATA",
    ] {
        let reply = probe.cmd(line).await.unwrap();
        assert!(reply.positive(), "{line}: {reply:?}");
    }
    probe.cmd(&format!("{header}\r\n\r\nx\r\n.")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sends_as_itself_in_the_envelope_and_in_every_field() {
    let ports = Ports::new().await;
    let (bench, folder) = (&ports.bench, tempfile::tempdir().unwrap());
    operator::apply(bench.admin, folder.path(), POLICY).unwrap();
    let refused = "skein_smtp_in_senders_refused_total";
    let mut expected = metric(bench.http, refused).await;
    let mut acme = hosts(bench, 21).await;
    for (path, may) in PATHS {
        let reply = acme.cmd(&format!("MAIL FROM:{path}")).await.unwrap();
        assert_eq!(reply.positive(), may, "{path}: {reply:?}");
        assert!(may || (500..600).contains(&reply.code), "{path}: {reply:?}");
        expected += u64::from(reply.code == 550);
        acme.cmd("RSET").await.unwrap();
    }
    for (header, may) in HEADERS {
        for path in ["<x@acme.test>", "<>"] {
            let reply = message(&mut acme, path, header).await;
            assert_eq!(
                reply.code,
                if may { 250 } else { 550 },
                "{path} {header:?}: {reply:?}"
            );
            expected += u64::from(!may);
        }
    }
    // The same the other way about: what is acme's is not the other's.
    let mut other = hosts(bench, 22).await;
    let reply = other.cmd("MAIL FROM:<x@acme.test>").await.unwrap();
    assert!(
        reply.code == 550 && reply.text().contains("may not send as acme.test"),
        "{reply:?}"
    );
    let reply = message(&mut other, "<x@other.test>", "From: x@news.acme.test").await;
    assert_eq!(reply.code, 550, "{reply:?}");
    let reply = message(&mut other, "<x@other.test>", "From: x@other.test").await;
    assert_eq!(reply.code, 250, "{reply:?}");
    assert_eq!(metric(bench.http, refused).await, expected + 2);
    let log = ports.node.log();
    assert!(
        log.contains("a sender is refused") && log.contains("tenant=\"acme\""),
        "{log}"
    );
    // Whose tenant has no domains sends as anybody.
    let mut trusted = ports.greeted(TRUSTED, bench.smtp).await;
    let reply = message(&mut trusted, "<x@acme.test>", "From: x@other.test").await;
    assert_eq!(reply.code, 250, "{reply:?}");
}
