//! DANE, row by row: hosts whose zones publish TLSA records, or break on the way to them.

use skein_testkit::authority::{Authority, HostCertificate};
use skein_testkit::dns::{Fault, RecordType};
use skein_testkit::sink::Sink;

use super::{host, trusting};
use crate::delivery::{World, accepted, assert_has, taken};

const EE_KEY_SHA256: (u8, u8, u8) = (3, 1, 1);
const TA_CERTIFICATE_SHA256: (u8, u8, u8) = (2, 0, 1);
const PKIX_EE: (u8, u8, u8) = (1, 1, 1);

/// What is to become of the mail of one domain.
enum Then {
    /// It goes, and this was proved; empty: in the clear.
    Goes(&'static str),
    /// It waits, with these words in the reply.
    Waits(&'static [&'static str]),
}

struct Row {
    /// Also the domain, and with `mx.` before it its host.
    name: &'static str,
    certificate: Option<HostCertificate>,
    then: Then,
}

fn name_of(row: &Row) -> (String, String) {
    let domain = format!("{}.test", row.name);
    (format!("mx.{domain}"), domain)
}

fn rows(nobody: &Authority) -> Vec<Row> {
    let named = |name: &str| nobody.issue(&[&format!("mx.{name}.test")]);
    let expired = |name: &str| nobody.issue_expired(&[&format!("mx.{name}.test")]);
    let row = |name, certificate, then| Row {
        name,
        certificate,
        then,
    };
    vec![
        row("match", Some(named("match")), Then::Goes("dane")),
        row("old-key", Some(expired("old-key")), Then::Goes("dane")),
        row(
            "self-signed",
            Some(HostCertificate::self_signed(&["x.test"])),
            Then::Goes("dane"),
        ),
        row("issuer", Some(named("issuer")), Then::Goes("dane")),
        row(
            "issuer-late",
            Some(expired("issuer-late")),
            Then::Waits(&["DANE", "mx.issuer-late.test", "has expired"]),
        ),
        row(
            "issuer-name",
            Some(nobody.issue(&["mx.other.test"])),
            Then::Waits(&["DANE", "for another name"]),
        ),
        row(
            "mismatch",
            Some(named("mismatch")),
            Then::Waits(&["DANE", "mx.mismatch.test", "no TLSA record matches"]),
        ),
        row("stripped", None, Then::Waits(&["DANE", "STARTTLS"])),
        row("unusable", Some(named("unusable")), Then::Goes("tls")),
        row("unusable-clear", None, Then::Waits(&["DANE", "STARTTLS"])),
        row(
            "servfail",
            Some(named("servfail")),
            Then::Waits(&["DANE", "TLSA", "SERVFAIL"]),
        ),
        row("nothing", None, Then::Goes("")),
        row("unsigned-mx", None, Then::Goes("")),
        row("unsigned-host", None, Then::Goes("")),
        row(
            "broken-aaaa",
            Some(named("broken-aaaa")),
            Then::Goes("dane"),
        ),
    ]
}

