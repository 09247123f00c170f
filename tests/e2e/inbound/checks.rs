//! What messages prove, and how it is told: by a fake DNS, and read by others.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use skein_dkim::{MessageSigner, PrivateKey, Signer};
use skein_model::UnixMs;
use skein_testkit::dns::{FakeDns, Fault};

use super::programs::python;
use super::receiver::Receiver;
use super::{Host, send, stranger};

fn policy(receiver: &Receiver, checks: &str) -> String {
    format!(
        "kind: inbound\nname: hooks\ndomains: [hosted.test]\nchecks: {checks}\naddresses:\n  - address: '*'\n    \
         http: 'http://{}/'\n    allow_private: true\n",
        receiver.address
    )
}

fn zone(dns: &FakeDns, key: &PrivateKey) {
    let client = IpAddr::from([127, 0, 0, 2]);
    dns.host("client.test", client);
    dns.txt("client.test", "v=spf1 a -all");
    for (domain, spf, dmarc) in [
        (
            "good.test",
            "v=spf1 ip4:127.0.0.2 -all",
            "v=DMARC1; p=reject",
        ),
        (
            "strict.test",
            "v=spf1 ip4:192.0.2.1 -all",
            "v=DMARC1; p=reject",
        ),
        (
            "mild.test",
            "v=spf1 ip4:192.0.2.1 ~all",
            "v=DMARC1; p=quarantine",
        ),
        (
            "testing.test",
            "v=spf1 ip4:192.0.2.1 ?all",
            "v=DMARC1; p=reject; t=y",
        ),
        ("org.test", "v=spf1 -all", "v=DMARC1; p=reject; sp=none"),
        (
            "wrong.test",
            "v=spf1 include:absent.test -all",
            "v=DMARC1; p=none",
        ),
        (
            "slow.test",
            "v=spf1 include:away.test -all",
            "v=DMARC1; p=reject",
        ),
    ] {
        dns.txt(domain, spf);
        dns.txt(&format!("_dmarc.{domain}"), dmarc);
        dns.txt(&format!("s1._domainkey.{domain}"), &key.public().text());
    }
    dns.host("sub.org.test", client);
    dns.fault("away.test", Some(Fault::ServFail));
    dns.fault("s1._domainkey.away.test", Some(Fault::ServFail));
}

/// Signed as this domain, if it is.
fn signed(key: &Arc<PrivateKey>, domain: Option<&str>, text: &str) -> String {
    let Some(domain) = domain else {
        return text.to_owned();
    };
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    let mut signer = MessageSigner::new(format!("{header}\r\n\r\n").as_bytes()).unwrap();
    // The line end that the end of the data has is the message's.
    signer.body(format!("{body}\r\n").as_bytes());
    let key = Signer::new(domain, "s1", key.clone());
    let fields = signer.finish([&key], UnixMs(1_700_000_000_000)).unwrap();
    format!("{}{text}", String::from_utf8(fields).unwrap())
}

