//! MTA-STS, row by row: domains that publish policies, and hosts that meet them or not.

use skein_testkit::authority::{Authority, HostCertificate};
use skein_testkit::sink::Sink;
use skein_testkit::web_host::{Page, WebHost};

use super::{host, trusting};
use crate::delivery::{World, assert_has, taken};

const EE_KEY_SHA256: (u8, u8, u8) = (3, 1, 1);

/// A domain announces a policy, which its policy host has.
fn publish(world: &World, web: &WebHost, domain: &str, mode: &str, mx: &str) {
    let policy_host = format!("mta-sts.{domain}");
    world
        .dns()
        .txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=1;");
    world.dns().host(&policy_host, web.address().ip());
    let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n");
    web.set(&policy_host, Page::text(&text));
}

/// The sections with which policies are found.
fn sections(world: &World, web: &WebHost) -> String {
    let roots = world.folder().join("policy-hosts.pem");
    std::fs::write(&roots, web.ca_pem()).unwrap();
    let port = web.address().port();
    format!("[tls_policies]\nroots = {roots:?}\nhttps_port = {port}\n")
}

async fn web_host() -> WebHost {
    WebHost::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

struct Row {
    /// Also the domain, and with `mx.` before it its host.
    name: &'static str,
    mode: &'static str,
    mx: &'static str,
    certificate: Option<HostCertificate>,
    /// What was proved, or what the reply says of mail that waits.
    then: Result<&'static str, &'static [&'static str]>,
}

fn rows(known: &Authority, nobody: &Authority) -> Vec<Row> {
    let of =
        |authority: &Authority, name: &str| Some(authority.issue(&[&format!("mx.{name}.test")]));
    let row = |name, mode, mx, certificate, then| Row {
        name,
        mode,
        mx,
        certificate,
        then,
    };
    let late = Some(known.issue_expired(&["mx.late.test"]));
    let misnamed = Some(known.issue(&["mx.x.test"]));
    vec![
        row(
            "good",
            "enforce",
            "mx.good.test",
            of(known, "good"),
            Ok("sts"),
        ),
        row(
            "wild",
            "enforce",
            "*.wild.test",
            of(known, "wild"),
            Ok("sts"),
        ),
        row(
            "elsewhere",
            "enforce",
            "mx.other.test",
            of(known, "elsewhere"),
            Err(&["MTA-STS", "mx.elsewhere.test", "does not name this host"]),
        ),
        row(
            "late",
            "enforce",
            "mx.late.test",
            late,
            Err(&["MTA-STS", "has expired"]),
        ),
        row(
            "misnamed",
            "enforce",
            "mx.misnamed.test",
            misnamed,
            Err(&["MTA-STS", "for another name"]),
        ),
        row(
            "stranger",
            "enforce",
            "mx.stranger.test",
            of(nobody, "stranger"),
            Err(&["MTA-STS", "nobody we trust"]),
        ),
        row(
            "stripped",
            "enforce",
            "mx.stripped.test",
            None,
            Err(&["MTA-STS", "STARTTLS"]),
        ),
        row(
            "tried",
            "testing",
            "mx.other.test",
            of(nobody, "tried"),
            Ok("tls"),
        ),
        row(
            "tried-clear",
            "testing",
            "mx.tried-clear.test",
            None,
            Ok(""),
        ),
        row("ended", "none", "mx.other.test", None, Ok("")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_mta_sts() {
    let (mut world, web) = (World::new().await, web_host().await);
    let (known, nobody) = (Authority::new("known"), Authority::new("nobody knows it"));
    let mut sinks: Vec<(Row, Sink)> = Vec::new();
    for (last, row) in (10..).zip(rows(&known, &nobody)) {
        let domain = format!("{}.test", row.name);
        let mx = format!("mx.{domain}");
        let sink = host(&world, last, &mx, row.certificate.as_ref()).await;
        world.dns().mx(&domain, 10, &mx);
        publish(&world, &web, &domain, row.mode, row.mx);
        sinks.push((row, sink));
    }
    let trusted = trusting(&world, &known.pem());
    let more = sections(&world, &web);
    world
        .start(&format!("{trusted}retry.first = \"300s\""), &more)
        .await;
    let mut ids = Vec::new();
    for (row, _) in &sinks {
        ids.push(world.send(&[&format!("b@{}.test", row.name)]).await);
    }
    for ((row, sink), id) in sinks.iter().zip(&ids) {
        let name = row.name;
        match row.then {
            Ok(proved) => {
                let delivered = world.event(id, "delivered").await;
                let tls = delivered["tls"].as_str().unwrap_or_default();
                assert!(tls.ends_with(proved), "{name}: {delivered}");
                assert_eq!(taken(sink, 1).await[0].tls, !proved.is_empty(), "{name}");
            }
            Err(words) => {
                let deferred = world.event(id, "deferred").await;
                assert_has(&deferred["reply"].to_string(), words);
                assert_eq!(
                    sink.records().len(),
                    0,
                    "{name}: not even an envelope is shown"
                );
            }
        }
    }
}

/// Where both are published DANE goes first, and neither stops a domain with the same host that publishes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn domains_that_share_a_host_and_not_their_policies() {
    let (mut world, web) = (World::new().await, web_host().await);
    let nobody = Authority::new("nobody knows it");
    let certificate = nobody.issue(&["mx.shared.test"]);
    let sink = host(&world, 3, "mx.shared.test", Some(&certificate)).await;
    world.dns().sign("mx.shared.test", true);
    world.dns().tlsa(
        "mx.shared.test",
        world.port(),
        EE_KEY_SHA256,
        certificate.key_sha256(),
    );
    for (domain, has_sts, is_signed) in [
        ("none.test", false, false),
        ("sts.test", true, false),
        ("both.test", true, true),
    ] {
        world.dns().mx(domain, 10, "mx.shared.test");
        world.dns().sign(domain, is_signed);
        if has_sts {
            publish(&world, &web, domain, "enforce", "mx.shared.test");
        }
    }
    let more = sections(&world, &web);
    world
        .start("retry.first = \"200ms\"\nretry.cap = \"200ms\"", &more)
        .await;
    let waiting = world.send(&["b@sts.test"]).await;
    let deferred = world.event(&waiting, "deferred").await;
    assert_has(
        &deferred["reply"].to_string(),
        &["MTA-STS", "nobody we trust"],
    );
    for n in 0..5 {
        for (domain, proved) in [("none.test", " tls"), ("both.test", " dane")] {
            let id = world.send(&[&format!("b{n}@{domain}")]).await;
            let delivered = world.event(&id, "delivered").await;
            assert_eq!(delivered["attempt"], 1, "{delivered}");
            assert!(
                delivered["tls"].as_str().unwrap().ends_with(proved),
                "{delivered}"
            );
        }
    }
    taken(&sink, 10).await;
}
