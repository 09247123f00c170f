//! Policy as operators apply it.

mod history;
mod older;
mod wait;

use std::process::{Command, Output};
use std::time::Duration;

use skein_testkit::dns::FakeDns;
use skein_tests::{Bench, Extra};

use crate::skeinctl;

const IPS: &str = "\
kind: ip
name: a1
bind: 127.0.0.1
ehlo: a1.example.test
---
kind: ip
name: a2
bind: 127.0.0.2
ehlo: a2.example.test
---
kind: pool
name: news
members: [{ip: a1, weight: 3}, {ip: a2}]
";

fn try_skeinctl(bench: &Bench, args: &[&str]) -> Output {
    let server = format!("http://{}", bench.admin);
    let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
    command.args(["--server", &server]).args(args);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_checked_applied_shown_and_removed() {
    let bench = Bench::new().await.unwrap();
    let node = bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.yaml");
    let path = file.to_str().unwrap();

    std::fs::write(&file, IPS.replace("name: a2\n", "name: a2\nhom: node-1\n")).unwrap();
    for args in [&["apply", "-f", path][..], &["provider", "lint", path]] {
        let refused = try_skeinctl(&bench, args);
        let says = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success());
        assert!(
            says.contains(&format!("{path}:8: ip \"a2\": hom: ")),
            "{says}"
        );
    }

    std::fs::write(&file, IPS).unwrap();
    assert!(skeinctl(&bench, &["provider", "lint", path]).contains("3 resources"));
    let dry = skeinctl(&bench, &["apply", "-f", path, "--dry-run"]);
    assert!(
        dry.contains("pool/news added") && dry.contains("dry run"),
        "{dry}"
    );
    assert_eq!(skeinctl(&bench, &["policy", "get"]), "");
    assert!(skeinctl(&bench, &["apply", "-f", path]).contains("version 1"));
    assert!(skeinctl(&bench, &["apply", "-f", path]).contains("pool/news unchanged"));

    let refused = try_skeinctl(&bench, &["policy", "delete", "ip/a1"]);
    let says = String::from_utf8(refused.stderr).unwrap();
    assert!(says.contains("pool \"news\""), "{says}");
    drop(node);
    let _node = bench.start().await.unwrap();
    let got = skeinctl(&bench, &["policy", "get", "pool", "news"]);
    std::fs::write(&file, got).unwrap();
    assert!(skeinctl(&bench, &["apply", "-f", path]).contains("pool/news unchanged"));
    skeinctl(&bench, &["policy", "delete", "pool/news", "ip/a1", "ip/a2"]);
    assert_eq!(skeinctl(&bench, &["policy", "get"]), "");
    let google = skeinctl(
        &bench,
        &["policy", "get", "provider", "google", "--built-in"],
    );
    assert!(google.contains(".google.com"), "{google}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_explained_with_the_rules_that_they_come_from() {
    let dns = FakeDns::start("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    dns.mx("hosted.test", 10, "alt1.aspmx.l.google.com");
    dns.host("alt1.aspmx.l.google.com", "8.8.4.4".parse().unwrap());
    let sections = format!("[dns]\nservers = [\"{}\"]", dns.address());
    let extra = Extra {
        sections,
        ..Extra::default()
    };
    let bench = Bench::with(|_| Ok(extra)).await.unwrap();
    let _node = bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    let google = "---\nkind: provider\nname: google\nextends: true\nper_ip: {connections: 3}\n";
    std::fs::write(&file, format!("{IPS}{google}")).unwrap();
    skeinctl(&bench, &["apply", "-f", file.to_str().unwrap()]);

    let says = skeinctl(
        &bench,
        &["explain", "limits", "hosted.test", "--pool", "news"],
    );
    for part in [
        "site       google",
        "alt1.aspmx.l.google.com",
        "3 connections",
        "provider/google per_ip.connections\n",
        "built in",
        " a1 ",
        " a2 ",
    ] {
        assert!(says.contains(part), "{part}: {says}");
    }
    let says = skeinctl(&bench, &["explain", "limits", "unknown.test"]);
    assert!(
        says.contains("site       unknown.test, by the figures of provider default"),
        "{says}"
    );
    assert!(says.contains("not known: "), "{says}");
    let refused = try_skeinctl(&bench, &["explain", "limits", "unknown.test", "--ip", "a9"]);
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("there is no \"a9\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ip_is_shown_where_its_address_is_and_missed_where_it_is_not() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ips.yaml");
    let lost = "---\nkind: ip\nname: lost\nbind: 192.0.2.77\nehlo: lost.example.test\n";
    std::fs::write(&file, format!("{IPS}{lost}")).unwrap();
    skeinctl(&bench, &["apply", "-f", file.to_str().unwrap()]);
    let is_placed = |list: &str| {
        let row = |name: &str| {
            list.lines()
                .find(|line| line.trim_start().starts_with(name))
        };
        let has = |name: &str, state: &str| row(name).is_some_and(|row| row.contains(state));
        has("a1 ", " active ") && has("a2 ", " active ") && has("lost ", " UNPLACED ")
    };
    let mut list = String::new();
    for _ in 0..100 {
        list = skeinctl(&bench, &["ip", "list"]);
        if is_placed(&list) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(is_placed(&list), "{list}");
    let found = try_skeinctl(&bench, &["doctor"]);
    let says = String::from_utf8(found.stdout).unwrap();
    assert!(
        !found.status.success() && says.contains("ip lost"),
        "{says}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_shown_to_whoever_asks_for_them_and_stars_are_none() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let ip = "kind: ip\nname: far\nbind: 192.0.2.1\nehlo: far.example.test\n\
              proxy: {socks5: 'p.example.test:1080', user: u, password: hunter2}\n";
    skein_tests::operator::apply(bench.admin, bench.data().parent().unwrap(), ip).unwrap();
    let shown = skeinctl(&bench, &["policy", "get"]);
    assert!(
        shown.contains("***") && !shown.contains("hunter2"),
        "{shown}"
    );
    // Nobody loses a password by applying what was printed.
    let again = skein_tests::operator::apply(bench.admin, bench.data().parent().unwrap(), &shown);
    let refused = again.unwrap_err().to_string();
    assert!(refused.contains("stands for a password"), "{refused}");
    let shown = skeinctl(&bench, &["policy", "get", "--secrets"]);
    assert!(shown.contains("hunter2"), "{shown}");
    skein_tests::operator::apply(bench.admin, bench.data().parent().unwrap(), &shown).unwrap();
}
