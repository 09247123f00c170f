//! Signatures of Skein, verified by three implementations: mail-auth, dkimpy and libopendkim.
#![expect(clippy::unwrap_used, reason = "tests")]

mod corpus;
mod mail_auth_verifier;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use corpus::Message;
use mail_auth_verifier::MailAuth;
use skein_dkim::{MessageSigner, PrivateKey, Signer};
use skein_model::UnixMs;

const AT: UnixMs = UnixMs(1_750_000_000_000);
/// Bodies come in pieces of this size from the intake.
const PIECE_BYTES: usize = 256 << 10;

/// The customer's, the operator's, and the one that few verify.
struct Signers {
    all: Vec<Signer>,
    records: BTreeMap<String, String>,
}

impl Signers {
    fn new() -> Self {
        let rsa = || Arc::new(PrivateKey::generate_rsa().unwrap());
        let ed25519 = Arc::new(PrivateKey::ed25519_of(&[7; 32]).unwrap());
        let mut signers = Self {
            all: Vec::new(),
            records: BTreeMap::new(),
        };
        let long = "a-rather-long-label-to-fold-at-another-place.of-an-operator.example";
        for (domain, selector, key) in [
            ("example.com", "sk1", rsa()),
            (long, "sk-202611", rsa()),
            ("example.com", "ed", ed25519),
        ] {
            let name = format!("{selector}._domainkey.{domain}");
            signers.records.insert(name, key.public().text());
            signers.all.push(Signer::new(domain, selector, key));
        }
        signers
    }

    fn sign(&self, message: &Message) -> Vec<u8> {
        let mut signer = MessageSigner::new(&message.header).unwrap();
        message
            .body
            .chunks(PIECE_BYTES)
            .for_each(|piece| signer.body(piece));
        arrived(message, &signer.finish(&self.all, AT).unwrap())
    }

    fn write_keys(&self, folder: &Path) {
        let lines = self
            .records
            .iter()
            .map(|(name, text)| format!("{name} {text}\n"));
        std::fs::write(folder.join("keys.txt"), lines.collect::<String>()).unwrap();
    }
}

/// As the next host has it. Of a body that has no line end at its end, which BDAT allows, DATA makes one that has.
fn arrived(message: &Message, signatures: &[u8]) -> Vec<u8> {
    let Message { header, body, .. } = message;
    let has_end = body.is_empty() || body.ends_with(b"\r\n");
    let end: &[u8] = if has_end { b"" } else { b"\r\n" };
    [signatures, header, b"\r\n", body, end].concat()
}

#[tokio::test]
async fn mail_auth_verifies_the_corpus() {
    let signers = Signers::new();
    let verifier = MailAuth::new(&signers.records);
    let messages = corpus::messages();
    assert!(messages.len() > 300, "{}", messages.len());
    let mut faults = Vec::new();
    for message in messages {
        let signed = signers.sign(&message);
        let results = verifier.verify(&signed).await;
        if results != ["pass"; 3] {
            faults.push(format!("{}: {results:?}", message.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn dkimpy_and_opendkim_verify_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let signers = Signers::new();
    signers.write_keys(folder.path());
    let messages = corpus::messages();
    for (number, message) in messages.iter().enumerate() {
        let file = folder.path().join(format!("{number:03}.eml"));
        std::fs::write(file, signers.sign(message)).unwrap();
    }
    let tools = std::env::var_os("SKEIN_TOOLS").expect("run this test with `cargo xtask test`");
    let mut python = Command::new(Path::new(&tools).join("python/bin/python3"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verified/verify.py");
    let output = python.arg(script).arg(folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(told.lines().count(), 2 * messages.len(), "{errors}");
    let mut faults = Vec::new();
    for line in told.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let number: usize = words[0].trim_end_matches(".eml").parse().unwrap();
        if words[2..] != ["pass"; 3] {
            faults.push(format!(
                "{}: {}",
                messages[number].name,
                words[1..].join(" ")
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        2 * messages.len(),
        faults.join("\n")
    );
}

/// The verifiers say no where they must: their yes says something.
#[tokio::test]
async fn a_changed_message_does_not_verify() {
    let signers = Signers::new();
    let verifier = MailAuth::new(&signers.records);
    let message = &corpus::messages()[5];
    let signed = String::from_utf8(signers.sign(message)).unwrap();
    assert_eq!(verifier.verify(signed.as_bytes()).await, ["pass"; 3]);
    for changed in [
        signed.replace("world", "World"),
        signed.replace("Subject: hello", "Subject: hullo"),
        signed.replace("To: a@", "To: b@"),
        signed.replace("Subject: ", "Cc: c@example.org\r\nSubject: "),
        signed.replace("Subject: ", "Subject: first\r\nSubject: "),
        signed.replace("t=1750000000", "t=1750000001"),
    ] {
        assert_ne!(changed, signed);
        let results = verifier.verify(changed.as_bytes()).await;
        assert!(
            results.iter().all(|result| result != "pass"),
            "{results:?}\n{changed}"
        );
    }
    // What hosts add on the way, and white space.
    for changed in [
        format!("Received: from a by b\r\n{signed}"),
        signed.replace("Hello,\r\n", "Hello, \t\r\n"),
        signed.replace("Subject: hello", "SUBJECT:\r\n  hello"),
        format!("{signed} \r\n\r\n"),
    ] {
        assert_ne!(changed, signed);
        assert_eq!(
            verifier.verify(changed.as_bytes()).await,
            ["pass"; 3],
            "{changed}"
        );
    }
}
