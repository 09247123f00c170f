//! SIGHUP: a node that runs takes over what it can, all or nothing, and its connections go on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use skein_testkit::load::Probe;
use skein_testkit::process::Node;
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::{Bench, Extra, loopback};

const WITHIN: Duration = Duration::from_secs(20);

/// AUTH PLAIN for ann with her first password and with her next one, and for bob.
const ANN: &str = "AUTH PLAIN AGFubgBzZWNyZXQ=";
const ANN_NEXT: &str = "AUTH PLAIN AGFubgBmcmVzaA==";
const BOB: &str = "AUTH PLAIN AGJvYgBib2I=";

struct Served {
    bench: Bench,
    node: Node,
    submission: SocketAddr,
    password: PathBuf,
    text: String,
}

/// A node with the users ann, whose password is in a file, and bob, which takes mail of 127.0.0.2 without a login.
async fn served() -> Served {
    let submission = loopback().unwrap();
    let mut password = PathBuf::new();
    let bench = Bench::with(|folder| {
        let tls = skein_tests::self_signed(folder)?;
        password = folder.join("password");
        std::fs::write(&password, "secret\n")?;
        Ok(Extra {
            sections: format!(
                r#"
                {tls}
                [[smtp.user]]
                name = "ann"
                password_file = {password:?}
                [[smtp.user]]
                name = "bob"
                password = "bob"
                [[smtp.listener]]
                address = "{submission}"
                kind = "submission"
                tls = "implicit"
                [log]
                level = "info"
                "#
            ),
            relay_networks: Some("[\"127.0.0.2/32\"]".to_owned()),
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let node = bench.start().await.unwrap();
    let text = std::fs::read_to_string(bench.config()).unwrap();
    Served {
        bench,
        node,
        submission,
        password,
        text,
    }
}

impl Served {
    /// Writes the file anew, sends SIGHUP, and returns what the node says about it.
    async fn reload(&mut self, text: &str) -> String {
        let told = |log: &str| log.matches("SIGHUP: ").count();
        let before = told(&self.node.log());
        std::fs::write(self.bench.config(), text).unwrap();
        self.node.hang_up().unwrap();
        let line = || {
            let log = self.node.log();
            // The line is whole when its end is there.
            let is_new = told(&log) > before && log.ends_with('\n');
            let line = log.lines().rfind(|line| line.contains("SIGHUP: "));
            line.filter(|_| is_new).map(str::to_owned)
        };
        let line = skein_tests::until("an answer", WITHIN, Duration::from_millis(20), line);
        line.await
            .unwrap_or_else(|error| panic!("{error}: {}", self.node.log()))
    }

    async fn client(&self, last: u8) -> Probe {
        let source = IpAddr::from([127, 0, 0, last]);
        let mut probe = Probe::connect_from(source, self.bench.smtp).await.unwrap();
        probe.reply().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        probe
    }

    /// A client that logs in; the code.
    async fn login(&self, line: &str) -> (Probe, u16) {
        let mut probe = Probe::connect_tls(self.submission).await.unwrap();
        probe.reply().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        let code = probe.cmd(line).await.unwrap().code;
        (probe, code)
    }
}

/// MAIL and RCPT; the code of the last reply.
async fn envelope(probe: &mut Probe) -> u16 {
    let mail = probe.cmd("MAIL FROM:<a@b.test>").await.unwrap();
    if !mail.positive() {
        return mail.code;
    }
    probe.cmd("RCPT TO:<u@there.test>").await.unwrap().code
}

async fn forget(probe: &mut Probe) {
    assert_eq!(probe.cmd("RSET").await.unwrap().code, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_networks_and_the_log_level_change_while_others_go_on() {
    let mut served = served().await;
    let (pid, good) = (served.node.pid(), served.text.clone());

    // Connections from before: of a network, of ann, and of bob in the middle of a message.
    let mut relay = served.client(2).await;
    assert_eq!(envelope(&mut relay).await, 250);
    forget(&mut relay).await;
    assert_eq!(envelope(&mut served.client(3).await).await, 550);
    let (mut ann, code) = served.login(ANN).await;
    assert_eq!((code, envelope(&mut ann).await), (235, 250));
    forget(&mut ann).await;
    let (mut bob, code) = served.login(BOB).await;
    assert_eq!((code, envelope(&mut bob).await), (235, 250));
    assert_eq!(bob.cmd("DATA").await.unwrap().code, 354);
    bob.send(b"Subject: x\r\n\r\none\r\n").await.unwrap();
    assert!(!served.node.log().contains("DEBUG"));

    std::fs::write(&served.password, "fresh\n").unwrap();
    let changed = good
        .replace("127.0.0.2/32", "127.0.0.3/32")
        .replace("level = \"info\"", "level = \"debug\"");
    let line = served.reload(&changed).await;
    let keys = "taken_over=\"smtp.relay_networks, smtp.user, log.level\"";
    assert!(line.contains(keys) && !line.contains("restart"), "{line}");

    // The network that was removed relays nothing at the next MAIL, and the other one does.
    assert_eq!(envelope(&mut relay).await, 550);
    assert_eq!(envelope(&mut served.client(3).await).await, 250);
    // The former password opens nothing more, on connections that it opened before neither.
    assert_eq!(envelope(&mut ann).await, 421);
    assert_eq!(served.login(ANN).await.1, 535);
    let (mut ann, code) = served.login(ANN_NEXT).await;
    assert_eq!((code, envelope(&mut ann).await), (235, 250));
    // Nothing has happened to bob.
    bob.send(b"two\r\n.\r\n").await.unwrap();
    assert_eq!(bob.reply().await.unwrap().code, 250);
    assert_eq!(envelope(&mut bob).await, 250);
    let sink = &served.bench.sink;
    let every = Duration::from_millis(20);
    let arrived = skein_tests::until("bob's message", WITHIN, every, || {
        (!sink.records().is_empty()).then_some(())
    });
    arrived.await.unwrap();

    // Lines that nobody wanted before are written, and then they are not.
    assert!(served.node.log().contains("DEBUG"));
    let line = served
        .reload(&changed.replace("\"debug\"", "\"info\""))
        .await;
    assert!(line.contains("taken_over=\"log.level\""), "{line}");
    let lines = |log: &str| log.matches("DEBUG").count();
    let before = lines(&served.node.log());
    assert_eq!(envelope(&mut served.client(3).await).await, 250);
    assert_eq!(lines(&served.node.log()), before);
    assert!(served.node.running() && served.node.pid() == pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_broken_changes_nothing_and_is_told_with_key_and_line() {
    let mut served = served().await;
    let good = served.text.clone();
    // Each with a change that would be taken over.
    let wrong = good.replace("127.0.0.2/32", "127.0.0.3/32");
    let line_of = |text: &str, part: &str| {
        let at = text.lines().position(|line| line.contains(part)).unwrap();
        format!("line {}", at + 1)
    };
    for (from, to, key) in [
        ("level = \"info\"", "level = \"loud\"", "log.level"),
        ("cap = \"1s\"", "cap = \"soon\"", "delivery.retry.cap"),
        ("relay_networks", "relay_network", "relay_network"),
        (
            "password = \"bob\"",
            "password_file = \"/nowhere\"",
            "password_file: /nowhere",
        ),
        ("[log]", "[log", "line"),
    ] {
        let text = wrong.replace(from, to);
        let line = served.reload(&text).await;
        let is_told = line.contains("ERROR") && line.contains("all former settings stay");
        assert!(is_told && line.contains(key), "{to}: {line}");
        let place = match to.contains("nowhere") {
            true => "line ".to_owned(),
            false => line_of(&text, to),
        };
        assert!(line.contains(&place), "{to}: {line} lacks {place}");
        assert_eq!(envelope(&mut served.client(2).await).await, 250, "{to}");
    }
    let line = served.reload(&good).await;
    assert!(line.contains("no setting has changed"), "{line}");
    let line = served.reload(&wrong).await;
    assert!(
        line.contains("taken_over=\"smtp.relay_networks\""),
        "{line}"
    );
    assert_eq!(envelope(&mut served.client(3).await).await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_told_with_its_reason_each_time_and_the_rest_is_taken_over() {
    let mut served = served().await;
    let other = Sink::start(SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))));
    let other = other.await.unwrap();
    let (first, next) = (served.bench.sink.address(), other.address());
    let changed = served
        .text
        .replace("mx.skein.test", "mx2.skein.test")
        .replace(&first.to_string(), &next.to_string());
    let line = served.reload(&changed).await;
    for part in [
        "WARN",
        "taken_over=\"delivery.smarthost\"",
        "needs_restart=\"smtp.hostname (",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // Mail goes by the other route, and the name is that of before.
    let mut client = served.client(2).await;
    assert_eq!(envelope(&mut client).await, 250);
    assert_eq!(client.cmd("DATA").await.unwrap().code, 354);
    client.send(b"Subject: x\r\n\r\nx\r\n.\r\n").await.unwrap();
    assert_eq!(client.reply().await.unwrap().code, 250);
    let every = Duration::from_millis(20);
    let record = || other.records().first().cloned();
    let record = skein_tests::until("the message", WITHIN, every, record);
    assert_eq!(record.await.unwrap().helo, "mx.skein.test");
    assert!(served.bench.sink.records().is_empty());
    let line = served.reload(&changed).await;
    let is_told =
        line.contains("needs_restart=\"smtp.hostname (") && line.contains("taken_over=\"\"");
    assert!(is_told, "{line}");
}
