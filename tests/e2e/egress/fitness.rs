//! How fit IPs are to send, by what a name server says.

use std::net::IpAddr;

use skein_testkit::dns::Fault;

use super::stage::{Plan, Stage, wait_for};

/// Name, last byte of the address, and what is found wrong.
const IPS: [(&str, u8, &[&str]); 7] = [
    ("good", 51, &[]),
    ("nameless", 52, &["ptr"]),
    ("forged", 53, &["forward"]),
    ("misnamed", 54, &["ehlo"]),
    ("listed", 55, &["dnsbl"]),
    ("unasked", 56, &["dnsbl"]),
    ("bad", 57, &["ptr", "ehlo", "dnsbl"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_ip_is_found_at_once_and_shown() {
    let plan = Plan {
        senders: 1,
        top: "dns.dnsbl_zones = [\"bl.test\", \"quiet.test\"]".into(),
        ..Plan::default()
    };
    let stage = Stage::new(plan).await;
    let dns = &stage.fleet.dns;
    // A zone answers for 127.0.0.2 (RFC 5782 5), so its name is there.
    dns.host("2.0.0.127.bl.test", IpAddr::from([127, 0, 0, 2]));
    dns.host("2.0.0.127.quiet.test", IpAddr::from([127, 0, 0, 2]));
    let mut policy = String::new();
    for (name, last, _) in IPS {
        let public = IpAddr::from([198, 51, 100, last]);
        let host = format!("{name}.mx.test");
        if !matches!(name, "nameless" | "bad") {
            dns.ptr(public, &host);
        }
        dns.host(
            &host,
            if name == "forged" {
                IpAddr::from([192, 0, 2, 1])
            } else {
                public
            },
        );
        let ehlo = format!("{name}.ehlo.test");
        if name == "misnamed" {
            dns.host(&ehlo, IpAddr::from([192, 0, 2, 1]));
        } else if name != "bad" {
            dns.host(&ehlo, public);
        }
        let on_list = format!("{last}.100.51.198.bl.test");
        match name {
            "listed" | "bad" => dns.host(&on_list, IpAddr::from([127, 0, 0, 4])),
            "unasked" => dns.fault(&on_list, Some(Fault::ServFail)),
            _ => {}
        }
        policy.push_str(&format!(
            "---\nkind: ip\nname: {name}\nbind: 127.0.0.{last}\npublic: {public}\nehlo: {ehlo}\n"
        ));
    }
    stage.fleet.apply(&policy).unwrap();
    let began = std::time::Instant::now();
    let ips = wait_for("all IPs to be checked", || {
        let ips = stage.ips();
        let is_checked = |ip: &serde_json::Value| ip["checked_at"].as_u64().unwrap_or(0) > 0;
        ips.values().all(is_checked).then_some(ips)
    })
    .await;
    println!(
        "{} IPs were placed and checked within {:.1?}",
        IPS.len(),
        began.elapsed()
    );
    for (name, _, expected) in IPS {
        let faults = ips[name]["faults"].as_array().unwrap();
        let found: Vec<&str> = faults
            .iter()
            .map(|fault| fault["check"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{name}: {faults:?}");
        assert_eq!(ips[name]["state"], "active", "a fault stops nothing");
    }
    let listed = stage.fleet.skeinctl(&["ip", "list"]).unwrap();
    let row = |name: &str| {
        listed
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap()
    };
    assert!(row("good ").contains(" yes "), "{listed}");
    assert!(row("bad ").contains("no: ptr, ehlo, dnsbl"), "{listed}");
    let shown = stage.fleet.skeinctl(&["ip", "check", "listed"]).unwrap();
    assert!(
        shown.contains("bl.test lists 198.51.100.55 (127.0.0.4)"),
        "{shown}"
    );
    let shown = stage.fleet.skeinctl(&["ip", "check", "good"]).unwrap();
    assert!(shown.contains("Fit to send."), "{shown}");
    let args = ["ip", "check", "gone"];
    let unknown = stage.fleet.try_skeinctl(0, &args).unwrap();
    let says = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        says.contains("there is no ip \"gone\"; `skeinctl ip list`"),
        "{says}"
    );
    let doctor = stage.fleet.try_skeinctl(0, &["doctor"]).unwrap();
    let says = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        says.contains("ip misnamed is not fit to send: the EHLO name"),
        "{says}"
    );
}
