//! Fields and lines that somebody else's words are written into: what clients say of themselves and of their mail, what hosts
//! answer, and what operators type. None of it makes a field, a line or a command of its own.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_testkit::load::Probe;
use skein_testkit::process::http_get;
use skein_testkit::sink::{Act, Phase};
use skein_tests::operator;

use super::{Ports, TRUSTED};

/// What all of it tries to write at the beginning of a line.
const MARK: &str = "Injected";

const NAMES: [&str; 14] = [
    "c\tInjected:x",
    "c\u{b}Injected:x",
    "c\u{85}Injected:x",
    "c\u{2028}Injected:x",
    "c;\\r\\nInjected:x",
    "(c)",
    "c(Injected:x",
    "\"c\\\"Injected:\"",
    "<c@d>",
    "c\u{202e}d",
    "[127.0.0.1]Injected:",
    "=?utf-8?q?c=0D=0AInjected=3Ax?=",
    "c%0D%0AInjected:x",
    "\u{e9}.test",
];

const MAILS: [&str; 9] = [
    "MAIL FROM:<a@here.test> RET=FULL ENVID=x+0D+0AInjected:+20y",
    "MAIL FROM:<a@here.test> RET=FULL ENVID=x+0AInjected:",
    "MAIL FROM:<a@here.test> RET=FULL ENVID=x+7FInjected:",
    "MAIL FROM:<a@here.test> RET=FULL ENVID=x+C2+85Injected:",
    "MAIL FROM:<a@here.test> RET=FULL ENVID=x+3B+20Injected:",
    "MAIL FROM:<a@here.test>\tInjected:x",
    "MAIL FROM:<\"a Injected: x\"@here.test> RET=HDRS",
    "MAIL FROM:<a@here.test> AUTH=x+0D+0AInjected:",
    "MAIL FROM:<a@here.test> SIZE=1\u{b}Injected:",
];

const RECIPIENTS: [&str; 9] = [
    "RCPT TO:<no@there.test> ORCPT=rfc822;x+0D+0AInjected:+20y",
    "RCPT TO:<no@there.test> ORCPT=rfc822;x+0AInjected:",
    "RCPT TO:<no@there.test> ORCPT=utf-8;x\\x{0D}\\x{0A}Injected:",
    "RCPT TO:<no@there.test> ORCPT=utf-8;x\\x{85}Injected:",
    "RCPT TO:<no@there.test> ORCPT=utf-8;x\\x{2028}Injected:",
    "RCPT TO:<no@there.test> ORCPT=x+0D+0AInjected:;y",
    "RCPT TO:<no@there.test> ORCPT=rfc822;x+3B+20Injected:",
    "RCPT TO:<\"no Injected: (x\"@there.test>",
    "RCPT TO:<no@there.test> NOTIFY=FAILURE+0D+0AInjected:",
];

const HEADERS: [&str; 12] = [
    "X-Skein-Campaign: a\r\n Injected: x",
    "X-Skein-Campaign: a%0D%0AInjected",
    "X-Skein-Campaign: =?utf-8?q?a=0D=0AInjected?=",
    "X-Skein-Pool: default\r\n\tInjected: x",
    "X-Skein-Pool: default\u{85}Injected",
    "X-Skein-Priority: bulk\r\n Injected: x",
    "X-Skein-Priority: bulk\u{0}Injected",
    "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n Injected: x",
    "Traceparent: 00-x\u{85}Injected",
    "Message-ID: <a@b>\r\n Injected: x",
    "Date: Injected: x",
    "Subject: x\r\n\tInjected: y",
];

/// The whole of a message, or as far as it is taken.
async fn message(probe: &mut Probe, mail: &str, rcpt: &str, header: &str) -> bool {
    for line in [mail, rcpt, "DATA"] {
        let reply = probe.cmd(line).await.unwrap();
        if !reply.positive() {
            assert!((500..600).contains(&reply.code), "{line:?}: {reply:?}");
            assert!(
                !reply.lines.iter().any(|line| line.starts_with(MARK)),
                "{reply:?}"
            );
            probe.cmd("RSET").await.unwrap();
            return false;
        }
    }
    let reply = probe
        .cmd(&format!("{header}\r\nFrom: a@here.test\r\n\r\nx\r\n."))
        .await
        .unwrap();
    assert!(matches!(reply.code, 250 | 550), "{header:?}: {reply:?}");
    reply.code == 250
}

/// Lines of a text that begin with the mark, or hold what ends a line for some readers.
#[track_caller]
fn check_lines(what: &str, text: &str) {
    for line in text.split([
        '\r', '\n', '\u{85}', '\u{b}', '\u{c}', '\u{2028}', '\u{2029}',
    ]) {
        assert!(!line.starts_with(MARK), "{what}: {line:?}");
    }
    let is_odd = |c: char| c.is_control() && !matches!(c, '\r' | '\n' | '\t');
    assert!(!text.contains(is_odd), "{what}: {text:?}");
}

