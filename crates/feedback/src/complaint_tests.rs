use std::fs;

use proptest::prelude::*;
use skein_attribution::{Key, Purpose, TenantHash, Token};
use skein_mail::encode::Encoding;
use skein_model::MessageId;

use super::*;

const NOW: UnixMs = UnixMs(1_764_547_200_000);

fn keys() -> Keys {
    Keys::new(vec![Key::new(1, UnixMs(0), &[5; 32])]).expect("a ring")
}

fn token() -> Token {
    Token {
        tenant: TenantHash::of("acme"),
        message: MessageId(*b"0123456789abcdef"),
        recipient: 2,
    }
}

/// A file of the corpus with CRLF. `{LOCAL}` and `{URL}` stand for the two spellings of a token, `{BASE64:...}` for a text in which
/// `URL` does.
fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/corpus/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path)
        .expect(&path)
        .replace('\n', "\r\n");
    let signed = |purpose| keys().sign(purpose, &token(), NOW);
    let url = signed(Purpose::Reference).to_string();
    let mut text = text
        .replace("{LOCAL}", &signed(Purpose::ReturnPath).local_part())
        .replace("{URL}", &url);
    if let Some((before, rest)) = text.split_once("{BASE64:") {
        let (content, after) = rest.split_once('}').expect("an end");
        let mut encoded = Vec::new();
        let content = format!("{}\r\n\r\n", content.replace("URL", &url));
        Encoding::Base64.encode(content.as_bytes(), false, &mut encoded);
        let encoded = String::from_utf8(encoded).expect("ASCII");
        text = format!("{before}{encoded}{after}");
    }
    text.into_bytes()
}

struct Expected {
    kind: Kind,
    word: &'static str,
    agent: Option<&'static str>,
    recipients: &'static [&'static str],
    source: Option<&'static str>,
    arrival_s: Option<u64>,
    domains: &'static [&'static str],
    incidents: u32,
    /// Where the token is that attributes it.
    place: Option<Place>,
}

const NOTHING: Expected = Expected {
    kind: Kind::Abuse,
    word: "abuse",
    agent: Some("Provider/1.0"),
    recipients: &[],
    source: None,
    arrival_s: None,
    domains: &[],
    incidents: 1,
    place: None,
};

fn check(name: &str, expected: &Expected) {
    let complaint = read(&sample(name)).expect(name);
    assert_eq!(complaint.kind, expected.kind, "{name}");
    assert_eq!(complaint.word, expected.word, "{name}");
    assert_eq!(complaint.user_agent.as_deref(), expected.agent, "{name}");
    assert_eq!(complaint.original_rcpt_to, expected.recipients, "{name}");
    let source = complaint.source_ip.map(|ip| ip.to_string());
    assert_eq!(source.as_deref(), expected.source, "{name}");
    let arrival = complaint.arrival.map(|at| at.0 / 1000);
    assert_eq!(arrival, expected.arrival_s, "{name}");
    assert_eq!(complaint.reported_domains, expected.domains, "{name}");
    assert_eq!(complaint.incidents, expected.incidents, "{name}");
    assert_eq!(
        complaint.tokens.first().map(|one| one.place),
        expected.place,
        "{name}"
    );
    let attributed = complaint.attribute(&keys(), NOW).map(|it| it.token);
    let wanted = expected
        .place
        .map_or(Err(Refused::Malformed), |_| Ok(token()));
    assert_eq!(attributed, wanted, "{name}");
}

#[test]
fn reports_of_all_sources_are_read() {
    check(
        "yahoo",
        &Expected {
            agent: Some("Yahoo!-Mail-Feedback/2.0"),
            recipients: &["someone@yahoo.com"],
            arrival_s: Some(1_762_250_280),
            domains: &["example.com"],
            place: Some(Place::ReturnPath),
            ..NOTHING
        },
    );
    check(
        "jmrp-2026",
        &Expected {
            agent: Some("JMRP/2.0"),
            source: Some("192.0.2.1"),
            arrival_s: Some(1_782_896_400),
            place: Some(Place::Reference),
            ..NOTHING
        },
    );
    check(
        "jmrp-old",
        &Expected {
            word: "",
            agent: None,
            recipients: &["someone@hotmail.com"],
            place: Some(Place::ReturnPath),
            ..NOTHING
        },
    );
    check(
        "comcast",
        &Expected {
            agent: Some("ReturnPathFBL/2.0"),
            recipients: &["one@comcast.net", "two@comcast.net"],
            source: Some("192.0.2.1"),
            arrival_s: Some(1_762_268_280),
            domains: &["example.com", "example.net"],
            incidents: 3,
            place: Some(Place::MessageId),
            ..NOTHING
        },
    );
    check(
        "opt-out",
        &Expected {
            kind: Kind::OptOut,
            word: "opt-out",
            place: Some(Place::ReturnPath),
            ..NOTHING
        },
    );
    check(
        "not-spam",
        &Expected {
            kind: Kind::NotSpam,
            word: "Not-Spam",
            place: Some(Place::ListUnsubscribe),
            ..NOTHING
        },
    );
    check(
        "auth-failure",
        &Expected {
            kind: Kind::AuthFailure,
            word: "auth-failure",
            source: Some("2001:db8::1"),
            domains: &["example.com"],
            ..NOTHING
        },
    );
    check(
        "unknown-type",
        &Expected {
            kind: Kind::Other,
            word: "did-not-like-it",
            place: Some(Place::Text),
            ..NOTHING
        },
    );
    check(
        "missing-type",
        &Expected {
            kind: Kind::Other,
            word: "",
            recipients: &["someone@provider.example"],
            place: Some(Place::ReturnPath),
            ..NOTHING
        },
    );
    check(
        "apple",
        &Expected {
            kind: Kind::OptOut,
            word: "X-Apple-Unsubscribe",
            agent: None,
            place: Some(Place::Report),
            ..NOTHING
        },
    );
}

