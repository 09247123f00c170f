#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::sync::LazyLock;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::fold::TEXT_BYTES_MAX;

/// The messages of the corpus.
static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = format!("{}/corpus/messages", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
});

/// Whatever the octets, what is kept of them is bounded.
fn check(octets: &[u8]) {
    let found = read(octets);
    assert!(found.recipients.len() <= status::RECIPIENTS_MAX);
    assert!(found.returned.header.len() <= 64 << 10);
    for one in &found.recipients {
        assert!(one.diagnostic.len() <= TEXT_BYTES_MAX);
        assert!(one.address.is_empty() || one.address.contains('@'));
    }
}

#[test]
fn an_empty_message_is_nothing() {
    let found = read(b"");
    assert_eq!((found.kind, found.recipients.len()), (Kind::Other, 0));
}

#[test]
fn what_a_host_may_take_later_suppresses_nobody() {
    use skein_model::bounce::Suppression;
    for (status, diagnostic, suppression) in [
        ("5.1.1", "smtp; 550 5.1.1 unknown", Suppression::AtOnce),
        ("5.1.1", "smtp; 450 4.1.1 unknown", Suppression::Never),
        ("5.1.1", "smtp; 450 unknown", Suppression::Never),
        ("4.1.1", "unknown user", Suppression::Never),
        ("5.1.1", "unknown user", Suppression::AtOnce),
        (
            "5.1.1",
            "smtp; 550 blocked using zen.spamhaus.org",
            Suppression::Never,
        ),
    ] {
        let report = format!(
            "Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.net\nAction: failed\nStatus: {status}\nDiagnostic-Code: {diagnostic}\n"
        );
        let found = read(report.as_bytes());
        assert_eq!(
            found.recipients[0].classified.suppresses(),
            suppression,
            "{status} {diagnostic}"
        );
    }
}

#[test]
fn the_alias_of_a_recipient_is_told() {
    let report = "From: MAILER-DAEMON@b.net\n\nThis is the mail system at host b.net.\n\n<a@b.net> (expanded from <list@b.net>): unknown user: \"a\"\n";
    let found = read(report.as_bytes());
    let one = &found.recipients[0];
    assert_eq!(
        (one.address.as_str(), one.original.as_deref()),
        ("a@b.net", Some("list@b.net"))
    );
}

#[test]
fn the_host_that_refused_is_the_hint() {
    let report = "Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.net\nAction: failed\nStatus: 5.0.0\nRemote-MTA: dns; b-net.mail.protection.outlook.com\nDiagnostic-Code: smtp; 550 5.7.606 denied\n";
    let found = read(report.as_bytes());
    assert_eq!(found.recipients[0].classified.class, Class::BlockIp);
    assert_eq!(
        found.recipients[0].remote_mta.as_deref(),
        Some("b-net.mail.protection.outlook.com")
    );
}

#[test]
fn what_was_sent_to_is_told_in_order() {
    let found = read(b"Delivered-To: b-one@example.com\nTo: Two <b-two@example.com>, b-one@example.com\nSubject: Re: x\n\nhello\n");
    assert_eq!(
        found.returned.to,
        ["b-one@example.com", "b-two@example.com"]
    );
}

/// Messages that would cost much if anything of them were gone over again for each of its parts.
#[test]
fn no_message_costs_more_than_its_octets() {
    let nested: String = (0..2000)
        .map(|at| format!("Content-Type: multipart/mixed; boundary=b{at}\n\n--b{at}\n"))
        .collect();
    let report = "From: MAILER-DAEMON@example.net\nSubject: failure notice\n\n";
    for (name, message) in [
        ("nested", nested),
        (
            "parts",
            format!(
                "Content-Type: multipart/mixed; boundary=b\n\n{}",
                "--b\n\nx\n".repeat(100_000)
            ),
        ),
        (
            "groups",
            "Content-Type: message/delivery-status\n\n".to_owned()
                + &"Final-Recipient: rfc822;a@b.net\nAction: failed\n\n".repeat(20_000),
        ),
        (
            "fields",
            "Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822;a@b.net\n".to_owned()
                + &"Diagnostic-Code: smtp;550 x\n y\n".repeat(30_000),
        ),
        (
            "addresses",
            report.to_owned()
                + "Hi. This is the qmail-send program at x.\n\n"
                + &(0..30_000)
                    .map(|at| format!("<u{at}@b.net>:\n"))
                    .collect::<String>(),
        ),
        (
            "brackets",
            report.to_owned() + "Delivery has failed to these recipients\n" + &"<".repeat(900_000),
        ),
        ("words", report.to_owned() + &"=?utf-8?Q?".repeat(90_000)),
        (
            "subject",
            format!(
                "From: mailer-daemon@x.net\nSubject: {}\n\nx",
                "=?utf-8?Q?a".repeat(80_000)
            ),
        ),
        (
            "html",
            format!(
                "From: mailer-daemon@x.net\nContent-Type: text/html\n\n{}",
                "<a &lt; ".repeat(120_000)
            ),
        ),
        (
            "json",
            format!(
                "From: mailer-daemon@x.net\n\n{}",
                "{\"a\":[".repeat(140_000)
            ),
        ),
        (
            "codes",
            report.to_owned() + &"#550 5.1.1 RESOLVER#\n".repeat(45_000),
        ),
        ("header", "To: a@b.net, \n".repeat(70_000) + "\nx"),
    ] {
        let start = Instant::now();
        check(message.as_bytes());
        let took = start.elapsed();
        assert!(took.as_secs() < 5, "{name}: {took:?}");
    }
}

proptest! {
    #[test]
    fn no_octets_are_too_much(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        check(&octets);
    }

    /// Octets changed, pieces cut out and pieces of another message put in.
    #[test]
    fn no_broken_report_is_too_much(
        (first, second) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        (from, to, at) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut octets = first.get(&CORPUS).clone();
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        let other = second.get(&CORPUS);
        let (from, to) = (from.index(other.len()), to.index(other.len()));
        let piece = other[from.min(to)..from.max(to)].to_vec();
        let at = at.index(octets.len());
        let end = (at + piece.len() / 2).min(octets.len());
        octets.splice(at..end, piece);
        check(&octets);
    }
}
