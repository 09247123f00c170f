//! Encryption on the way out.

use std::path::Path;

use skein_testkit::load::Probe;
use skein_testkit::process::free_port;
use skein_testkit::sink::{Act, Phase, Sink, SinkConfig};

use super::{World, accepted, address, assert_has, hand_in, taken};

/// A sink that is the domain's only host and has a certificate for the host's name.
async fn named(
    world: &World,
    last: u8,
    domain: &str,
    change: impl FnOnce(&mut SinkConfig),
) -> Sink {
    let mut config = world.sink_config(last);
    config.hostname = format!("mx.{domain}");
    change(&mut config);
    world.sink_of(config, domain).await
}

fn trust(sinks: &[&Sink], file: &Path) -> String {
    let certificates = sinks.iter().map(|sink| sink.certificate().unwrap());
    std::fs::write(file, certificates.collect::<String>()).unwrap();
    format!("tls_ca = \"{}\"\n", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_knows_is_better_than_none() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let id = world.send(&["b@there.test"]).await;
    assert!(taken(&sink, 1).await[0].tls);
    let delivered = world.event(&id, "delivered").await;
    assert!(delivered["tls"].as_str().unwrap().starts_with("TLSv1.3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tls_breaks_mail_goes_in_the_clear_unless_tls_is_required() {
    let mut world = World::new().await;
    let mut sinks = Vec::new();
    for (last, act) in (3..).zip([
        Act::reply(454, "4.7.0 no TLS now"),
        Act::reply(500, "5.5.1 STARTTLS? never heard of it"),
        Act::Drop,
        Act::Reset,
    ]) {
        let config = world
            .sink_config(last)
            .script(move |moment| match moment.phase {
                Phase::StartTls => act.clone(),
                _ => Act::Accept,
            });
        let domain = format!("broken{last}.test");
        let sink = world.sink_of(config, &domain).await;
        world
            .dns
            .domain(&format!("strict{last}.test"), address(last));
        sinks.push((last, sink));
    }
    let strict: Vec<String> = sinks
        .iter()
        .map(|(last, _)| format!("\"strict{last}.test\""))
        .collect();
    let route = format!(
        "[[delivery.route]]\ndomains = [{}]\ntls = \"require\"\n",
        strict.join(", ")
    );
    world.start("", &route).await;
    for (last, sink) in &sinks {
        let id = world.send(&[&format!("b@strict{last}.test")]).await;
        let deferred = world.event(&id, "deferred").await;
        assert_eq!(deferred["enhanced"], "4.7.5", "{deferred}");
        assert_eq!(accepted(sink).len(), 0);
        world.send(&[&format!("b@broken{last}.test")]).await;
        assert!(!taken(sink, 1).await[0].tls);
    }
}

/// What may go wrong between EHLO in the clear and the first reply under TLS: when, what, and whether the host is to be
/// remembered for it.
fn faults() -> Vec<(&'static str, Phase, Act, bool)> {
    let alert = vec![21, 3, 3, 0, 2, 2, 40];
    vec![
        (
            "refused now",
            Phase::StartTls,
            Act::reply(454, "4.7.0 no TLS now"),
            false,
        ),
        (
            "refused",
            Phase::StartTls,
            Act::reply(554, "5.7.3 no TLS here"),
            true,
        ),
        ("closed at STARTTLS", Phase::StartTls, Act::Drop, true),
        ("reset at STARTTLS", Phase::StartTls, Act::Reset, true),
        ("silent at STARTTLS", Phase::StartTls, Act::Tarpit, true),
        (
            "closed before the handshake",
            Phase::Handshake,
            Act::Drop,
            true,
        ),
        (
            "reset before the handshake",
            Phase::Handshake,
            Act::Reset,
            true,
        ),
        (
            "silent in the handshake",
            Phase::Handshake,
            Act::Tarpit,
            true,
        ),
        (
            "clear text in the handshake",
            Phase::Handshake,
            Act::reply(454, "4.7.0 oops"),
            true,
        ),
        (
            "an alert in the handshake",
            Phase::Handshake,
            Act::Raw(alert),
            true,
        ),
        (
            "noise in the handshake",
            Phase::Handshake,
            Act::Raw(vec![0xff; 600]),
            true,
        ),
        ("closed after the handshake", Phase::Ehlo, Act::Drop, true),
        ("reset after the handshake", Phase::Ehlo, Act::Reset, true),
        ("silent after the handshake", Phase::Ehlo, Act::Tarpit, true),
        (
            "noise after the handshake",
            Phase::Ehlo,
            Act::Raw(vec![b'x'; 600]),
            true,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_keeps_the_first_reply_under_tls_away_mail_that_may_goes_in_the_clear() {
    let mut world = World::new().await;
    let mut sinks = Vec::new();
    let mut strict = Vec::new();
    let mut add = async |name: &'static str, is_remembered: bool, config: SinkConfig| {
        let last = 20 + sinks.len();
        let sink = world.sink_of(config, &format!("broken{last}.test")).await;
        let address = sink.address().ip();
        world.dns.domain(&format!("strict{last}.test"), address);
        strict.push(format!("\"strict{last}.test\""));
        sinks.push((name, last, is_remembered, sink));
    };
    let mut last = 20;
    for (name, phase, act, is_remembered) in faults() {
        let config = world.sink_config(last).script(move |moment| {
            let is_here = moment.phase == phase && (phase != Phase::Ehlo || moment.tls);
            if is_here { act.clone() } else { Act::Accept }
        });
        add(name, is_remembered, config).await;
        last += 1;
    }
    let mut config = world.sink_config(last);
    config.wants_certificate = true;
    add(
        "an alert after the handshake: it wants a certificate",
        true,
        config,
    )
    .await;

    let route = format!(
        "[[delivery.route]]\ndomains = [{}]\ntls = \"require\"\n",
        strict.join(", ")
    );
    world.start("", &route).await;
    // Nobody waits for five minutes here.
    let quick = "kind: provider\nname: default\nextends: true\ntimeouts: {command: 4s}\n";
    world.apply(quick);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let mut ids = Vec::new();
    for (_, last, _, _) in &sinks {
        let strict = world.send(&[&format!("b@strict{last}.test")]).await;
        let lax = world.send(&[&format!("b@broken{last}.test")]).await;
        ids.push((strict, lax));
    }
    for ((name, _, _, sink), (strict, lax)) in sinks.iter().zip(&ids) {
        let deferred = world.event(strict, "deferred").await;
        assert_eq!(deferred["enhanced"], "4.7.5", "{name}: {deferred}");
        let delivered = world.event(lax, "delivered").await;
        assert_eq!(delivered["attempt"], 1, "{name}");
        let taken = taken(sink, 1).await;
        assert!(!taken[0].tls, "{name}");
        println!("{name}: {}", deferred["reply"]);
    }
    // What is remembered costs no second try, and is shown with its end.
    for (name, last, is_remembered, sink) in &sinks {
        let domain = format!("broken{last}.test");
        if *is_remembered {
            let site = format!("mx.{domain}");
            let explained = world.explained(&["site", &site], "does not work").await;
            assert_has(&explained, &["in 59m"]);
        }
        let before = sink.connections();
        world.send(&[&format!("c@{domain}")]).await;
        assert!(!taken(sink, 2).await[1].tls, "{name}");
        let tries = sink.connections() - before;
        // A connection that is still open takes it as well.
        let most = if *is_remembered { 1 } else { 2 };
        assert!(tries <= most, "{name}: {tries} connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_does_not_hold_mail_up_for_minutes() {
    let mut world = World::new().await;
    let config = world.sink_config(3).script(|moment| match moment.phase {
        Phase::Handshake => Act::Tarpit,
        _ => Act::Accept,
    });
    let sink = world.sink_of(config, "there.test").await;
    world.start("", "").await;
    world.send(&["b@there.test"]).await;
    assert!(!taken(&sink, 1).await[0].tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn required_tls_needs_a_certificate_for_the_hosts_name() {
    let mut world = World::new().await;
    let good = named(&world, 3, "good.test", |_| {}).await;
    let unknown = named(&world, 4, "unknown.test", |_| {}).await;
    let misnamed = named(&world, 5, "misnamed.test", |config| {
        config.hostname = "another.test".into();
    })
    .await;
    let without = named(&world, 6, "without.test", |config| {
        config.extensions.starttls = false;
    })
    .await;
    let ca = trust(&[&good, &misnamed], &world.folder.path().join("ca.pem"));
    let delivery = format!("{ca}tls = \"require\"\nretry.first = \"100ms\"");
    let reports = "[[delivery.route]]\ndomains = [\"here.test\"]\ntls = \"opportunistic\"\n";
    world.start(&delivery, reports).await;
    for (domain, status) in [
        ("unknown.test", "4.7.5"),
        ("misnamed.test", "4.7.5"),
        ("without.test", "4.7.10"),
    ] {
        let id = world.send(&[&format!("b@{domain}")]).await;
        let deferred = world.event(&id, "deferred").await;
        assert_eq!(deferred["enhanced"], status, "{domain}: {deferred}");
    }
    let id = world.send(&["b@good.test"]).await;
    assert!(taken(&good, 1).await[0].tls);
    assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    for sink in [&unknown, &misnamed, &without] {
        assert_eq!(sink.records().len(), 0, "not even an envelope is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_tls_is_not_used_where_it_is_offered() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("tls = \"disable\"", "").await;
    world.send(&["b@there.test"]).await;
    assert!(!taken(&sink, 1).await[0].tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_requires_tls_goes_over_verified_tls_or_comes_back() {
    let mut world = World::new().await;
    // Hosts are to be found securely.
    world.dns.sign("test", true);
    let good = named(&world, 3, "good.test", |_| {}).await;
    let unknown = named(&world, 4, "unknown.test", |_| {}).await;
    let unwilling = named(&world, 5, "unwilling.test", |config| {
        config.extensions.require_tls = false;
    })
    .await;
    let plain = named(&world, 6, "plain.test", |config| {
        config.extensions.starttls = false;
    })
    .await;
    // The second host of a domain may fulfil what the first does not.
    world.dns.mx("second.test", 10, "mx.unwilling.test");
    world.dns.mx("second.test", 20, "mx.good.test");
    let ca = trust(&[&good, &unwilling], &world.folder.path().join("ca.pem"));
    let certified = rcgen::generate_simple_self_signed(["mx.skein.test".to_owned()]).unwrap();
    let (certificate, key) = (
        world.folder.path().join("cert.pem"),
        world.folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let secure = free_port().unwrap();
    let more = format!(
        "[smtp.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[[smtp.listener]]\naddress = \"127.0.0.1:{secure}\"\n",
        certificate.display(),
        key.display()
    );
    world.start(&ca, &more).await;

    let mut ids = Vec::new();
    for domain in [
        "good.test",
        "second.test",
        "unknown.test",
        "unwilling.test",
        "plain.test",
    ] {
        let (mut probe, _) = Probe::greet(([127, 0, 0, 1], secure).into()).await.unwrap();
        probe.starttls().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        let mail = "MAIL FROM:<a@here.test> REQUIRETLS RET=FULL";
        let to = format!("b@{domain}");
        let message = "Subject: hello\r\n\r\nthe secret\r\n";
        ids.push(hand_in(&mut probe, mail, &[&to], message).await);
    }
    for record in taken(&good, 2).await {
        assert!(record.tls);
        assert_has(&record.mail, &["REQUIRETLS"]);
    }
    for (id, status) in ids[2..].iter().zip(["5.7.10", "5.7.30", "5.7.10"]) {
        let report = world.report(id).await;
        assert_has(
            &report,
            &["Action: failed\r\n", &format!("Status: {status}\r\n")],
        );
        assert!(!report.contains("the secret"), "{report}");
    }
    for sink in [&unknown, &unwilling, &plain] {
        assert_eq!(sink.records().len(), 0, "not even an envelope is shown");
    }
}
