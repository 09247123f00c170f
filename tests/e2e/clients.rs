//! Mail handed in by clients that people use: swaks and Python's smtplib.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use skein_testkit::process::free_port;
use skein_testkit::sink::Record;
use skein_tests::{Bench, Extra};

/// Ports of a node that offers what port 25, 587 and 465 usually do.
struct Offers {
    bench: Bench,
    submission: u16,
    implicit: u16,
}

impl Offers {
    async fn new() -> Self {
        let (submission, implicit) = (free_port().unwrap(), free_port().unwrap());
        let bench = Bench::with(|folder| {
            let tls = skein_tests::self_signed(folder)?;
            Ok(Extra {
                smtp: r#"proxy_networks = ["127.0.0.2/32"]"#.into(),
                sections: format!(
                    r#"
                    {tls}
                    [[smtp.user]]
                    name = "ann"
                    password = "s e\"cret"
                    [[smtp.listener]]
                    address = "127.0.0.1:{submission}"
                    kind = "submission"
                    [[smtp.listener]]
                    address = "127.0.0.1:{implicit}"
                    kind = "submission"
                    tls = "implicit"
                    "#,
                ),
                ..Extra::default()
            })
        });
        Self {
            bench: bench.await.unwrap(),
            submission,
            implicit,
        }
    }

