//! `skeinctl send`: a message goes in as from a mail client, and what becomes of it is told.

mod faults;
mod logins;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Output};

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::sink::{Act, Moment, Phase, Sink, SinkConfig};
use skein_tests::{Bench, READY, loopback, operator};

use crate::postfix::Postfix;

/// How often a mailbox is looked into.
const LOOK: Duration = Duration::from_millis(100);

/// No admin API is there.
const NOBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));

/// What a run of `skeinctl` said.
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Told {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn ends(&self, code: i32, out: &[&str], err: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for part in out {
            assert!(self.out.contains(part), "lacks {part:?}: {}", self.out);
        }
        for part in err {
            assert!(self.err.contains(part), "lacks {part:?}: {}", self.err);
        }
        self
    }
}

/// `skeinctl send` to one recipient, unless `options` name others.
fn send(admin: SocketAddr, via: impl ToString, options: &[&str]) -> Told {
    let via = via.to_string();
    let mut args = vec!["send", "--via", &via, "--timeout", "60s"];
    if !options.contains(&"--to") {
        args.extend(["--to", "bob@there.test"]);
    }
    args.extend(options);
    Told::of(&operator::try_skeinctl(admin, &args).unwrap())
}

/// To a server of which no admin API is known.
fn send_to(sink: &Sink, options: &[&str]) -> Told {
    send(NOBODY, sink.address(), options)
}

