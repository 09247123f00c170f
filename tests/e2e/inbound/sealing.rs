//! Mail that is forwarded with an ARC set, which another implementation verifies.

use std::process::Command;

use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::fleet::{Fleet, Plan};

use super::programs::python;
use super::{LOOK, WITHIN, message, send, stranger};
use crate::domains::publish;

async fn fleet(folder: &std::path::Path) -> Fleet {
    let key = folder.join("dkim.key");
    let made = Command::new(skein_tests::skein().unwrap())
        .arg("dkim-key")
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let plan = Plan {
        relay_networks: "[\"127.0.0.1/32\"]",
        sections: format!("[dkim]\nkey_file = {key:?}\n"),
        control_sections: format!(
            "[dkim]\nkey_file = {key:?}\nzone = \"dkim.esp.test\"\nreturn_path_host = \"rp.esp.test\"\n\
             report_address = \"dmarc@esp.test\"\nttl = \"1s\"\nauthoritative_servers = [\"{{dns}}\"]\n"
        ),
        ..Plan::default()
    };
    let fleet = Fleet::start(plan).await.unwrap();
    fleet.dns.ttl(1);
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_are_sealed_where_the_policy_says_and_the_operator_has_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path()).await;
    let sink = SinkConfig::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let sink = Sink::start(sink).await.unwrap();
    let policy = format!(
        "kind: inbound\nname: own\ndomains: [hosted.test]\naddresses:\n  - {{address: sealed, smtp: '{0}', arc: true}}\n  \
         - {{address: plain, smtp: '{0}'}}\n",
        sink.address()
    );
    fleet.apply(&policy).unwrap();
    let mut client = stranger(2, fleet.senders[0].smtp).await;
    let forward = async |client: &mut skein_testkit::load::Probe, to: &str, id: &str| {
        let text = message("a@sender.test", id);
        let to = format!("<{to}@hosted.test>");
        let (code, said) = send(client, "a@sender.test", &[&to], &text).await;
        assert_eq!(code, 250, "{said}");
        let arrived = skein_tests::until("mail", WITHIN, LOOK, || {
            let records = sink.records().into_iter();
            let mut texts = records.map(|one| String::from_utf8_lossy(&one.message).into_owned());
            texts.find(|text| text.contains(&format!("Subject: {id}\r\n")))
        });
        arrived.await.unwrap()
    };
    // Without a key of the operator's it goes as it is.
    let bare = forward(&mut client, "sealed", "bare").await;
    assert!(bare.starts_with("Authentication-Results: s1."), "{bare}");

    let added = fleet
        .ask(&[
            "domain",
            "add",
            "esp.test",
            "--tenant",
            "default",
            "--operator",
        ])
        .unwrap();
    publish(&fleet, &added);
    let is_active = |fleet: &Fleet| {
        let shown = fleet.ask(&["domain", "show", "esp.test"]).unwrap();
        let keys = shown["keys"].as_array().unwrap().clone();
        keys.iter()
            .any(|key| key["state"] == "active")
            .then_some(())
    };
    fleet
        .until("an active key", WITHIN, is_active)
        .await
        .unwrap();
    let sealed = {
        let mut nth = 0;
        loop {
            nth += 1;
            let text = forward(&mut client, "sealed", &format!("sealed{nth}")).await;
            if text.starts_with("ARC-Seal:") {
                break text;
            }
            // The sender has not heard of the key.
            assert!(nth < 100, "{text}");
        }
    };
    let plain = forward(&mut client, "plain", "plain").await;
    assert!(!plain.contains("ARC-"), "{plain}");
    let file = folder.path().join("sealed.eml");
    std::fs::write(&file, &sealed).unwrap();
    let port = fleet.dns.address().port().to_string();
    let said = python("verify_arc.py", &[file.to_str().unwrap(), &port]);
    assert_eq!(said, "pass\n", "{sealed}");
    assert!(
        sink.records()
            .iter()
            .all(|record| record.sender() == "a@sender.test")
    );
}
