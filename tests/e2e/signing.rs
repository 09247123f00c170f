//! Mail is signed when it comes in, and goes out with its signatures or is not taken. The leader's answers are the test's.

mod leader;
pub mod verifier;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skein_dkim::PrivateKey;
use skein_dkim::at_rest::{About, Kek, Keks, RANDOM_BYTES};
use skein_testkit::load::Probe;
use skein_testkit::sink::{Act, Occurrences, Phase, Record, Sink, SinkConfig};
use skein_tests::fleet::Member;
use skein_tests::{loopback, until};
use skein_wire::internal::{DomainSigning, SigningKey};
use tempfile::TempDir;

use leader::{Leader, Said};
use verifier::MailAuth;

const WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A key-encryption key that nobody else has.
fn kek(seed: u8) -> Vec<u8> {
    (0..32).map(|n: u8| n.wrapping_mul(37) ^ seed).collect()
}

/// A key as the leader gives it out, and its record.
fn made(tenant: &str, domain: &str, key: &PrivateKey) -> (SigningKey, (String, String)) {
    let keks = Keks {
        current: Kek::parse(&kek(1)).unwrap(),
        previous: None,
    };
    let about = About::dkim_key(tenant, domain, "sk1");
    let mut random = [0; RANDOM_BYTES];
    random.fill_with(rand::random);
    let given = SigningKey {
        domain: domain.to_owned(),
        selector: "sk1".to_owned(),
        wrapped: keks.seal(about, key.to_pkcs8(), &random).into(),
    };
    let record = key.public().text();
    (given, (format!("sk1._domainkey.{domain}"), record))
}

fn domain(name: &str, tenant: &str, keys: Vec<SigningKey>) -> (String, DomainSigning) {
    let signing = DomainSigning {
        domain: name.to_owned(),
        tenant: tenant.to_owned(),
        keys,
        waits_for: String::new(),
        is_verified: true,
    };
    (name.to_owned(), signing)
}

/// A control node, a sender that reaches it through the leader of the test, and where all mail goes.
struct Stage {
    leader: Leader,
    _control: Member,
    sender: Member,
    sink: Sink,
    verifier: MailAuth,
    key_file: PathBuf,
    _folder: TempDir,
}

impl Stage {
    async fn new(said: Said, records: &BTreeMap<String, String>) -> Self {
        let folder = TempDir::new().unwrap();
        let mut control = Member::new(folder.path(), "c1").unwrap();
        let mut sender = Member::new(folder.path(), "s1").unwrap();
        let at = loopback().unwrap();
        let text = format!(
            "role = \"control\"\ndata_dir = {:?}\n[cluster]\nlisten = \"{}\"\naddress = \"{at}\"\npeers = [\"{at}\"]\n\
             bootstrap_expect = 1\nspool_groups = 1\n[admin]\nlisten = \"{}\"\n[http]\nlisten = \"{}\"\n",
            control.data_dir, control.address, control.admin, control.http,
        );
        control.configure(&text).unwrap();
        let leader = Leader::start(at, control.address, said);
        control.start().await.unwrap();
        let sink = SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
        let sink = Sink::start(sink).await.unwrap();
        let key_file = folder.path().join("kek");
        std::fs::write(&key_file, kek(1)).unwrap();
        let text = format!(
            "role = \"sender\"\ndata_dir = {:?}\n[cluster]\npeers = [\"{at}\"]\n[smtp]\nhostname = \"mx.skein.test\"\n\
             relay_networks = [\"127.0.0.0/8\"]\n[[smtp.listener]]\naddress = \"{}\"\n[http]\nlisten = \"{}\"\n\
             [delivery]\nsmarthost = \"{}\"\n[delivery.retry]\nfirst = \"100ms\"\ncap = \"200ms\"\n\
             [dkim]\nkey_file = {key_file:?}\n",
            sender.data_dir,
            sender.smtp,
            sender.http,
            sink.address(),
        );
        sender.configure(&text).unwrap();
        sender.start().await.unwrap();
        Self {
            leader,
            _control: control,
            sender,
            sink,
            verifier: MailAuth::new(records),
            key_file,
            _folder: folder,
        }
    }

