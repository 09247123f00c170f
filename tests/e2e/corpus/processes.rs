//! The same through a node: in by DATA and by BDAT, out to sixteen hosts, and reports for what they cannot take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use skein_testkit::load::Probe;
use skein_testkit::sink::{Extensions, Record, Sink};
use skein_tests::corpus::{self, Sample};

use super::{Offer, fault};
use crate::delivery::World;

/// Until everything has arrived or is reported, on a machine with two busy cores.
const WITHIN: Duration = Duration::from_secs(240);
/// Clients at a time.
const CLIENTS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Data,
    Bdat,
}

/// A message that was offered to the node.
struct Offered {
    number: usize,
    verb: Verb,
    sample: Sample,
    /// The reply to the whole message or to what was refused before.
    code: u16,
}

async fn offer(smtp: std::net::SocketAddr, number: usize, verb: Verb, sample: Sample) -> Offered {
    let (mut probe, _) = Probe::greet(smtp).await.unwrap();
    let bytes = &sample.bytes;
    let mut mail = format!("MAIL FROM:<m{number}@here.test>");
    if !bytes.is_ascii() {
        mail.push_str(" BODY=8BITMIME");
    }
    if skein_mail::content::Content::of(bytes).has_8bit_header {
        mail.push_str(" SMTPUTF8");
    }
    assert_eq!(probe.cmd(&mail).await.unwrap().code, 250, "{mail}");
    for host in 0..16 {
        let line = format!("RCPT TO:<r{number}@h{host}.test>");
        assert_eq!(probe.cmd(&line).await.unwrap().code, 250, "{line}");
    }
    match verb {
        Verb::Data => {
            assert_eq!(probe.cmd("DATA").await.unwrap().code, 354);
            probe.send(&stuffed(bytes)).await.unwrap();
        }
        Verb::Bdat => {
            let command = format!("BDAT {} LAST\r\n", bytes.len());
            probe.send(command.as_bytes()).await.unwrap();
            probe.send(bytes).await.unwrap();
        }
    }
    let code = probe.reply().await.unwrap().code;
    Offered {
        number,
        verb,
        sample,
        code,
    }
}

/// As a client does that knows lines by CRLF alone.
fn stuffed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    let mut at_start = true;
    for (at, byte) in bytes.iter().enumerate() {
        if at_start && *byte == b'.' {
            out.push(b'.');
        }
        out.push(*byte);
        at_start = bytes[..=at].ends_with(b"\r\n");
    }
    if !bytes.is_empty() && !bytes.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// By recipient: the message of each host, or that its sender was told.
#[derive(Default)]
struct Seen {
    received: BTreeMap<String, Arc<Record>>,
    reported: BTreeSet<String>,
}

impl Seen {
    fn look(sinks: &[Sink], here: &Sink) -> Self {
        let mut seen = Self::default();
        for record in sinks.iter().flat_map(Sink::records) {
            for to in record.delivered_to().map(str::to_owned).collect::<Vec<_>>() {
                let twice = seen.received.insert(to, record.clone());
                assert!(twice.is_none(), "a host got {record:?} twice");
            }
        }
        for record in here.records() {
            assert!(record.message.is_ascii(), "a report has 8-bit octets");
            let text = String::from_utf8_lossy(&record.message);
            let failed = text.split("Final-Recipient: rfc822; ").skip(1);
            for one in failed.filter(|one| one.contains("Action: failed\r\n")) {
                seen.reported
                    .extend(one.split("\r\n").next().map(str::to_owned));
            }
        }
        seen
    }