#[test]
fn other_mail_is_no_complaint() {
    assert_eq!(read(&sample("no-report")), None);
    for other in ["", "\r\n", "Subject: x\r\n\r\nFeedback-Type: abuse\r\n"] {
        assert_eq!(read(other.as_bytes()), None, "{other:?}");
    }
}

#[test]
fn words_of_kinds_are_known_in_any_case() {
    for (word, kind) in [
        ("abuse", Kind::Abuse),
        ("ABUSE", Kind::Abuse),
        ("fraud", Kind::Fraud),
        ("virus", Kind::Virus),
        ("not-spam", Kind::NotSpam),
        ("auth-failure", Kind::AuthFailure),
        ("opt-out", Kind::OptOut),
        ("opt-out-list", Kind::OptOutList),
        ("miscategorized", Kind::Miscategorized),
        ("other", Kind::Other),
        ("", Kind::Other),
        ("abuse; x", Kind::Other),
    ] {
        assert_eq!(Kind::of(word), kind, "{word}");
    }
}

/// A forged token in a trusted place does not hide a true one.
#[test]
fn forged_tokens_are_passed_over() {
    let text = String::from_utf8(sample("jmrp-2026")).expect("UTF-8");
    let others = Keys::new(vec![Key::new(1, UnixMs(0), &[6; 32])]).expect("a ring");
    let forged = others.sign(Purpose::Reference, &token(), NOW);
    let text = text.replace(
        "X-Skein-Ref:",
        &format!("X-Skein-Ref: {forged}\r\nX-Skein-Ref:"),
    );
    let complaint = read(text.as_bytes()).expect("a complaint");
    assert_eq!(complaint.tokens.len(), 2);
    let attributed = complaint.attribute(&keys(), NOW).map(|it| it.token);
    assert_eq!(attributed, Ok(token()));
    let only = complaint.attribute(&others, NOW);
    assert_eq!(
        only.map(|it| it.token),
        Ok(token()),
        "each ring knows its own"
    );
}

#[test]
fn what_is_kept_is_bounded() {
    let rows = "Original-Rcpt-To: a@e.test\r\nReported-Domain: e.test\r\n".repeat(10_000);
    let long = "x".repeat(100_000);
    let many: String = (0..200u16)
        .map(|recipient| {
            keys().sign(
                Purpose::Reference,
                &Token {
                    recipient,
                    ..token()
                },
                NOW,
            )
        })
        .map(|signed| format!("X-Skein-Ref: {signed}\r\n"))
        .collect();
    let message = format!(
        "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: {long}\r\n{rows}\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{many}\r\n--b--\r\n"
    );
    let complaint = read(message.as_bytes()).expect("a complaint");
    assert_eq!(complaint.word.len(), 255);
    assert!(complaint.reported_domains.len() <= NAMES_MAX);
    assert!(complaint.original_rcpt_to.len() <= NAMES_MAX);
    assert_eq!(complaint.tokens.len(), crate::TOKENS_MAX);
}

fn all_samples() -> Vec<Vec<u8>> {
    let names = [
        "yahoo",
        "jmrp-2026",
        "jmrp-old",
        "comcast",
        "opt-out",
        "not-spam",
        "auth-failure",
        "apple",
    ];
    names.map(sample).to_vec()
}

proptest! {
    /// Cut, with octets changed, and with parts of another one.
    #[test]
    fn any_message_is_read_or_not(which in 0..8usize, other in 0..8usize, at: prop::sample::Index, to: prop::sample::Index, octets in prop::collection::vec(any::<u8>(), 0..20)) {
        let samples = all_samples();
        let (one, other) = (&samples[which], &samples[other]);
        let mut message = one[..at.index(one.len())].to_vec();
        message.extend_from_slice(&octets);
        message.extend_from_slice(&other[to.index(other.len())..]);
        if let Some(complaint) = read(&message) {
            prop_assert!(complaint.tokens.len() <= crate::TOKENS_MAX);
            let _ = complaint.attribute(&keys(), NOW);
        }
        let _ = read(&octets);
    }
}

#[test]
fn octets_never_panic() {
    bolero::check!().for_each(|octets: &[u8]| {
        let _ = read(octets);
        let _ = of_fields(octets);
    });
}