    /// Hands a message in; what it is answered with.
    async fn hand_in(&self, message: &str) -> (u16, String) {
        let (mut client, _) = Probe::greet(self.sender.smtp).await.unwrap();
        for line in ["MAIL FROM:<r@away.test>", "RCPT TO:<u@there.test>"] {
            let reply = client.cmd(line).await.unwrap();
            assert!(reply.positive(), "{line}: {reply:?}");
        }
        assert_eq!(client.cmd("DATA").await.unwrap().code, 354);
        client.send(message.as_bytes()).await.unwrap();
        let reply = client.cmd("\r\n.").await.unwrap();
        (reply.code, reply.text())
    }

    /// All attempts so far, once there are as many.
    async fn attempts(&self, count: usize) -> Vec<Arc<Record>> {
        let found = until("mail", WITHIN, LOOK, || {
            let records = self.sink.records();
            let whole: Vec<_> = records
                .into_iter()
                .filter(|record| !record.message.is_empty())
                .collect();
            (whole.len() >= count).then_some(whole)
        });
        found.await.unwrap()
    }

    /// A message from this domain comes out, signed by these.
    async fn comes_out(&self, from: &str, domains: &[&str]) {
        let from = format!("From: Ann <ann@{from}>");
        let found = until("mail", WITHIN, LOOK, || {
            let records = self.sink.records().into_iter();
            let mut messages =
                records.filter_map(|record| String::from_utf8(record.message.clone()).ok());
            messages.find(|message| message.contains(&from))
        });
        let sent = found.await.unwrap();
        self.sink.clear();
        assert_eq!(signed_by(&sent), domains);
        let results = self.verifier.verify(sent.as_bytes()).await;
        assert!(results.iter().all(|one| one == "pass"), "{results:?}");
    }