    /// Waits for the message whose data ends like this, and says what came before.
    async fn arrived(&self, id: &str, data: &[u8]) -> (Arc<Record>, Vec<u8>) {
        let needle = format!("X-Test-Id: {id}\r\n");
        for _ in 0..200 {
            let found = self.bench.sink.records().into_iter().find(|record| {
                record.accepted && String::from_utf8_lossy(&record.message).contains(&needle)
            });
            if let Some(record) = found {
                let head = record.message.strip_suffix(data).unwrap_or_else(|| {
                    panic!("{id} changed: {}", String::from_utf8_lossy(&record.message))
                });
                let head = head.to_vec();
                return (record, head);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} did not arrive");
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run `cargo xtask setup --tests`"))
}

/// A message file and its bytes.
fn message(folder: &Path, id: &str) -> (String, Vec<u8>) {
    let data = format!(
        "X-Test-Id: {id}\r\nSubject: from a client\r\n\r\n.dots\r\n..\r\n.\r\ngr\u{fc}n\r\n\r\nend\r\n"
    );
    let path = folder.join(id);
    // swaks turns line ends into CRLF, doubles dots, and adds the last line end itself.
    std::fs::write(&path, data.trim_end().replace("\r\n", "\n")).unwrap();
    (format!("@{}", path.display()), data.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_hands_in_mail_in_every_way() {
    let offers = Offers::new().await;
    let _node = offers.bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (relay, submission, implicit) =
        (offers.bench.smtp.port(), offers.submission, offers.implicit);
    let login = ["--auth-user", "ann", "--auth-password", "s e\"cret"];
    for (id, port, options, with) in [
        ("plain", relay, &[][..], "ESMTP"),
        ("helo", relay, &["--protocol", "SMTP"], "SMTP"),
        ("pipelined", relay, &["--pipeline"], "ESMTP"),
        ("starttls", relay, &["--tls"], "ESMTPS"),
        (
            "auth-plain",
            submission,
            &["--tls", "--auth", "PLAIN"],
            "ESMTPSA",
        ),
        (
            "auth-login",
            submission,
            &["--tls", "--auth", "LOGIN", "--pipeline"],
            "ESMTPSA",
        ),
        (
            "implicit",
            implicit,
            &["--tls-on-connect", "--auth", "PLAIN"],
            "ESMTPSA",
        ),
    ] {
        let (file, data) = message(folder.path(), id);
        let port = port.to_string();
        let mut arguments = vec![
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--helo",
            "client.test",
        ];
        arguments.extend([
            "--from",
            "ann@sender.test",
            "--to",
            "one@a.test,two@a.test",
            "--data",
            &file,
        ]);
        arguments.extend(options);
        if options.contains(&"--auth") {
            arguments.extend(login);
        }
        let output = run("swaks", &arguments);
        assert!(
            output.status.success(),
            "{id}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        let (record, head) = offers.arrived(id, &data).await;
        assert_eq!(
            record.recipients.len(),
            2,
            "{id}: one transaction for a domain"
        );
        let head = String::from_utf8(head).unwrap().replace("\r\n\t", " ");
        assert!(
            head.contains(&format!(" with {with} ")) || head.contains(&format!(" with {with}\r\n")),
            "{id}: {head}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_is_told_why_its_mail_is_not_taken() {
    let offers = Offers::new().await;
    let _node = offers.bench.start().await.unwrap();
    let (relay, submission) = (offers.bench.smtp.port(), offers.submission);
    let wrong = [
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        "ann",
        "--auth-password",
        "x",
    ];
    let proxied = [
        "--local-interface",
        "127.0.0.2",
        "--proxy-version",
        "2",
        "--proxy-family",
        "AF_INET",
        "--proxy-protocol",
        "STREAM",
        "--proxy-command",
        "PROXY",
        "--proxy-source",
        "192.0.2.9",
        "--proxy-source-port",
        "7",
        "--proxy-dest",
        "192.0.2.1",
        "--proxy-dest-port",
        "25",
    ];
    for (port, options, reply) in [
        (submission, &["--tls"][..], "530 5.7.0"),
        (submission, &[], "530 5.7.0"),
        (submission, &wrong, "535 5.7.8"),
        (
            submission,
            &[
                "--auth",
                "PLAIN",
                "--auth-user",
                "ann",
                "--auth-password",
                "x",
            ],
            "Host did not advertise authentication",
        ),
        (relay, &proxied, "550 5.7.1"),
        (relay, &["--to", "\"a b@c.test"], "501 5.5.4"),
    ] {
        let port = port.to_string();
        let mut arguments = vec![
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--from",
            "a@b.test",
        ];
        if !options.contains(&"--to") {
            arguments.extend(["--to", "c@d.test"]);
        }
        arguments.extend(options);
        let output = run("swaks", &arguments);
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(reply),
            "{options:?}: {said}"
        );
    }
    assert_eq!(offers.bench.sink.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_speaks_for_its_clients() {
    let offers = Offers::new().await;
    let _node = offers.bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = offers.bench.smtp.port().to_string();
    for (id, version, family, protocol) in [
        ("proxy-1", "1", "TCP4", ""),
        ("proxy-2", "2", "AF_INET", "STREAM"),
    ] {
        let (file, data) = message(folder.path(), id);
        let mut arguments = vec![
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--local-interface",
            "127.0.0.2",
        ];
        arguments.extend(["--from", "a@b.test", "--to", "c@d.test", "--data", &file]);
        arguments.extend([
            "--proxy-version",
            version,
            "--proxy-family",
            family,
            "--proxy-source",
            "127.9.8.7",
        ]);
        arguments.extend([
            "--proxy-source-port",
            "7",
            "--proxy-dest",
            "127.0.0.1",
            "--proxy-dest-port",
            "25",
        ]);
        if version == "2" {
            arguments.extend(["--proxy-protocol", protocol, "--proxy-command", "PROXY"]);
        }
        let output = run("swaks", &arguments);
        assert!(
            output.status.success(),
            "{id}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        let (_, head) = offers.arrived(id, &data).await;
        assert!(
            String::from_utf8(head).unwrap().contains("[127.9.8.7]"),
            "{id}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smtplib_hands_in_mail_in_every_way() {
    let offers = Offers::new().await;
    let _node = offers.bench.start().await.unwrap();
    let ports =
        [offers.bench.smtp.port(), offers.submission, offers.implicit].map(|port| port.to_string());
    let script = include_str!("smtplib_client.py");
    let output = run("python3", &["-c", script, &ports[0], &ports[1], &ports[2]]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let (record, head) = offers
        .arrived("dsn", b"X-Test-Id: dsn\r\n\r\nhello\r\n")
        .await;
    assert!(
        record.mail.contains("RET=HDRS") && record.mail.contains("ENVID=+2Bid"),
        "{}",
        record.mail
    );
    assert!(
        record.recipients[0].line.contains("NOTIFY=SUCCESS,FAILURE"),
        "{:?}",
        record.recipients
    );
    assert!(
        !String::from_utf8(head).unwrap().contains("Message-ID"),
        "relayed mail is not touched"
    );
    let utf8 = "X-Test-Id: utf8\r\nSubject: gr\u{fc}n\r\n\r\nh\u{e9}llo\r\n";
    let (record, _) = offers.arrived("utf8", utf8.as_bytes()).await;
    assert!(
        record.mail.contains("<\u{fc}nal@sender.test>") && record.mail.contains("SMTPUTF8"),
        "{}",
        record.mail
    );
    assert!(
        record.recipients[0]
            .line
            .contains("<j\u{f6}rg@b\u{fc}cher.test>"),
        "{:?}",
        record.recipients
    );
    let (_, head) = offers
        .arrived("login", b"X-Test-Id: login\r\n\r\nhello\r\n")
        .await;
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.contains("Message-ID: <") && head.contains("Date: "),
        "{head}"
    );
    offers
        .arrived("implicit", b"X-Test-Id: implicit\r\n\r\nhello\r\n")
        .await;
    offers
        .arrived("bdat", b"X-Test-Id: bdat\r\n\r\n.\r\nno end of line")
        .await;
    offers.arrived("empty", b"X-Test-Id: empty\r\n\r\n").await;
    for number in 0..100 {
        let id = format!("many-{number}");
        offers
            .arrived(&id, format!("X-Test-Id: {id}\r\n\r\nhello\r\n").as_bytes())
            .await;
    }
}

/// The address of the proxy is one of ours only when the connection really comes from it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_speak_for_others() {
    let offers = Offers::new().await;
    let _node = offers.bench.start().await.unwrap();
    let target = SocketAddr::from(([127, 0, 0, 1], offers.bench.smtp.port()));
    let mut probe = skein_testkit::load::Probe::connect(target).await.unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 220);
    let reply = probe
        .cmd("PROXY TCP4 127.0.0.9 127.0.0.1 7 25")
        .await
        .unwrap();
    assert_eq!(reply.code, 500, "{reply:?}");
}