/// Publishes what a row is about.
fn publish(world: &World, row: &Row, nobody: &Authority) {
    let (dns, port) = (world.dns(), world.port());
    let (host, domain) = name_of(row);
    dns.mx(&domain, 10, &host);
    let tlsa = format!("_{port}._tcp.{host}");
    let own = row.certificate.as_ref().map(HostCertificate::key_sha256);
    match row.name {
        "issuer" | "issuer-late" | "issuer-name" => {
            dns.tlsa(&host, port, TA_CERTIFICATE_SHA256, &nobody.sha256());
        }
        "mismatch" | "stripped" => dns.tlsa(&host, port, EE_KEY_SHA256, &[7; 32]),
        "unusable" | "unusable-clear" => dns.tlsa(&host, port, PKIX_EE, &[7; 32]),
        "servfail" => dns.fault(&tlsa, Some(Fault::ServFail)),
        "nothing" => {}
        // A record that would match nothing, and that nobody has a reason to look at.
        "unsigned-mx" => {
            dns.sign(&domain, false);
            dns.sign(&host, true);
            dns.tlsa(&host, port, EE_KEY_SHA256, &[7; 32]);
        }
        // Servers of unsigned zones that do not know the type.
        "unsigned-host" => {
            dns.sign(&host, false);
            dns.fault(&tlsa, Some(Fault::NotImp));
        }
        "broken-aaaa" => {
            dns.fault_of(&host, RecordType::AAAA, Some(Fault::ServFail));
            dns.tlsa(&host, port, EE_KEY_SHA256, own.unwrap());
        }
        _ => dns.tlsa(&host, port, EE_KEY_SHA256, own.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_dane() {
    let mut world = World::new().await;
    world.dns().sign("test", true);
    let nobody = Authority::new("nobody knows it");
    let mut sinks: Vec<(Row, Sink)> = Vec::new();
    for (last, row) in (10..).zip(rows(&nobody)) {
        let (name, _) = name_of(&row);
        let sink = host(&world, last, &name, row.certificate.as_ref()).await;
        publish(&world, &row, &nobody);
        sinks.push((row, sink));
    }
    world.start("retry.first = \"300s\"", "").await;
    let mut ids = Vec::new();
    for (row, _) in &sinks {
        let (_, domain) = name_of(row);
        ids.push(world.send(&[&format!("b@{domain}")]).await);
    }
    for ((row, sink), id) in sinks.iter().zip(&ids) {
        let name = row.name;
        match &row.then {
            Then::Goes(proved) => {
                let delivered = world.event(id, "delivered").await;
                let tls = delivered["tls"].as_str().unwrap_or_default();
                assert!(tls.ends_with(proved), "{name}: {delivered}");
                assert_eq!(proved.is_empty(), tls.is_empty(), "{name}: {delivered}");
                assert_eq!(taken(sink, 1).await[0].tls, !proved.is_empty(), "{name}");
            }
            Then::Waits(words) => {
                let deferred = world.event(id, "deferred").await;
                let reply = deferred["reply"].to_string();
                assert_has(&reply, words);
                assert_eq!(accepted(sink).len(), 0, "{name}");
                assert_eq!(
                    sink.records().len(),
                    0,
                    "{name}: not even an envelope is shown"
                );
            }
        }
    }
}

/// A host that does not prove itself is passed over, and the next one takes the mail.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_takes_what_the_first_does_not_prove() {
    let mut world = World::new().await;
    world.dns().sign("test", true);
    let nobody = Authority::new("nobody knows it");
    let good = nobody.issue(&["mx2.two.test"]);
    let first = host(
        &world,
        3,
        "mx1.two.test",
        Some(&nobody.issue(&["mx1.two.test"])),
    )
    .await;
    let second = host(&world, 4, "mx2.two.test", Some(&good)).await;
    world.dns().mx("two.test", 10, "mx1.two.test");
    world.dns().mx("two.test", 20, "mx2.two.test");
    let port = world.port();
    world
        .dns()
        .tlsa("mx1.two.test", port, EE_KEY_SHA256, &[7; 32]);
    world
        .dns()
        .tlsa("mx2.two.test", port, EE_KEY_SHA256, good.key_sha256());
    world.start("", "").await;
    let id = world.send(&["b@two.test"]).await;
    taken(&second, 1).await;
    assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    assert_eq!(first.records().len(), 0);
}

/// A resolver whose word is not trusted makes DANE silent and mail goes as it did without it.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_trusted_resolver_there_is_no_dane() {
    let mut world = World::new().await;
    world.dns().sign("test", true);
    let sink = host(&world, 3, "mx.plain.test", None).await;
    world.dns().mx("plain.test", 10, "mx.plain.test");
    let port = world.port();
    world
        .dns()
        .tlsa("mx.plain.test", port, EE_KEY_SHA256, &[7; 32]);
    world.distrust_dns();
    world.start("", "").await;
    world.send(&["b@plain.test"]).await;
    assert!(!taken(&sink, 1).await[0].tls);
}

/// Certificates of public authorities are looked at where policy says so, and never otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_providers_word_on_tls() {
    let mut world = World::new().await;
    let (known, nobody) = (Authority::new("known"), Authority::new("nobody knows it"));
    let mut sinks = Vec::new();
    for (last, name, certificate) in [
        (3, "good", Some(known.issue(&["mx.good.test"]))),
        (4, "late", Some(known.issue_expired(&["mx.late.test"]))),
        (5, "stranger", Some(nobody.issue(&["mx.stranger.test"]))),
        (6, "misnamed", Some(known.issue(&["mx.x.test"]))),
        (7, "clear", None),
    ] {
        let host_name = format!("mx.{name}.test");
        let sink = host(&world, last, &host_name, certificate.as_ref()).await;
        for policy in ["require", "encrypt", "any"] {
            world
                .dns()
                .mx(&format!("{policy}.{name}.test"), 10, &host_name);
        }
        sinks.push((name, certificate.is_some(), sink));
    }
    let trusted = trusting(&world, &known.pem());
    let routes = "[[delivery.route]]\ndomains = [\"here.test\"]\ntls = \"opportunistic\"\n";
    world
        .start(&format!("{trusted}retry.first = \"300s\""), routes)
        .await;
    let names = |policy: &str| {
        let domains = sinks
            .iter()
            .map(|(name, ..)| format!("{policy}.{name}.test"));
        domains.collect::<Vec<_>>().join(", ")
    };
    for policy in ["require", "encrypt"] {
        let domains = names(policy);
        world.apply(&format!(
            "kind: provider\nname: {policy}\ndomains: [{domains}]\ntls: {policy}\n"
        ));
    }
    let goes = |policy: &str, name: &str, has_tls: bool| match policy {
        "require" => name == "good",
        "encrypt" => has_tls,
        _ => true,
    };
    for policy in ["require", "encrypt", "any"] {
        for (name, has_tls, _) in &sinks {
            let id = world.send(&[&format!("b@{policy}.{name}.test")]).await;
            let (event, what) = match goes(policy, name, *has_tls) {
                true => ("delivered", "goes"),
                false => ("deferred", "waits"),
            };
            let event = world.event(&id, event).await;
            println!("{policy} {name} {what}: {}", event["reply"]);
            if what == "goes" && *has_tls {
                let proved = if *name == "good" { "pkix" } else { "tls" };
                let tls = event["tls"].as_str().unwrap();
                assert!(tls.ends_with(proved), "{policy} {name}: {tls}");
            }
        }
    }
}