    /// Hands a message in until it is answered like this.
    async fn is_answered(&self, message: &str, code: u16) -> String {
        let end = tokio::time::Instant::now() + WITHIN;
        loop {
            let (answered, text) = self.hand_in(message).await;
            if answered == code {
                return text;
            }
            assert!(tokio::time::Instant::now() < end, "{answered} {text}");
            self.sink.clear();
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn metric(&self, name: &str) -> f64 {
        let page = skein_testkit::process::http_get(self.sender.http, "/metrics").await;
        let (_, text) = page.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

/// One of a domain of the tenant, one of another tenant's, and the operator's key.
async fn stage() -> Stage {
    let (rsa, ed25519) = (
        PrivateKey::generate_rsa().unwrap(),
        PrivateKey::ed25519_of(&[7; 32]).unwrap(),
    );
    let (a, a_record) = made("default", "a.test", &rsa);
    let (b, b_record) = made("other", "b.test", &ed25519);
    let (operator, operator_record) = made("", "esp.test", &ed25519);
    let said = Said {
        version: 7,
        domains: [
            domain("a.test", "default", vec![a]),
            domain("b.test", "other", vec![b]),
        ]
        .into(),
        operator_keys: vec![operator],
        is_silent: false,
    };
    Stage::new(said, &[a_record, b_record, operator_record].into()).await
}

fn message(from: &str, body: &str) -> String {
    format!("From: Ann <ann@{from}>\r\nTo: u@there.test\r\nSubject: hello\r\n\r\n{body}")
}

/// The d= of each signature, in order.
fn signed_by(message: &str) -> Vec<String> {
    let header = message.split("\r\n\r\n").next().unwrap();
    let flat: String = header.split_ascii_whitespace().collect();
    let tags = flat.split(";d=").skip(1);
    tags.filter_map(|rest| rest.split(';').next().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_out_verifies_and_is_the_same_at_each_attempt() {
    let stage = stage().await;
    let long = "0123456789 abcdefghijklmnopqrstuvwxyz\r\n".repeat(20_000);
    for (body, attempts) in [
        ("hello\r\n", 3),
        ("white space at the end \t\r\n \r\n\r\n", 1),
        ("", 1),
        // It does not travel with its task.
        (&*long, 3),
    ] {
        let seen = Occurrences::default();
        stage.sink.set_script(move |moment| match moment.phase {
            Phase::Dot if seen.of("dot") < attempts => Act::reply(451, "4.7.1 later"),
            _ => Act::Accept,
        });
        let (code, text) = stage.hand_in(&message("mail.a.test", body)).await;
        assert_eq!(code, 250, "{text}");
        let tried = stage.attempts(attempts as usize).await;
        assert_eq!(tried.len(), attempts as usize);
        assert!(tried.iter().all(|one| one.message == tried[0].message));
        let sent = String::from_utf8(tried[0].message.clone()).unwrap();
        assert!(sent.starts_with("DKIM-Signature: "), "{sent:.300}");
        assert_eq!(signed_by(&sent), ["a.test", "esp.test"]);
        // What a signature says is there once is not left to others to add.
        assert!(sent.contains("\r\nDate: ") && sent.contains("\r\nMessage-ID: "));
        assert!(sent.trim_end().ends_with(body.trim_end()));
        assert_eq!(
            stage.verifier.verify(sent.as_bytes()).await,
            ["pass", "pass"]
        );
        stage.sink.clear();
    }
    assert_eq!(stage.metric("skein_dkim_signatures_total").await, 8.0);
    assert_eq!(stage.metric("skein_dkim_unsigned_refused_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_as_a_domain_of_another_tenant() {
    let stage = stage().await;
    let (code, text) = stage.hand_in(&message("b.test", "x\r\n")).await;
    assert_eq!(code, 550, "{text}");
    assert!(
        text.contains("5.7.1") && text.contains("another tenant"),
        "{text}"
    );
    let sender = "From: ann@a.test\r\nSender: bob@sub.b.test\r\n\r\nx\r\n";
    assert_eq!(stage.hand_in(sender).await.0, 550);
    let two = "From: ann@a.test\r\nFrom: bob@b.test\r\n\r\nx\r\n";
    assert_eq!(stage.hand_in(two).await.0, 550);
    assert!(stage.metric("skein_smtp_in_senders_refused_total").await >= 2.0);
    // A domain that is nobody's has the operator's signature alone.
    let (code, text) = stage.hand_in(&message("c.test", "x\r\n")).await;
    assert_eq!(code, 250, "{text}");
    stage.comes_out("c.test", &["esp.test"]).await;
    assert!(
        stage.sink.records().is_empty(),
        "what was refused was stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_its_key_and_never_goes_unsigned() {
    let mut stage = stage().await;
    let mail = message("a.test", "x\r\n");
    assert_eq!(stage.hand_in(&mail).await.0, 250);
    stage.comes_out("a.test", &["a.test", "esp.test"]).await;

    // Its record is gone from the DNS.
    stage.leader.change(|said| {
        let domain = said.domains.get_mut("a.test").unwrap();
        domain.waits_for = "sk1._domainkey.a.test is not published".into();
    });
    let text = stage.is_answered(&mail, 451).await;
    assert!(
        text.contains("4.7.5") && text.contains("is not published"),
        "{text}"
    );
    assert_eq!(stage.hand_in(&message("c.test", "x\r\n")).await.0, 250);
    stage.comes_out("c.test", &["esp.test"]).await;
    stage.leader.change(|said| {
        said.domains.get_mut("a.test").unwrap().waits_for.clear();
    });
    stage.is_answered(&mail, 250).await;
    stage.comes_out("a.test", &["a.test", "esp.test"]).await;

    // The node has another key-encryption key.
    std::fs::write(&stage.key_file, kek(2)).unwrap();
    stage.sender.node.as_mut().unwrap().hang_up().unwrap();
    let text = stage.is_answered(&mail, 451).await;
    assert!(
        text.contains("4.7.5") && text.contains("does not have"),
        "{text}"
    );
    std::fs::write(&stage.key_file, kek(1)).unwrap();
    stage.sender.node.as_mut().unwrap().hang_up().unwrap();
    stage.is_answered(&mail, 250).await;
    stage.comes_out("a.test", &["a.test", "esp.test"]).await;

    // What is known is used while nobody answers; what is not is waited for.
    stage.leader.set_silent(true);
    assert_eq!(stage.hand_in(&mail).await.0, 250);
    stage.comes_out("a.test", &["a.test", "esp.test"]).await;
    let (code, text) = stage.hand_in(&message("d.test", "x\r\n")).await;
    assert!(code == 451 && text.contains("4.7.5"), "{code} {text}");
    assert!(stage.metric("skein_dkim_unsigned_refused_total").await >= 3.0);
}
