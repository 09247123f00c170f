//! A domain from nothing to keys that mail is signed with: added, published, seen, told to senders, and rotated.

mod hops;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::operator;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{GetSigningChangesRequest, GetSigningReply, GetSigningRequest};

const PATIENCE: Duration = Duration::from_secs(60);
const DOMAIN: &str = "example.test";

/// A control node that may make keys, and whose keys are good two seconds after they are seen.
async fn fleet(folder: &Path) -> Fleet {
    fleet_of(folder, 1, 0, None).await
}

async fn fleet_of(
    folder: &Path,
    control: usize,
    senders: usize,
    smarthost: Option<SocketAddr>,
) -> Fleet {
    let key = folder.join("dkim.key");
    let made = Command::new(skein_tests::skein().unwrap())
        .arg("dkim-key")
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let plan = Plan {
        control,
        senders,
        delivery: smarthost.map_or_else(String::new, |at| format!("smarthost = \"{at}\"\n")),
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

/// Publishes what `skeinctl` told, in the words of its JSON.
pub fn publish(fleet: &Fleet, domain: &Value) {
    for record in domain["records"].as_array().unwrap() {
        let text = |key: &str| record[key].as_str().unwrap();
        fleet.dns.remove(text("name"));
        match text("type") {
            "TXT" => fleet.dns.txt(text("name"), text("value")),
            "CNAME" => fleet.dns.cname(text("name"), text("value")),
            other => panic!("{other}"),
        }
    }
}

/// The status of `skeinctl domain check`, and the ids of what it found.
fn check(fleet: &Fleet, args: &[&str]) -> (bool, Vec<String>) {
    let args = [&["domain", "check", DOMAIN, "--json"], args].concat();
    let output = fleet.try_skeinctl(0, &args).unwrap();
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let findings = said["findings"].as_array().unwrap().iter();
    let ids = findings.map(|finding| finding["id"].as_str().unwrap().to_owned());
    (output.status.success(), ids.collect())
}

async fn sessions(fleet: &Fleet) -> SessionsClient<tonic::transport::Channel> {
    let address = format!("http://{}", fleet.control[0].address);
    SessionsClient::connect(address).await.unwrap()
}

async fn signing(fleet: &Fleet, asked: &str) -> GetSigningReply {
    let request = GetSigningRequest {
        domains: vec![asked.to_owned()],
    };
    let reply = sessions(fleet).await.get_signing(request).await;
    reply.unwrap().into_inner()
}

/// The state of the key of a selector.
fn state(domain: &Value, selector: &str) -> String {
    let keys = domain["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["selector"] == selector);
    key.unwrap()["state"].as_str().unwrap().to_owned()
}

fn shown(fleet: &Fleet, domain: &str) -> Value {
    fleet.ask(&["domain", "show", domain]).unwrap()
}

async fn until_active(fleet: &Fleet, domain: &str, selector: &str) {
    let is_active =
        |fleet: &Fleet| (state(&shown(fleet, domain), selector) == "active").then_some(());
    fleet
        .until("an active key", PATIENCE, is_active)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_added_published_checked_and_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path()).await;
    let added = fleet
        .ask(&["domain", "add", DOMAIN, "--tenant", "acme", "--delegated"])
        .unwrap();
    assert_eq!(added["state"], "unverified");
    assert_eq!(state(&added, "sk1"), "published");
    let again = fleet.skeinctl(&["domain", "add", DOMAIN, "--tenant", "acme"]);
    assert!(format!("{:#}", again.unwrap_err()).contains("of tenant acme"));

    // Nothing is published: each record is named, and mail is nobody's.
    let (is_good, found) = check(&fleet, &[]);
    assert!(!is_good);
    for id in [
        "ownership.missing",
        "dkim.missing",
        "rp.missing",
        "dmarc.missing",
    ] {
        assert!(found.contains(&id.to_owned()), "{id}: {found:?}");
    }
    let before = signing(&fleet, "news.example.test").await;
    let [one] = &before.domains[..] else {
        panic!("{before:?}")
    };
    assert_eq!((one.domain.as_str(), one.is_verified), (DOMAIN, false));
    assert!(one.keys.is_empty() && one.waits_for.is_empty(), "{one:?}");

    publish(&fleet, &added);
    let (is_good, found) = check(&fleet, &["--wait", "--timeout", "30s"]);
    assert!(is_good && found.is_empty(), "{found:?}");
    until_active(&fleet, DOMAIN, "sk1").await;
    let now = signing(&fleet, "news.example.test").await;
    let key = &now.domains[0].keys[0];
    assert_eq!(
        (key.domain.as_str(), key.selector.as_str()),
        (DOMAIN, "sk1")
    );
    assert_eq!(now.domains[0].tenant, "acme");
    assert!(now.domains[0].is_verified && key.wrapped.len() > 1000);
    let request = GetSigningChangesRequest {
        since: before.version,
    };
    let changes = sessions(&fleet).await.get_signing_changes(request).await;
    let changes = changes.unwrap().into_inner();
    assert_eq!((changes.version, changes.all), (now.version, false));
    assert_eq!(changes.domains, [DOMAIN]);
    assert!(
        signing(&fleet, "other.test").await.domains[0]
            .domain
            .is_empty()
    );

    // A record that somebody took away is told, and mail goes on for a while.
    fleet.dns.remove("sk1._domainkey.example.test");
    let (is_good, found) = check(&fleet, &[]);
    assert!(!is_good && found == ["dkim.missing"], "{found:?}");
    assert_eq!(signing(&fleet, DOMAIN).await.domains[0].keys.len(), 1);
    publish(&fleet, &shown(&fleet, DOMAIN));
    assert!(check(&fleet, &[]).0);

    let rotated = fleet
        .ask(&["domain", "rotate", DOMAIN, "--compromised"])
        .unwrap();
    assert_eq!(state(&rotated, "sk2"), "published");
    publish(&fleet, &rotated);
    until_active(&fleet, DOMAIN, "sk2").await;
    assert_eq!(state(&shown(&fleet, DOMAIN), "sk1"), "revoked");
    assert_eq!(
        signing(&fleet, DOMAIN).await.domains[0].keys[0].selector,
        "sk2"
    );
    // The record of the former key is to say so.
    assert_eq!(check(&fleet, &[]).1, ["dkim.not_revoked"]);
    publish(&fleet, &shown(&fleet, DOMAIN));
    assert_eq!(check(&fleet, &[]), (true, vec![]));

    fleet.skeinctl(&["domain", "remove", DOMAIN]).unwrap();
    assert!(signing(&fleet, DOMAIN).await.domains[0].domain.is_empty());
    check_events(&fleet).await;
}

/// Each turn is in the event log, in order, and none is missing that a restart came between.
async fn check_events(fleet: &Fleet) {
    let told = |fleet: &Fleet| -> Vec<Value> {
        let mut events = fleet.events().unwrap();
        events.retain(|event| event["event"] == "domain" && event["domain"] == DOMAIN);
        events
    };
    let has_all = |fleet: &Fleet| {
        let events = told(fleet);
        let is_last = events.last().is_some_and(|last| last["what"] == "removed");
        is_last.then_some(events)
    };
    let events = fleet.until("all events", PATIENCE, has_all).await.unwrap();
    let whole: Vec<String> = events
        .iter()
        .map(|event| {
            let selector = event["selector"].as_str().unwrap_or_default();
            format!("{} {selector}", event["what"].as_str().unwrap())
        })
        .collect();
    let mut rest = whole.iter();
    for expected in [
        "added ",
        "key published sk1",
        "faulty ",
        "key seen sk1",
        "verified ",
        "well ",
        "key active sk1",
        "key gone sk1",
        "key back sk1",
        "key compromised ",
        "key published sk2",
        "key active sk2",
        "removed ",
    ] {
        assert!(rest.any(|one| one == expected), "{expected}: {whole:#?}");
    }
    assert!(events.iter().all(|event| event["tenant"] == "acme"));
    let text = format!("{events:?}");
    assert!(
        !text.contains("wrapped") && !text.contains("token"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_what_to_do() {
    let fleet = Fleet::start(Plan {
        senders: 0,
        ..Plan::default()
    })
    .await
    .unwrap();
    for (args, said) in [
        (
            &["add", "example.test", "--tenant", "t"][..],
            "skein dkim-key",
        ),
        (&["add", "me@example.test", "--tenant", "t"], "after the @"),
        (
            &["add", "example", "--tenant", "t"],
            "no domain such as example.com",
        ),
        (&["add", "example.test", "--tenant", "a b"], "tenant: "),
        (&["check", "example.test"], "skeinctl domain list"),
        (&["show", "exa mple.test"], "no domain such as"),
        (&["rotate", "example.test"], "skein dkim-key"),
        (&["remove", "example.test"], "skeinctl domain list"),
        (&["rewrap"], "skein dkim-key"),
    ] {
        let output = operator::try_skeinctl(fleet.control[0].admin, &[&["domain"], args].concat());
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_keys_are_on_all_mail() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path()).await;
    let added = fleet
        .ask(&[
            "domain",
            "add",
            "esp.test",
            "--tenant",
            "esp",
            "--operator",
            "--ed25519",
        ])
        .unwrap();
    publish(&fleet, &added);
    let of_operator = |keys: &[skein_wire::internal::SigningKey]| -> Vec<String> {
        keys.iter().map(|key| key.selector.clone()).collect()
    };
    let mut found = Vec::new();
    for _ in 0..100 {
        let output = fleet.try_skeinctl(0, &["domain", "check", "esp.test"]);
        assert!(output.unwrap().status.code().is_some());
        found = of_operator(&signing(&fleet, "other.test").await.operator_keys);
        if found.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(found, ["sk1", "ske1"]);
    // They stand apart from those of the domain, which is the operator's as well.
    let own = signing(&fleet, "esp.test").await;
    assert!(own.domains[0].keys.is_empty() && own.domains[0].is_verified);
    let rewrapped = fleet.ask(&["domain", "rewrap"]).unwrap();
    assert_eq!(rewrapped["unchanged"], 2, "{rewrapped}");
}

/// What verifiers that know nothing of Skein say of messages: a line for each message and verifier, in the order of the names.
fn verified(messages: &[(String, Vec<u8>)], records: &Value) -> String {
    let tools = std::env::var_os("SKEIN_TOOLS").expect("run this test with `cargo xtask test`");
    let folder = tempfile::tempdir().unwrap();
    for (name, message) in messages {
        std::fs::write(folder.path().join(format!("{name}.eml")), message).unwrap();
    }
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    let keys = records.as_array().unwrap().iter();
    let keys = keys.filter(|record| text(record, "name").contains("._domainkey."));
    let lines: String = keys
        .map(|key| {
            format!(
                "{} {}\n",
                text(key, "name").trim_end_matches('.'),
                text(key, "value")
            )
        })
        .collect();
    std::fs::write(folder.path().join("keys.txt"), lines).unwrap();
    let script = skein_tests::manifest_dir().join("../crates/dkim/tests/verified/verify.py");
    let mut python = Command::new(Path::new(&tools).join("python/bin/python3"));
    let output = python.arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// From nothing to mail that others verify, by the commands of README: on one node, and on a cluster.
#[tokio::test(flavor = "multi_thread")]
async fn others_verify_the_mail_of_a_new_domain() {
    for (control, senders) in [(1, 1), (3, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let fleet = fleet_of(folder.path(), control, senders, None).await;
        let sink = fleet
            .sink(3, "mx.there.test", &["there.test"])
            .await
            .unwrap();
        let added = fleet
            .ask(&["domain", "add", DOMAIN, "--tenant", "default"])
            .unwrap();
        publish(&fleet, &added);
        let (is_good, found) = check(&fleet, &["--wait", "--timeout", "60s"]);
        assert!(is_good, "{found:?}");
        until_active(&fleet, DOMAIN, "sk1").await;
        for sender in &fleet.senders {
            let via = sender.smtp.to_string();
            let send = [
                "send",
                "--via",
                &via,
                "--from",
                "news@example.test",
                "--to",
                "u@there.test",
                "--subject",
                "hello",
            ];
            // Senders hear of the key as of any change.
            let mut sent = fleet.try_skeinctl(0, &send).unwrap();
            for _ in 0..20 {
                if sent.status.success() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                sent = fleet.try_skeinctl(0, &send).unwrap();
            }
            assert!(sent.status.success(), "{sent:?}");
        }
        let arrived = |_: &Fleet| (sink.accepted() as usize >= senders).then_some(());
        fleet.until("the mail", PATIENCE, arrived).await.unwrap();
        for record in sink.records() {
            let message = ("m".to_owned(), record.message.to_vec());
            let said = verified(&[message], &added["records"]);
            assert_eq!(
                said, "m.eml opendkim pass\nm.eml dkimpy pass\n",
                "{record:?}"
            );
        }
    }
}

/// Other implementations take the records as they are told.
#[tokio::test(flavor = "multi_thread")]
async fn others_find_nothing_wrong_with_the_records_that_are_told() {
    let tools = std::env::var_os("SKEIN_TOOLS").expect("run this test with `cargo xtask test`");
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(folder.path()).await;
    fleet.dns.mx("esp.test", 10, "mx.esp.test");
    fleet.dns.host("mx.esp.test", [127, 0, 0, 1].into());
    for (domain, option) in [("one.test", "--ed25519"), ("two.test", "--delegated")] {
        let added = fleet
            .ask(&["domain", "add", domain, "--tenant", "acme", option])
            .unwrap();
        publish(&fleet, &added);
        let keys = added["keys"].as_array().unwrap().iter();
        let published = keys.filter(|key| key["state"] == "published");
        let selectors = published.map(|key| key["selector"].as_str().unwrap());
        let script = skein_tests::manifest_dir().join("e2e/judge_records.py");
        let mut python = Command::new(Path::new(&tools).join("python/bin/python3"));
        let port = fleet.dns.address().port().to_string();
        python.arg(script).args([port.as_str(), domain]);
        let output = python.args(selectors).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{domain}: {said}{errors}"
        );
    }
}
