//! The decisions and the codec of a sender without its sockets: any stored message to a host that takes nothing that it
//! did not offer.

use std::collections::{BTreeMap, VecDeque};

use skein_client::LeasedTask;
use skein_mail::content::Content;
use skein_model::mail::{BodyRef, BodyType};
use skein_model::spool::{MessageRow, TaskRow};
use skein_model::{
    Domain, Envelope, Epoch, GroupId, MessageId, Notify, Priority, Recipient, SessionId, Slot,
    TaskId, UnixMs,
};
use skein_sender::outgoing::{Rewrite, outgoing};
use skein_smtp::client::{CannotSend, Capabilities, Next, Transaction};
use skein_smtp::reply::Reply;
use skein_smtp::stuff::{BodyWriter, Framing};
use skein_tests::corpus::{self, Sample};

use super::{Offer, fault};

fn capabilities(offer: Offer) -> Capabilities {
    Capabilities {
        eight_bit_mime: offer.eight_bit_mime,
        smtputf8: offer.smtputf8,
        chunking: offer.chunking,
        pipelining: offer.pipelining,
        ..Capabilities::default()
    }
}

fn task(declares_utf8: bool) -> LeasedTask {
    let recipient = |address: &str| Recipient {
        address: address.to_owned(),
        notify: Notify::default(),
        orcpt: None,
    };
    let domain = "there.test";
    LeasedTask {
        id: TaskId {
            message: MessageId::new(UnixMs(0), GroupId::FIRST_SPOOL, 7),
            number: 0,
        },
        session: SessionId(1),
        epoch: Epoch(1),
        message: MessageRow {
            envelope: Envelope {
                return_path: "a@b\u{fc}cher.test".into(),
                body_type: BodyType::EightBit,
                smtputf8: declares_utf8,
                require_tls: false,
                ret: None,
                envid: None,
                tenant: "default".into(),
                pool: "default".into(),
                client: None,
                traceparent: None,
                campaign: None,
                tls_optional: false,
                priority: Priority::Bulk,
            },
            body: BodyRef {
                bytes: 0,
                crc32c: 0,
                acks: Vec::new(),
                prefix_bytes: None,
            },
            accepted_at: UnixMs(0),
            open_tasks: 1,
            finished_at: None,
            is_counted: None,
        },
        task: TaskRow {
            domain: Domain::new(domain),
            slot: Slot::of(domain, 0),
            recipients: vec![
                (0, recipient("b@there.test")),
                (1, recipient("c@there.test")),
            ],
            attempts: 0,
            due: UnixMs(0),
            created: UnixMs(0),
            last_reply: None,
            delay_notified: false,
            site: None,
            moves: 0,
            pool: None,
            absences: 0,
            awaits_host: false,
            created_in: None,
            return_path: None,
        },
        body: None,
    }
}

/// The host: it reads what is written and takes nothing that it did not offer.
struct Host {
    offer: Offer,
    replies: VecDeque<u16>,
    /// The octets that BDAT announced.
    counted: Option<usize>,
}

impl Host {
    fn commands(&mut self, written: &[u8]) {
        let text = std::str::from_utf8(written).expect("commands are text");
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert!(
            self.offer.pipelining || lines.len() <= 1,
            "{lines:?} at once"
        );
        for line in lines {
            let has = |word: &str| line.split(' ').any(|one| one == word);
            assert!(self.offer.eight_bit_mime || !has("BODY=8BITMIME"), "{line}");
            assert!(self.offer.smtputf8 || !has("SMTPUTF8"), "{line}");
            assert!(self.offer.smtputf8 || line.is_ascii(), "{line}");
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            match verb {
                "MAIL" | "RCPT" => self.replies.push_back(250),
                "DATA" => self.replies.push_back(354),
                "BDAT" => {
                    assert!(self.offer.chunking, "{line}");
                    let count = line.split(' ').nth(1).and_then(|count| count.parse().ok());
                    self.counted = Some(count.expect("a count"));
                }
                _ => panic!("the host does not know {line}"),
            }
        }
    }