/// What an independent reader finds in the first field of each message.
fn read(host: &Host, messages: &[String]) -> Vec<Value> {
    let file = host.folder.path().join("messages.json");
    std::fs::write(&file, serde_json::to_vec(messages).unwrap()).unwrap();
    let said = python("read_results.py", &[file.to_str().unwrap()]);
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

struct Row {
    /// Of author and return path.
    from: &'static str,
    mail_from: &'static str,
    signed: Option<&'static str>,
    /// Changed after it was signed.
    is_broken: bool,
    spf: &'static str,
    dkim: &'static str,
    dmarc: &'static str,
    /// With `enforce`.
    is_refused: bool,
}

const fn row(
    from: &'static str,
    mail_from: &'static str,
    signed: Option<&'static str>,
    results: [&'static str; 3],
    is_refused: bool,
) -> Row {
    let [spf, dkim, dmarc] = results;
    Row {
        from,
        mail_from,
        signed,
        is_broken: false,
        spf,
        dkim,
        dmarc,
        is_refused,
    }
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "good.test",
            "good.test",
            None,
            ["pass", "none", "pass"],
            false,
        ),
        row(
            "good.test",
            "good.test",
            Some("good.test"),
            ["pass", "pass", "pass"],
            false,
        ),
        row(
            "good.test",
            "mild.test",
            Some("good.test"),
            ["softfail", "pass", "pass"],
            false,
        ),
        row(
            "good.test",
            "mild.test",
            None,
            ["softfail", "none", "fail"],
            true,
        ),
        row(
            "strict.test",
            "strict.test",
            None,
            ["fail", "none", "fail"],
            true,
        ),
        row(
            "strict.test",
            "strict.test",
            Some("strict.test"),
            ["fail", "pass", "pass"],
            false,
        ),
        row(
            "strict.test",
            "good.test",
            Some("good.test"),
            ["pass", "pass", "fail"],
            true,
        ),
        row(
            "mild.test",
            "mild.test",
            None,
            ["softfail", "none", "fail"],
            false,
        ),
        row(
            "testing.test",
            "testing.test",
            None,
            ["neutral", "none", "fail"],
            false,
        ),
        row(
            "sub.org.test",
            "sub.org.test",
            None,
            ["none", "none", "fail"],
            false,
        ),
        row("org.test", "org.test", None, ["fail", "none", "fail"], true),
        row(
            "nothing.test",
            "nothing.test",
            None,
            ["none", "none", "none"],
            false,
        ),
        row(
            "wrong.test",
            "wrong.test",
            None,
            ["permerror", "none", "fail"],
            false,
        ),
        row(
            "slow.test",
            "slow.test",
            None,
            ["temperror", "none", "temperror"],
            false,
        ),
        row(
            "slow.test",
            "slow.test",
            Some("slow.test"),
            ["temperror", "pass", "pass"],
            false,
        ),
        row(
            "strict.test",
            "strict.test",
            Some("away.test"),
            ["fail", "temperror", "fail"],
            false,
        ),
    ];
    rows.push(Row {
        is_broken: true,
        ..row(
            "strict.test",
            "strict.test",
            Some("strict.test"),
            ["fail", "fail", "fail"],
            true,
        )
    });
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_told_as_others_read_them_and_enforced_where_the_policy_says() {
    let key = Arc::new(PrivateKey::generate_rsa().unwrap());
    for checks in ["mark", "enforce"] {
        let receiver = Receiver::start(|_| 200).await;
        let host = Host::new(&policy(&receiver, checks)).await;
        zone(&host.dns, &key);
        let mut client = stranger(2, host.bench.smtp).await;
        let mut taken = Vec::new();
        for (nth, row) in rows().into_iter().enumerate() {
            let forged = "Authentication-Results: mx.skein.test; dmarc=pass header.from=x.test\r\n";
            let others = "Authentication-Results: other.test; spf=pass smtp.mailfrom=a@b.test\r\n";
            let text = super::message(&format!("a@{}", row.from), &format!("m{nth}"));
            let text = signed(&key, row.signed, &text);
            let text = match row.is_broken {
                true => text.replace("hello", "hullo"),
                false => text,
            };
            let text = format!("{forged}{others}{text}");
            let mail_from = format!("r@{}", row.mail_from);
            let (code, said) = send(&mut client, &mail_from, &["<x@hosted.test>"], &text).await;
            let is_refused = checks == "enforce" && row.is_refused;
            match is_refused {
                true => assert!(code == 550 && said.contains("5.7.1"), "{nth}: {said}"),
                false => assert_eq!(code, 250, "{nth}: {said}"),
            }
            if !is_refused {
                taken.push((nth, row, text));
            }
        }
        host.events_such(taken.len(), |event| event["event"] == "delivered")
            .await;
        let counted = host.metric("skein_smtp_in_checks_total").await;
        assert!(counted >= 4 * taken.len() as u64, "{counted}");
        let got = receiver.got();
        let body = |nth: usize| {
            let subject = format!("Subject: m{nth}\r\n");
            let bodies = got
                .iter()
                .map(|one| String::from_utf8_lossy(&one.body).into_owned());
            bodies
                .into_iter()
                .find(|body| body.contains(&subject))
                .unwrap()
        };
        let bodies: Vec<String> = taken.iter().map(|(nth, ..)| body(*nth)).collect();
        for ((nth, _, text), body) in taken.iter().zip(&bodies) {
            assert_eq!(
                body.matches("mx.skein.test; dmarc").count(),
                0,
                "{nth}: forged"
            );
            let (_, unforged) = text.split_once("\r\n").unwrap();
            assert!(
                body.ends_with(&format!("{unforged}\r\n")),
                "{nth}: all else stays\n{body}"
            );
        }
        for ((nth, row, _), found) in taken.iter().zip(read(&host, &bodies)) {
            assert_eq!(found["authserv_id"], "mx.skein.test");
            let results = [&found["spf"], &found["dkim"], &found["dmarc"]];
            assert_eq!(results, [row.spf, row.dkim, row.dmarc], "{nth}: {found}");
            // Resolvers answer for loopback themselves.
            assert_eq!(found["iprev"], "fail", "{nth}: {found}");
            assert_eq!(found["helo"], "pass", "{nth}: {found}");
            assert_eq!(found["from"], row.from, "{nth}: {found}");
        }
    }
}

/// No word from the name servers loses mail, or holds it up for long.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_dns_mail_is_taken_within_seconds() {
    let receiver = Receiver::start(|_| 200).await;
    let host = Host::new(&policy(&receiver, "enforce")).await;
    host.dns.break_down(Some(Fault::NoAnswer));
    let mut client = stranger(2, host.bench.smtp).await;
    let began = std::time::Instant::now();
    let text = super::message("a@strict.test", "m");
    let (code, said) = send(&mut client, "a@strict.test", &["<x@hosted.test>"], &text).await;
    assert_eq!(code, 250, "{said}");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    host.events_such(1, |event| event["event"] == "delivered")
        .await;
    let bodies = [String::from_utf8_lossy(&receiver.got()[0].body).into_owned()];
    let found = read(&host, &bodies).remove(0);
    assert_eq!(
        [&found["spf"], &found["dmarc"]],
        ["temperror"; 2],
        "{found}"
    );
}
