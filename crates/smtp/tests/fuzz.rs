//! Fuzz targets. `cargo test` runs each over its corpus and random inputs; the README says how to let coverage guide them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use bolero::check;
use skein_smtp::address::Address;
use skein_smtp::command::{Command, RcptPath};
use skein_smtp::line_ends::{LineEndGate, LineEnds};
use skein_smtp::receive::DataReceiver;
use skein_smtp::reply::{Reply, ReplyReceiver};
use skein_smtp::server::{Config, Event, Limits, ServerSession, Step};
use skein_smtp::stuff::{BodyWriter, Framing};

/// Words that random bytes would hardly ever form.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"\r\n.\r\n",
    b"EHLO c\r\n",
    b"MAIL FROM:",
    b"RCPT TO:",
    b"MAIL FROM:<a@b.test>\r\n",
    b"RCPT TO:<c@d.test>\r\n",
    b"DATA\r\n",
    b"BDAT 3\r\n",
    b"BDAT 4 LAST\r\n",
    b"RSET\r\n",
    b"AUTH PLAIN ",
    b"<\"a b\"@c.test>",
    b"<@hop.test:a@b.test>",
    b" SMTPUTF8",
    b" BODY=8BITMIME",
    b" NOTIFY=SUCCESS,DELAY",
    b" ORCPT=rfc822;a+40b",
    b"250-",
    b"250 2.1.0 OK\r\n",
    b"421 ",
];

/// Bytes from 0xc0 on stand for words, so that random inputs are nearly SMTP; 0xff makes the next byte literal.
fn expand(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut input = input.iter();
    while let Some(byte) = input.next() {
        match byte {
            0xff => bytes.extend(input.next()),
            0xc0.. => bytes.extend_from_slice(WORDS[usize::from(byte - 0xc0) % WORDS.len()]),
            _ => bytes.push(*byte),
        }
    }
    bytes
}

/// The first byte of an input says how it is cut, the rest is what is cut: splits are part of what is searched.
fn cut(input: &[u8]) -> (usize, Vec<u8>) {
    match input.split_first() {
        Some((size, rest)) => (usize::from(*size).max(1), expand(rest)),
        None => (1, Vec::new()),
    }
}

/// A parsed address can be written between angle brackets and read back.
fn can_be_written(address: &Address) {
    let text = address.as_str();
    assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
    assert_eq!(Address::parse(text, true).as_ref(), Ok(address));
    let line = format!("RCPT TO:<{text}>");
    let Ok(Command::Rcpt(read)) = Command::parse(line.as_bytes()) else {
        panic!("{line:?} was not read back");
    };
    assert_eq!(read.to, RcptPath::Address(address.clone()));
}

/// The corpus is found from the workspace's root, wherever the checkout was when this was built.
fn enter_workspace() {
    if let Some(dir) = std::env::var_os("CARGO_MANIFEST_DIR") {
        std::env::set_current_dir(std::path::Path::new(&dir).join("../..")).unwrap();
    }
}

#[test]
fn addresses() {
    enter_workspace();
    check!().for_each(|input: &[u8]| {
        let bytes = expand(input);
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return;
        };
        for smtputf8 in [false, true] {
            if let Ok(address) = Address::parse(text, smtputf8) {
                assert_eq!(address.as_str(), text);
                assert!(smtputf8 || address.is_ascii());
                can_be_written(&address);
                if let Some(ascii) = address.to_ascii() {
                    assert!(ascii.is_ascii());
                    assert_eq!(ascii.routing_domain(), address.routing_domain());
                }
            }
        }
    });
}

#[test]
fn commands() {
    enter_workspace();
    check!().for_each(|input: &[u8]| match Command::parse(&expand(input)) {
        Ok(Command::Mail(mail)) => {
            if let Some(address) = mail.path.address() {
                assert!(mail.smtputf8 || address.is_ascii());
                can_be_written(address);
            }
        }
        Ok(Command::Rcpt(rcpt)) => {
            if let RcptPath::Address(address) = &rcpt.to {
                can_be_written(address);
            }
        }
        Ok(Command::Ehlo(name) | Command::Helo(name)) => {
            assert!(!name.is_empty() && !name.contains(char::is_control));
        }
        Ok(_) => {}
        Err(error) => assert!(error.0.is_permanent()),
    });
}

fn replies_in(bytes: &[u8], size: usize) -> Vec<Result<Reply, String>> {
    let mut receiver = ReplyReceiver::new();
    let mut replies = Vec::new();
    for piece in bytes.chunks(size) {
        receiver.push(piece);
        loop {
            match receiver.next() {
                Ok(Some(reply)) => replies.push(Ok(reply)),
                Ok(None) => break,
                Err(error) => {
                    replies.push(Err(error.to_string()));
                    return replies;
                }
            }
        }
    }
    replies
}