    /// Takes the body off its framing.
    fn body(&self, written: &[u8], framing: Framing) -> Vec<u8> {
        match framing {
            Framing::Counted => {
                assert_eq!(
                    self.counted,
                    Some(written.len()),
                    "BDAT announced another count"
                );
                written.to_vec()
            }
            Framing::Dotted => {
                unstuff(written).expect("the body ends with its dot and nowhere else")
            }
        }
    }
}

fn unstuff(written: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(written.len());
    let mut rest = written;
    loop {
        if rest == b".\r\n" {
            return Some(body);
        }
        if rest.starts_with(b".\r\n") {
            return None;
        }
        let line = rest.strip_prefix(b".").unwrap_or(rest);
        let end = line.windows(2).position(|two| two == b"\r\n")? + 2;
        body.extend_from_slice(&line[..end]);
        rest = &line[end..];
    }
}

/// What the host gets, or why it gets nothing.
fn send(stored: &[u8], declares_utf8: bool, offer: Offer) -> Result<Vec<u8>, CannotSend> {
    let capabilities = capabilities(offer);
    let rewrite = Rewrite::of(&Content::of(stored), declares_utf8, &capabilities)?;
    let made = match rewrite.is_needed() {
        true => rewrite.apply(stored)?,
        false => stored.to_vec(),
    };
    let message = outgoing(&task(declares_utf8), &Content::of(&made), &capabilities);
    let mut transaction = Transaction::new(&capabilities, &message)?;
    let mut host = Host {
        offer,
        replies: VecDeque::new(),
        counted: None,
    };
    let mut received = None;
    let mut out = Vec::new();
    loop {
        let next = transaction.poll(&mut out);
        host.commands(&std::mem::take(&mut out));
        match next {
            Next::NeedReply(_) => {
                let code = host.replies.pop_front().expect("a reply for each command");
                transaction.on_reply(Reply::plain(code, "ok"));
            }
            Next::SendBody(framing) => {
                let mut writer = BodyWriter::new(framing);
                for chunk in made.chunks(7 + made.len() / 3) {
                    writer.push(chunk, &mut out).expect("it was mended");
                }
                writer.finish(&mut out).expect("it was mended");
                received = Some(host.body(&std::mem::take(&mut out), framing));
                transaction.final_dot();
                host.replies.push_back(250);
            }
            Next::Done => break,
        }
    }
    let outcome = transaction.outcome();
    assert!(
        outcome
            .recipients
            .iter()
            .all(|one| one.class == skein_smtp::reply_class::ReplyClass::Delivered)
    );
    Ok(received.expect("a body"))
}

/// A refusal says what is wrong, and it is.
fn is_right(refused: &CannotSend, stored: &[u8], declares_utf8: bool, offer: Offer) -> bool {
    let content = Content::of(stored);
    match refused.enhanced.to_string().as_str() {
        "5.6.11" => content.has_bare_line_end && skein_mail::seven_bit::is_signed(stored),
        "5.6.3" => content.has_8bit && !offer.eight_bit_mime,
        "5.6.7" => content.has_8bit_header && declares_utf8 && !offer.smtputf8,
        _ => false,
    }
}

#[test]
fn what_is_stored_goes_out_right_or_is_refused_clearly() {
    let seed = 17;
    let samples = corpus::collected().unwrap().into_iter();
    let samples = samples.chain(corpus::generated(seed, 10_000));
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let (mut sent, mut changed) = (0, 0);
    for Sample { name, bytes } in samples {
        let declares_utf8 = Content::of(&bytes).has_8bit_header;
        for offer in Offer::all() {
            match send(&bytes, declares_utf8, offer) {
                Ok(received) => {
                    sent += 1;
                    changed += usize::from(!received.starts_with(&bytes));
                    let fault = fault(&bytes, &received, offer);
                    assert_eq!(
                        fault,
                        None,
                        "{name} to {offer:?}:\n{}\nbecame\n{}",
                        bytes.escape_ascii(),
                        received.escape_ascii()
                    );
                }
                Err(reason) => {
                    assert!(
                        is_right(&reason, &bytes, declares_utf8, offer),
                        "{name} to {offer:?}: {reason}"
                    );
                    *refused.entry(reason.text).or_default() += 1;
                }
            }
        }
    }
    println!("{sent} sent, {changed} of them in another form, refused: {refused:#?}");
    assert!(changed > 1000, "{changed} were changed");
}