/// What we wrote in front of a message, and the reports that we made: fields of ours, each once.
fn check_message(text: &str) {
    check_lines("a message", text);
    let (header, _) = text.split_once("\r\n\r\n").unwrap();
    for line in header
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
    {
        let (name, _) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("{line:?} in {header}"));
        let known = [
            "Received",
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ];
        assert!(known.contains(&name), "{name:?} in {header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_anybody_makes_a_line_of_its_own() {
    let ports = Ports::new().await;
    let bench = &ports.bench;
    bench.sink.set_script(|moment| match moment.phase {
        Phase::Rcpt if moment.address.contains("no") => Act::Raw(
            b"550-5.1.1 nobody;\x1b[31m\x7f\r\n550-Injected: x\r\n550 5.1.1 Injected: y\r\n"
                .to_vec(),
        ),
        _ => Act::Accept,
    });
    let (plain_mail, plain_rcpt) = ("MAIL FROM:<a@here.test>", "RCPT TO:<u@there.test>");
    let mut expected = 0;
    for name in NAMES {
        let mut probe = Probe::connect_from(TRUSTED, bench.smtp).await.unwrap();
        probe.reply().await.unwrap();
        if !probe.cmd(&format!("EHLO {name}")).await.unwrap().positive() {
            continue;
        }
        expected += usize::from(message(&mut probe, plain_mail, plain_rcpt, "Subject: x").await);
    }
    let mut probe = ports.greeted(TRUSTED, bench.smtp).await;
    for mail in MAILS {
        expected +=
            usize::from(message(&mut probe, mail, "RCPT TO:<no@there.test>", "Subject: x").await);
    }
    for rcpt in RECIPIENTS {
        expected += usize::from(message(&mut probe, plain_mail, rcpt, "Subject: x").await);
    }
    for header in HEADERS {
        expected += usize::from(message(&mut probe, plain_mail, plain_rcpt, header).await);
    }
    // Users who are nobody, and one who is somebody and calls itself what it likes.
    for user in [
        "a\r\nInjected: x",
        "a\u{85}Injected",
        "a\u{1b}[2KInjected",
        "\u{202e}Injected",
    ] {
        let mut probe = ports.encrypted(TRUSTED, ports.submission).await;
        let line = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0x")));
        let code = probe.cmd(&line).await.unwrap().code;
        assert!(matches!(code, 535 | 454), "{user:?}: {code}");
    }
    assert!(expected > 20, "{expected} messages were taken");

    // Each is delivered, or bounced with a report.
    let events = bench.data().join("events.jsonl");
    let done = || {
        let events = operator::events(&events).ok()?;
        let ends = |event: &&serde_json::Value| {
            matches!(
                event["event"].as_str(),
                Some("delivered" | "bounced" | "expired")
            )
        };
        let reports = events
            .iter()
            .filter(|event| event["event"] == "bounced")
            .count();
        (events.iter().filter(ends).count() >= expected + reports).then_some(reports)
    };
    let (within, every) = (Duration::from_secs(60), Duration::from_millis(100));
    let reports = skein_tests::until("the end of all mail", within, every, done)
        .await
        .unwrap();
    assert!(reports > 5, "{reports} reports");
    let records = bench.sink.records();
    let taken = records.iter().filter(|record| record.accepted);
    for record in taken {
        check_message(&String::from_utf8_lossy(&record.message));
        assert!(
            !record.mail.contains("Injected") || record.mail.contains('"'),
            "{}",
            record.mail
        );
    }
    for event in std::fs::read_to_string(&events).unwrap().lines() {
        let _: serde_json::Value = serde_json::from_str(event).unwrap();
        check_lines("an event", event);
    }
    check_lines("the log", &ports.node.log());
    check_lines(
        "metrics",
        &http_get(bench.http, "/metrics").await.unwrap().1,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_type_makes_no_line_of_its_own() {
    let ports = Ports::new().await;
    let admin = ports.bench.admin;
    let hostile = "x\r\nInjected: y\u{1b}[31m\u{85}Injected";
    for args in [
        &["suspend", "--domain", hostile, "--for", "1h", "--why", "x"][..],
        &[
            "suspend", "--domain", "x.test", "--for", "1h", "--why", hostile,
        ],
        &[
            "suspend",
            "--campaign",
            hostile,
            "--for",
            "1h",
            "--why",
            "x",
        ],
        &["suspend", "--tenant", hostile, "--for", "1h", "--why", "x"],
        &["credential", "create", hostile, "--tenant", "x"],
        &["credential", "create", "x", "--tenant", hostile],
        &["node", "drain", hostile],
        &["message", "delete", hostile],
        &["domain", "add", hostile, "--tenant", "x"],
    ] {
        let output = operator::try_skeinctl(admin, args).unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            !said.lines().any(|line| line.starts_with(MARK)),
            "{args:?}: {said:?}"
        );
    }
    for policy in [
        "kind: tenant\nname: \"a\\r\\nInjected\"\n",
        "kind: tenant\nname: a\nsender_domains: [\"a.test\\r\\nInjected\"]\n",
        "kind: credential\nname: a\ntenant: \"t\\nInjected\"\nnetworks: [127.0.0.9]\n",
        "kind: credential\nname: a\ntenant: t\nuser: \"a\\nInjected\"\nnetworks: [127.0.0.9]\n",
        "kind: ip\nname: a\nbind: 127.0.0.1\nehlo: \"a.test\\r\\nInjected\"\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let refused = operator::apply(admin, folder.path(), policy).unwrap_err();
        let said = refused.to_string();
        assert!(!said.lines().any(|line| line.starts_with(MARK)), "{said}");
    }
    for args in [
        &["audit", "--limit", "100"][..],
        &["suspend"],
        &["policy", "get"],
        &["credential", "list"],
    ] {
        let said = operator::skeinctl(admin, args).unwrap();
        check_lines(&format!("{args:?}"), &said);
    }
    check_lines("the log", &ports.node.log());
}