#[test]
fn replies() {
    enter_workspace();
    check!().for_each(|input: &[u8]| {
        let (size, bytes) = cut(input);
        let bytes = bytes.as_slice();
        let replies = replies_in(bytes, size);
        assert_eq!(
            replies,
            replies_in(bytes, 1),
            "the split changed the result"
        );
        for reply in replies.iter().flatten() {
            assert!((200..600).contains(&reply.code));
            assert!(reply.text.chars().all(|c| c == '\n' || !c.is_control()));
            let mut written = Vec::new();
            reply.write(&mut written);
            let read = replies_in(&written, 1);
            assert_eq!(read.len(), 1, "{reply:?} was written as {written:?}");
            assert_eq!(read[0].as_ref().unwrap().code, reply.code);
        }
    });
}

/// The body as received, how many bytes it took, whether it ended, and whether a bare CR or LF refuses it.
fn receive(bytes: &[u8], size: usize, ends: LineEnds) -> (Vec<u8>, usize, bool, bool) {
    let mut receiver = DataReceiver::new();
    let mut gate = LineEndGate::new(ends);
    let (mut body, mut used, mut done, mut refused) = (Vec::new(), 0, false, false);
    for piece in bytes.chunks(size) {
        let mut octets = Vec::new();
        let (taken, is_end) = receiver.ingest(piece, &mut octets);
        used += taken;
        refused |= gate.push(octets, &mut body).is_err();
        if is_end {
            done = true;
            break;
        }
        assert_eq!(
            taken,
            piece.len(),
            "bytes were left though the body goes on"
        );
    }
    refused |= gate.finish(&mut body).is_err();
    let text = String::from_utf8_lossy(&body).replace("\r\n", "");
    assert!(!text.contains(['\r', '\n']), "a bare CR or LF was left");
    (body, used, done, refused)
}

#[test]
fn data() {
    enter_workspace();
    check!().for_each(|input: &[u8]| {
        let (size, bytes) = cut(input);
        let bytes = bytes.as_slice();
        for ends in [LineEnds::Refuse, LineEnds::Fix] {
            let result = receive(bytes, size, ends);
            assert_eq!(
                result,
                receive(bytes, 1, ends),
                "the split changed the result"
            );
            let (_, used, done, _) = &result;
            let end = bytes.windows(5).position(|five| five == b"\r\n.\r\n");
            let expected = match end {
                _ if bytes.starts_with(b".\r\n") => Some(3),
                Some(at) => Some(at + 5),
                None => None,
            };
            assert_eq!(
                done.then_some(*used),
                expected,
                "only CRLF.CRLF ends a body"
            );
        }
        // What we send is what a receiver like ours gets.
        let mut writer = BodyWriter::new(Framing::Dotted);
        let mut wire = Vec::new();
        let mut written = bytes
            .chunks(size)
            .try_for_each(|piece| writer.push(piece, &mut wire));
        written = written.and(writer.finish(&mut wire));
        let (body, used, done, bare) = receive(&wire, size, LineEnds::Refuse);
        assert!(!bare, "a bare CR or LF was written");
        assert_eq!(done, written.is_ok(), "the body ended early or not at all");
        if done {
            assert_eq!(used, wire.len(), "the body ended early");
            assert_eq!(&body[..bytes.len()], bytes);
            assert!(matches!(&body[bytes.len()..], b"" | b"\r\n"));
        }
    });
}

/// A session that agrees to everything. Returns what it wrote and the bodies that came whole.
fn converse(input: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let config = Config {
        hostname: "mx.test".into(),
        starttls: true,
        auth: true,
        scram: false,
        auth_required: false,
        line_ends: LineEnds::Refuse,
        limits: Limits {
            message_bytes: 2000,
            recipients: 3,
            ..Limits::default()
        },
    };
    let mut session = ServerSession::new(Arc::new(config), true);
    let (mut out, mut body, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    let mut written = Vec::new();
    for piece in input.chunks(size) {
        session.feed(piece.to_vec());
        loop {
            match session.step(&mut out) {
                Step::NeedInput => break,
                Step::Write => written.append(&mut out),
                Step::Close => {
                    written.append(&mut out);
                    return (written, bodies);
                }
                Step::Event(Event::Body(bytes)) => body.extend(bytes),
                Step::Event(Event::BodyAborted) => body.clear(),
                Step::Event(Event::StartTls) => panic!("STARTTLS was accepted under TLS"),
                Step::Event(Event::BodyEnd) => {
                    assert!(body.len() <= 2000, "a body beyond the limit came through");
                    bodies.push(std::mem::take(&mut body));
                    session.answer(None, &mut out);
                }
                Step::Event(_) => session.answer(None, &mut out),
            }
        }
    }
    written.append(&mut out);
    (written, bodies)
}

#[test]
fn sessions() {
    enter_workspace();
    check!().for_each(|input: &[u8]| {
        let (size, bytes) = cut(input);
        let bytes = bytes.as_slice();
        let whole = converse(bytes, size);
        assert_eq!(whole, converse(bytes, 1), "the split changed the dialogue");
        let mut receiver = ReplyReceiver::new();
        for piece in whole.0.chunks(1024) {
            receiver.push(piece);
            // 334 and 354 are replies too, so all that was written reads as replies.
            while receiver.next().unwrap().is_some() {}
        }
        assert!(
            !receiver.has_surplus(),
            "{:?}",
            String::from_utf8_lossy(&whole.0)
        );
    });
}