async fn sink(change: impl FnOnce(&mut SinkConfig)) -> Sink {
    let mut config = SinkConfig::at(([127, 0, 0, 1], 0).into());
    change(&mut config);
    Sink::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_is_followed_until_it_is_delivered() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let told = send(
        bench.admin,
        bench.smtp,
        &[
            "--follow",
            "--to",
            "bob@there.test",
            "--to",
            "eve@elsewhere.test",
        ],
    );
    told.ends(
        0,
        &[
            "connect",
            "greeting    220 mx.skein.test",
            "EHLO",
            "MAIL",
            "RCPT        <bob@there.test>  250",
            "RCPT        <eve@elsewhere.test>  250",
            "DATA",
            "queued as ",
            "accepted ",
            "delivered  bob@there.test",
            "delivered  eve@elsewhere.test",
            "attempt 1",
        ],
        &[],
    );
    assert!(told.out.trim_end().ends_with("\ndelivered"), "{}", told.out);
    let records = bench.sink.records();
    let message = String::from_utf8(records[0].message.clone()).unwrap();
    for field in [
        "Date: ",
        "Message-ID: <",
        "From: ",
        "Subject: A test by skeinctl send\r\n",
    ] {
        assert!(message.contains(field), "{message}");
    }
    assert!(message.contains("To: bob@there.test,\r\n\teve@elsewhere.test\r\n"));
    assert!(message.ends_with(">\r\n"), "no line is added: {message:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_and_a_long_wait_are_no_success() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    bench
        .sink
        .set_script(|moment| match (moment.phase, moment.address) {
            (Phase::Rcpt, "no@there.test") => Act::reply(550, "5.1.1 no such user"),
            (Phase::Rcpt, "later@there.test") => Act::reply(451, "4.2.0 not now"),
            _ => Act::Accept,
        });
    let options = [
        "--follow",
        "--to",
        "no@there.test",
        "--to",
        "bob@there.test",
    ];
    send(bench.admin, bench.smtp, &options).ends(
        1,
        &[
            "bounced    no@there.test",
            "550 5.1.1 no such user",
            "delivered  bob@there.test",
        ],
        &["did not reach every recipient", "skeinctl message show "],
    );
    let options = ["--follow", "--timeout", "2s", "--to", "later@there.test"];
    let via = bench.smtp.to_string();
    let mut args = vec!["send", "--via", &via];
    args.extend(options);
    let told = Told::of(&operator::try_skeinctl(bench.admin, &args).unwrap());
    told.ends(
        1,
        &[
            "deferred   later@there.test",
            "451 4.2.0 not now",
            "next attempt",
        ],
        &[
            "still waiting after 2s: later@there.test (",
            "451 4.2.0 not now",
            "run `skeinctl explain message ",
        ],
    );
    let id = told
        .err
        .split('`')
        .nth(1)
        .and_then(|run| run.rsplit(' ').next());
    let explained = operator::skeinctl(bench.admin, &["explain", "message", id.unwrap()]);
    assert!(explained.unwrap().contains("later@there.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_one_json_value() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let told = send(
        bench.admin,
        bench.smtp,
        &["--follow", "--json", "--from", ""],
    );
    told.ends(0, &[], &[]);
    let report: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(report["result"], "delivered");
    assert_eq!(report["from"], "");
    assert_eq!(report["id"], report["message"]["id"]);
    let steps: Vec<&str> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let expected = [
        "connect", "greeting", "EHLO", "MAIL", "RCPT", "DATA", "QUIT",
    ];
    assert_eq!(steps, expected);
    assert_eq!(report["steps"][5]["reply"]["code"], 250);
    let events = report["message"]["history"].as_array().unwrap();
    assert!(
        events.iter().any(
            |event| event["event"].as_str().unwrap().contains("DELIVERED")
                || event["event"] == "delivered"
        ),
        "{events:?}"
    );
    let closed = loopback().unwrap();
    let told = send(bench.admin, closed, &["--json"]);
    told.ends(1, &[], &["nothing listens there"]);
    let report: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(report["result"], "refused");
    assert!(
        report["todo"]
            .as_str()
            .unwrap()
            .contains("[[smtp.listener]]")
    );
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn some_recipients_may_be_refused_and_a_file_goes_as_it_is() {
    let sink = sink(|config| {
        let script = |moment: &Moment<'_>| match (moment.phase, moment.address) {
            (Phase::Rcpt, "no@there.test") => Act::reply(550, "5.7.1 relaying denied"),
            (Phase::AfterDot, _) => Act::reply(250, "2.0.0 queued as 17-a"),
            _ => Act::Accept,
        };
        config.script = Arc::new(script);
        config.extensions.starttls = false;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message.eml");
    std::fs::write(&file, b".first line\nSubject: x\n\n.\n..\ngr\xfcn\n\nend").unwrap();
    let options = ["--file", text(&file), "--from", "ann@here.test"];
    send_to(&sink, &options).ends(0, &["queued as 17-a"], &[]);
    let records = sink.records();
    assert_eq!(
        records[0].message,
        b".first line\r\nSubject: x\r\n\r\n.\r\n..\r\ngr\xfcn\r\n\r\nend\r\n"
    );
    assert!(
        records[0].mail.ends_with(" SIZE=47 BODY=8BITMIME"),
        "{}",
        records[0].mail
    );

    let both = ["--to", "no@there.test", "--to", "bob@there.test"];
    let told = send_to(
        &sink,
        &[&both[..], &["--notify", "success,failure"]].concat(),
    );
    let queued = [
        "<no@there.test>  550",
        "<bob@there.test>  250",
        "queued as 17-a",
    ];
    told.ends(
        1,
        &queued,
        &["no@there.test refused", "smtp.relay_networks"],
    );
    let record = sink.records().pop().unwrap();
    assert_eq!(
        record.delivered_to().collect::<Vec<_>>(),
        ["bob@there.test"]
    );
    assert!(
        record.recipients[1]
            .line
            .ends_with(" NOTIFY=SUCCESS,FAILURE")
    );

    let none = ["--to", "no@there.test"];
    let told = send_to(&sink, &none);
    told.ends(1, &["550"], &["smtp.relay_networks"]);
    assert!(!told.out.contains("queued"), "{}", told.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_takes_what_is_handed_in_and_names_its_queue_file() {
    let postfix = Postfix::start();
    let options = [
        "--to",
        "inbox@next.test",
        "--subject",
        "gr\u{fc}n",
        "--body",
        ".\n..\nend",
    ];
    let told = send(NOBODY, postfix.address, &options);
    told.ends(0, &["greeting    220 next.test", "queued as "], &[]);
    let id = told.out.rsplit(' ').next().unwrap().trim();
    assert!(postfix.log().contains(id), "{id}");
    let mails = || Some(postfix.mailbox()).filter(|mails| !mails.is_empty());
    let mails = skein_tests::until("the mail", READY, LOOK, mails).await;
    let mail = String::from_utf8(mails.unwrap().remove(0)).unwrap();
    let mail = mail.replace("\r\n", "\n");
    assert!(mail.contains("Subject: =?utf-8?B?Z3LDvG4=?=\n"), "{mail}");
    assert!(mail.ends_with("\n\n.\n..\nend\n"), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_names_every_option_under_a_heading() {
    let output = Command::new(std::env::var("SKEINCTL_BIN").unwrap())
        .args(["send", "--help"])
        .output()
        .unwrap();
    let told = Told::of(&output);
    let headings = [
        "\nEnvelope:",
        "\nMessage:",
        "\nSMTP connection:",
        "\nConnection:",
    ];
    told.ends(0, &headings, &[]);
}