    fn has(&self, recipient: &str) -> bool {
        self.received.contains_key(recipient) || self.reported.contains(recipient)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_all_kinds_reach_hosts_of_all_kinds() {
    let mut world = World::new().await;
    let mut sinks = Vec::new();
    for (number, offer) in Offer::all().enumerate() {
        let mut config = world.sink_config(20 + u8::try_from(number).unwrap());
        config.extensions = Extensions {
            pipelining: offer.pipelining,
            eight_bit_mime: offer.eight_bit_mime,
            smtp_utf8: offer.smtputf8,
            chunking: offer.chunking,
            starttls: false,
            ..Extensions::default()
        };
        sinks.push(world.sink_of(config, &format!("h{number}.test")).await);
    }
    world.start("", "").await;
    let samples = corpus::collected().unwrap().into_iter();
    let samples = samples.chain(corpus::generated(4711, 100));
    let both = samples.flat_map(|sample| [(Verb::Data, sample.clone()), (Verb::Bdat, sample)]);
    let smtp = world.smtp();
    let offered: Vec<Offered> = stream::iter(both.enumerate())
        .map(|(number, (verb, sample))| offer(smtp, number, verb, sample))
        .buffer_unordered(CLIENTS)
        .collect()
        .await;
    let accepted: Vec<&Offered> = offered.iter().filter(|one| one.code == 250).collect();
    for one in offered.iter().filter(|one| one.code != 250) {
        let name = &one.sample.name;
        assert!(
            corpus::has_bare(&one.sample.bytes),
            "{name} by {:?}: {}",
            one.verb,
            one.code
        );
        assert_eq!(one.code, 550, "{name} by {:?}", one.verb);
    }
    let all: Vec<String> = accepted
        .iter()
        .flat_map(|one| (0..16).map(|host| format!("r{}@h{host}.test", one.number)))
        .collect();
    let settled = skein_tests::until("all messages", WITHIN, Duration::from_secs(2), || {
        let seen = Seen::look(&sinks, world.here());
        all.iter()
            .all(|recipient| seen.has(recipient))
            .then_some(seen)
    });
    let seen = match settled.await {
        Ok(seen) => seen,
        Err(error) => {
            let seen = Seen::look(&sinks, world.here());
            let lost: Vec<_> = all
                .iter()
                .filter(|recipient| !seen.has(recipient))
                .collect();
            panic!(
                "{error}: {} of {} are lost: {:?}",
                lost.len(),
                all.len(),
                &lost[..lost.len().min(20)]
            );
        }
    };
    for one in &accepted {
        check(one, &seen);
    }
    let reported = seen.reported.len();
    println!(
        "{} offered, {} accepted, {reported} recipients reported",
        offered.len(),
        accepted.len()
    );
}

fn check(one: &Offered, seen: &Seen) {
    let name = &one.sample.name;
    let whole = corpus::with_crlf(&one.sample.bytes);
    // The host that offers everything has what is stored.
    let full = seen.received.get(&format!("r{}@h15.test", one.number));
    let stored = full.map(|record| record.message.as_slice());
    if let Some(stored) = stored {
        assert!(stored.starts_with(b"Received: "), "{name}");
        let is_same = stored.ends_with(&whole)
            || stored
                .strip_suffix(b"\r\n")
                .is_some_and(|stored| stored.ends_with(&whole));
        assert!(
            is_same,
            "{name} by {:?} was changed:\n{}\nbecame\n{}",
            one.verb,
            whole.escape_ascii(),
            stored.escape_ascii()
        );
    }
    for (number, offer) in Offer::all().enumerate() {
        let recipient = format!("r{}@h{number}.test", one.number);
        match (seen.received.get(&recipient), stored) {
            (Some(record), Some(stored)) => {
                assert!(
                    !seen.reported.contains(&recipient),
                    "{recipient} is told of as well"
                );
                let fault = fault(stored, &record.message, offer);
                assert_eq!(fault, None, "{name} by {:?} to {offer:?}", one.verb);
            }
            (Some(_), None) => {
                panic!("{name}: {offer:?} got what the host with everything did not")
            }
            (None, _) => assert!(seen.reported.contains(&recipient), "{recipient} is lost"),
        }
    }
}
