//! Signatures of a corpus of messages after two hops, of which the second one is by a real Postfix.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::fleet::Fleet;

#[path = "../../../crates/dkim/tests/verified/corpus.rs"]
mod corpus;

use super::{fleet_of, publish, until_active, verified};
use crate::postfix::Postfix;
use corpus::Message;

/// Of the corpus.
const DOMAIN: &str = "example.com";
/// Postfix breaks lines that are longer (RFC 5321 4.5.3.1.6, without the line end).
const LINE_MAX: usize = 998;
const ARRIVE: Duration = Duration::from_secs(240);

/// A sender that signs, whose smarthost is a Postfix, which hands all on to a sink.
struct Hops {
    fleet: Fleet,
    postfix: Postfix,
    sink: Sink,
    records: Value,
}

impl Hops {
    async fn start(folder: &Path, settings: &str) -> Self {
        let sink = SinkConfig::at(([127, 0, 0, 1], 0).into());
        let sink = Sink::start(sink).await.unwrap();
        let relay = format!(
            "relayhost = [127.0.0.1]:{}\nsmtpd_recipient_restrictions = permit_mynetworks, reject\n\
             virtual_mailbox_domains =\n{settings}",
            sink.address().port()
        );
        let postfix = Postfix::start_with(&relay, |_| {});
        let fleet = fleet_of(folder, 1, 1, Some(postfix.address)).await;
        let added = fleet.ask(&["domain", "add", DOMAIN, "--tenant", "default"]);
        let added = added.unwrap();
        publish(&fleet, &added);
        let args = ["domain", "check", DOMAIN, "--wait", "--timeout", "60s"];
        let checked = fleet.try_skeinctl(0, &args).unwrap();
        assert!(checked.status.success(), "{checked:?}");
        until_active(&fleet, DOMAIN, "sk1").await;
        Self {
            fleet,
            postfix,
            sink,
            records: added["records"].clone(),
        }
    }

    /// What the verifiers find wrong after both hops, and how many messages they looked at.
    async fn faults(&self, messages: &[Message]) -> (Vec<String>, usize) {
        let given = messages.iter().enumerate().map(|(number, message)| {
            let id = format!("{number:03}");
            let field = format!("X-Test-Id: {id}\r\n");
            let (header, body) = (&message.header[..], &message.body[..]);
            let data = [field.as_bytes(), header, b"\r\n", body].concat();
            Injected::given(&id, "jack@example.com", vec!["a@example.org".into()], &data)
        });
        let injector = Injector::new(InjectorConfig::to(self.fleet.senders[0].smtp));
        let offered = injector.offer(given.collect()).await;
        let refused: Vec<_> = offered.iter().filter(|one| !one.acked()).collect();
        assert!(refused.is_empty(), "{refused:?}");
        let arrived = |_: &Fleet| (self.sink.accepted() as usize >= messages.len()).then_some(());
        let waited = self.fleet.until("the mail", ARRIVE, arrived).await;
        waited.unwrap_or_else(|error| panic!("{error}: {}", self.postfix.log()));
        let arrived = self.sink.records().into_iter().map(|record| {
            let text = String::from_utf8_lossy(&record.message);
            let (_, id) = text.split_once("X-Test-Id: ").unwrap();
            (id[..3].to_owned(), record.message.to_vec())
        });
        let arrived: Vec<_> = arrived.collect();
        let said = verified(&arrived, &self.records);
        let faults = said.lines().filter_map(|line| {
            let number: usize = line[..3].parse().unwrap();
            (!line.ends_with(" pass")).then(|| format!("{}: {line}", messages[number].name))
        });
        (faults.collect(), said.lines().count() / 2)
    }
}

fn lines(message: &Message) -> impl Iterator<Item = &[u8]> {
    let all = [&message.header[..], &message.body[..]];
    all.into_iter()
        .flat_map(|part| part.split(|octet| *octet == b'\n'))
}

fn has_usual_lines(message: &Message) -> bool {
    lines(message).all(|line| line.len() <= LINE_MAX + 1)
}

fn is_7_bit(message: &Message) -> bool {
    message.header.is_ascii() && message.body.is_ascii()
}

/// As Postfix is: what it would break is in the next test.
#[tokio::test(flavor = "multi_thread")]
async fn others_verify_the_corpus_after_postfix() {
    let folder = tempfile::tempdir().unwrap();
    let hops = Hops::start(folder.path(), "").await;
    let mut messages = corpus::messages();
    messages.retain(has_usual_lines);
    let (faults, count) = hops.faults(&messages).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(count, messages.len());
    assert!(count >= 250, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_verify_long_lines_after_a_postfix_that_leaves_them() {
    let folder = tempfile::tempdir().unwrap();
    let hops = Hops::start(folder.path(), "smtp_line_length_limit = 0\n").await;
    let mut messages = corpus::messages();
    messages.retain(|message| !has_usual_lines(message));
    let (faults, count) = hops.faults(&messages).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(count, messages.len());
    assert!(count >= 30, "{count}");
}

/// What is 7-bit goes through it unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn others_verify_7_bit_mail_after_a_postfix_without_8bitmime() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "smtpd_discard_ehlo_keywords = 8bitmime\n";
    let hops = Hops::start(folder.path(), settings).await;
    let mut messages = corpus::messages();
    messages.retain(|message| has_usual_lines(message) && is_7_bit(message));
    let (faults, count) = hops.faults(&messages).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(count, messages.len());
    assert!(count >= 150, "{count}");
}
