//! Mail as a POST to programs: at least once, with ids; signed as others verify it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::receiver::Receiver;
use super::{Host, message, send, stranger};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn policy(receiver: &Receiver, more: &str) -> String {
    format!(
        "kind: inbound\nname: hooks\ndomains: [hosted.test]\naddresses:\n  - address: ['b+*', x, y]\n    \
         http: 'http://{}/in?a=1'\n    allow_private: true\n    {more}\n",
        receiver.address
    )
}

/// Tools of the tests that PyPI has.
pub fn python(script: &str, arguments: &[&str]) -> String {
    let tools = std::env::var_os("SKEIN_TOOLS").expect("run this test with `cargo xtask test`");
    let mut python = Command::new(Path::new(&tools).join("python/bin/python3"));
    let script = skein_tests::manifest_dir().join("e2e/inbound").join(script);
    let output = python.arg(script).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A receiver that fails half the time, each time in another way.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_half_the_time_gets_each_message_at_least_once_with_one_id() {
    const MESSAGES: usize = 100;
    let failures = [0, 500, 503, 429, 301, 408];
    let receiver = Receiver::start(move |nth| match nth % 2 {
        0 => failures[nth / 2 % failures.len()],
        _ => 202,
    });
    let receiver = receiver.await;
    let secrets = format!("signing_secret: [{SECRET}, {NEXT_SECRET}]");
    let host = Host::new(&policy(&receiver, &secrets)).await;
    let mut client = stranger(2, host.bench.smtp).await;
    for nth in 0..MESSAGES {
        let to = format!("<b+{nth}@hosted.test>");
        let text = message("a@sender.test", &format!("m{nth}"));
        let (code, said) = send(&mut client, "a@sender.test", &[&to], &text).await;
        assert_eq!(code, 250, "{said}");
    }
    let delivered = |event: &serde_json::Value| event["event"] == "delivered";
    host.events_such(MESSAGES, delivered).await;
    let got = receiver.got();
    let taken: Vec<_> = got.iter().filter(|one| one.status == 202).collect();
    let ids: BTreeSet<&str> = taken.iter().map(|one| one.field("webhook-id")).collect();
    assert_eq!((taken.len(), ids.len()), (MESSAGES, MESSAGES), "each once");
    assert!(got.len() >= MESSAGES * 3 / 2, "{}", got.len());
    let mut by_id: BTreeMap<&str, (&[u8], &str)> = BTreeMap::new();
    for one in &got {
        let what = (one.body.as_slice(), one.field("x-skein-rcpt-to"));
        let known = by_id.entry(one.field("webhook-id")).or_insert(what);
        assert_eq!(*known, what, "attempts differ");
        assert_eq!(one.path, "/in?a=1");
        assert_eq!(one.field("content-type"), "message/rfc822");
        assert_eq!(one.field("x-skein-mail-from"), "a@sender.test");
        let body = String::from_utf8_lossy(&one.body);
        assert!(
            body.starts_with("Authentication-Results: mx.skein.test;"),
            "{body}"
        );
        assert!(body.contains(&format!("Delivered-To: {}", one.field("x-skein-rcpt-to"))));
    }
    let recipients: BTreeSet<&str> = by_id.values().map(|(_, to)| *to).collect();
    assert_eq!(recipients.len(), MESSAGES);
    verify(&host, &got);
}

/// The reference implementation takes each signature, with the secret in use and with the one that follows, and no other.
fn verify(host: &Host, got: &[super::receiver::Got]) {
    let requests: Vec<_> = got
        .iter()
        .map(|one| {
            let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            let fields = names.map(|name| (name, one.field(name)));
            let body = String::from_utf8(one.body.clone()).unwrap();
            serde_json::json!({"fields": BTreeMap::from(fields), "body": body})
        })
        .collect();
    let file = host.folder.path().join("requests.json");
    std::fs::write(&file, serde_json::to_vec(&requests).unwrap()).unwrap();
    let said = python(
        "verify_webhooks.py",
        &[file.to_str().unwrap(), SECRET, NEXT_SECRET],
    );
    assert_eq!(said, format!("{} verified\n", got.len()));
}

/// A file takes the place of the secret in the policy, and a new one counts with the next request.
#[tokio::test(flavor = "multi_thread")]
async fn what_signs_may_be_in_a_file_and_nothing_goes_unsigned() {
    let receiver = Receiver::start(|_| 202).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hook");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let key = format!("signing_secret_file: {}", file.display());
    let host = Host::new(&policy(&receiver, &key)).await;
    let mut client = stranger(2, host.bench.smtp).await;
    let text = message("a@sender.test", "m");
    let mut hand_in = async || {
        let (code, said) = send(&mut client, "a@sender.test", &["<x@hosted.test>"], &text).await;
        assert_eq!(code, 250, "{said}");
    };
    let ended = |event: &serde_json::Value| event["event"] == "delivered";
    hand_in().await;
    host.events_such(1, ended).await;
    std::fs::write(&file, format!("{NEXT_SECRET}\n{SECRET}\n")).unwrap();
    hand_in().await;
    host.events_such(2, ended).await;
    let got = receiver.got();
    let signatures: Vec<_> = got
        .iter()
        .map(|one| one.field("webhook-signature"))
        .collect();
    let counts: Vec<usize> = signatures
        .iter()
        .map(|all| all.split(' ').count())
        .collect();
    assert_eq!(counts, [1, 2], "{signatures:?}");
    verify(&host, &got[1..]);

    std::fs::write(&file, "hunter2\n").unwrap();
    hand_in().await;
    let deferred = host.events_such(1, |one| one["event"] == "deferred").await;
    let deferred = deferred[0].to_string();
    assert!(deferred.contains("nothing is sent unsigned"), "{deferred}");
    assert!(!deferred.contains("hunter2"), "{deferred}");
    assert_eq!(receiver.got().len(), 2, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_refuses_fails_and_what_it_cannot_do_now_waits() {
    for (status, event, says) in [
        (200, "delivered", "HTTP 200 Said status 200"),
        (400, "bounced", "HTTP 400"),
        (404, "bounced", "HTTP 404"),
        (410, "bounced", "HTTP 410"),
        (413, "bounced", "HTTP 413"),
        (302, "deferred", "redirects are not followed"),
        (429, "deferred", "HTTP 429"),
        (503, "deferred", "HTTP 503"),
        (0, "deferred", "closed"),
    ] {
        let receiver = Receiver::start(move |_| status).await;
        let host = Host::new(&policy(&receiver, "")).await;
        let mut client = stranger(2, host.bench.smtp).await;
        let text = message("a@sender.test", "m");
        let to = ["<x@hosted.test>", "<y@hosted.test>"];
        let (code, said) = send(&mut client, "a@sender.test", &to, &text).await;
        assert_eq!(code, 250, "{said}");
        let found = host.events_such(2, |one| one["event"] == event).await;
        let found = found[0].to_string();
        assert!(found.contains(says), "{status}: {found}");
        let got = receiver.got();
        assert_eq!(
            got[0].all("x-skein-rcpt-to").len(),
            2,
            "one request for both"
        );
        assert_eq!(got[0].field("webhook-signature"), "");
        // The return path proves nothing: nobody is told.
        assert!(host.bench.sink.records().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_a_private_address_is_reached_only_if_the_policy_says_so() {
    let receiver = Receiver::start(|_| 200).await;
    let port = receiver.address.port();
    let policy = |more: &str| {
        format!(
            "kind: inbound\nname: hooks\ndomains: [hosted.test]\naddresses:\n  - address: x\n    \
             http: 'https://hook.test:{port}/'\n    {more}\n"
        )
    };
    let host = Host::new(&policy("")).await;
    host.dns.host("hook.test", [127, 0, 0, 1].into());
    let mut client = stranger(2, host.bench.smtp).await;
    let text = message("a@sender.test", "m");
    let (code, said) = send(&mut client, "a@sender.test", &["<x@hosted.test>"], &text).await;
    assert_eq!(code, 250, "{said}");
    let found = host.events_such(1, |one| one["event"] == "deferred").await;
    assert!(found[0].to_string().contains("not public"), "{found:?}");
    assert!(receiver.got().is_empty());
    // The same mail goes as soon as the policy says otherwise.
    let open = policy("allow_private: true").replace("https://", "http://");
    host.apply(&open);
    host.events_such(1, |one| one["event"] == "delivered").await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_is_taken_and_recorded() {
    let policy = "kind: inbound\nname: none\ndomains: [hosted.test]\naddresses:\n  - {address: '*', discard: true}\n";
    let host = Host::new(policy).await;
    let mut client = stranger(2, host.bench.smtp).await;
    let text = message("a@sender.test", "m");
    let (code, _) = send(&mut client, "", &["<anybody@hosted.test>"], &text).await;
    assert_eq!(code, 250);
    let found = host.events_such(1, |one| one["event"] == "delivered").await;
    assert!(found[0].to_string().contains("discarded"), "{found:?}");
    assert!(host.bench.sink.records().is_empty());
}
