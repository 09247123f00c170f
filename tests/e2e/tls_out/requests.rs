//! What senders want of TLS (RFC 8689).

use skein_testkit::authority::Authority;
use skein_testkit::load::Probe;
use skein_testkit::process::free_port;

use super::{host, host_that, trusting};
use crate::delivery::{World, assert_has, hand_in, taken};

const EE_KEY_SHA256: (u8, u8, u8) = (3, 1, 1);

#[tokio::test(flavor = "multi_thread")]
async fn tls_required_no_reaches_hosts_that_break_their_own_policy() {
    let mut world = World::new().await;
    world.dns().sign("test", true);
    let sink = host(&world, 3, "mx.broken.test", None).await;
    world.dns().mx("broken.test", 10, "mx.broken.test");
    let port = world.port();
    world
        .dns()
        .tlsa("mx.broken.test", port, EE_KEY_SHA256, &[7; 32]);
    world.start("retry.first = \"300s\"", "").await;
    let mail = "MAIL FROM:<a@here.test>";
    for (header, goes) in [
        ("", false),
        ("TLS-Required: No\r\n", true),
        ("tls-required:\r\n  NO\r\n", true),
        ("TLS-Required: Yes\r\n", false),
        ("TLS-Required: No\r\nTLS-Required: No\r\n", false),
    ] {
        let message = format!("{header}Subject: hello\r\n\r\nhi\r\n");
        let id = world.hand_in(mail, &["b@broken.test"], &message).await;
        let event = if goes { "delivered" } else { "deferred" };
        let event = world.event(&id, event).await;
        assert_eq!(event["attempt"], 1, "{header:?}: {event}");
    }
    let records = taken(&sink, 2).await;
    assert_has(
        &String::from_utf8_lossy(&records[0].message),
        &["TLS-Required: No\r\n"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requiretls_goes_to_hosts_that_are_found_securely_and_verify() {
    let mut world = World::new().await;
    let (known, nobody) = (Authority::new("known"), Authority::new("nobody knows it"));
    let certificates = [
        (3, "signed", known.issue(&["mx.signed.test"])),
        (4, "unsigned", known.issue(&["mx.unsigned.test"])),
        (5, "dane", nobody.issue(&["mx.dane.test"])),
        (6, "stranger", nobody.issue(&["mx.stranger.test"])),
        (7, "lacks", known.issue(&["mx.lacks.test"])),
    ];
    let mut sinks = Vec::new();
    for (last, name, certificate) in &certificates {
        let domain = format!("{name}.test");
        let mx = format!("mx.{domain}");
        let sink = host_that(&world, *last, &mx, Some(certificate), |config| {
            config.extensions.require_tls = *name != "lacks";
        })
        .await;
        world.dns().mx(&domain, 10, &mx);
        world.dns().sign(&domain, *name != "unsigned");
        if *name == "dane" {
            world
                .dns()
                .tlsa(&mx, world.port(), EE_KEY_SHA256, certificate.key_sha256());
        }
        sinks.push(sink);
    }
    let own = skein_tests::self_signed(world.folder()).unwrap();
    let secure = free_port().unwrap();
    let more = format!("{own}\n[[smtp.listener]]\naddress = \"127.0.0.1:{secure}\"\n");
    world.start(&trusting(&world, &known.pem()), &more).await;
    let mut ids = Vec::new();
    for (_, name, _) in &certificates {
        let (mut probe, _) = Probe::greet(([127, 0, 0, 1], secure).into()).await.unwrap();
        probe.starttls().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        let mail = "MAIL FROM:<a@here.test> REQUIRETLS";
        // Without effect here.
        let message = "TLS-Required: No\r\nSubject: hello\r\n\r\nhi\r\n";
        let to = format!("b@{name}.test");
        ids.push(hand_in(&mut probe, mail, &[&to], message).await);
    }
    for ((id, (_, name, _)), then) in ids.iter().zip(&certificates).zip([
        Ok("pkix"),
        Err("5.7.10"),
        Ok("dane"),
        Err("5.7.10"),
        Err("5.7.30"),
    ]) {
        match then {
            Ok(proved) => {
                let delivered = world.event(id, "delivered").await;
                let tls = delivered["tls"].as_str().unwrap();
                assert!(tls.ends_with(proved), "{name}: {tls}");
            }
            Err(status) => {
                let report = world.report(id).await;
                assert_has(
                    &report,
                    &["Action: failed\r\n", &format!("Status: {status}\r\n")],
                );
            }
        }
    }
    let seen: Vec<usize> = sinks.iter().map(|sink| sink.records().len()).collect();
    assert_eq!(seen, [1, 0, 1, 0, 0], "not even an envelope is shown");
}

/// A host that an operator named is as secure as the route says.
#[tokio::test(flavor = "multi_thread")]
async fn requiretls_goes_to_a_smarthost_only_where_the_route_says_that_it_is_secure() {
    let mut world = World::new().await;
    let (known, nobody) = (Authority::new("known"), Authority::new("nobody knows it"));
    let rows = [
        (
            3,
            "safe",
            known.issue(&["relay.safe.test"]),
            "require",
            Ok("pkix"),
        ),
        (
            4,
            "any",
            known.issue(&["relay.any.test"]),
            "opportunistic",
            Err("5.7.30"),
        ),
        (
            5,
            "encrypted",
            known.issue(&["relay.encrypted.test"]),
            "encrypt",
            Err("5.7.30"),
        ),
        (
            6,
            "clear",
            known.issue(&["relay.clear.test"]),
            "disable",
            Err("5.7.30"),
        ),
        (
            7,
            "stranger",
            nobody.issue(&["relay.stranger.test"]),
            "require",
            Err("5.7.10"),
        ),
        (
            8,
            "lacks",
            known.issue(&["relay.lacks.test"]),
            "require",
            Err("5.7.30"),
        ),
    ];
    let own = skein_tests::self_signed(world.folder()).unwrap();
    let secure = free_port().unwrap();
    let mut more = format!("{own}\n[[smtp.listener]]\naddress = \"127.0.0.1:{secure}\"\n");
    let mut sinks = Vec::new();
    for (last, name, certificate, tls, _) in &rows {
        let relay = format!("relay.{name}.test");
        let sink = host_that(&world, *last, &relay, Some(certificate), |config| {
            config.extensions.require_tls = *name != "lacks";
        });
        sinks.push(sink.await);
        more.push_str(&format!(
            "[[delivery.route]]\ndomains = [\"{name}.test\"]\nhosts = [\"{relay}:{}\"]\ntls = \"{tls}\"\n",
            world.port()
        ));
    }
    world.start(&trusting(&world, &known.pem()), &more).await;
    let mut ids = Vec::new();
    for (_, name, ..) in &rows {
        let (mut probe, _) = Probe::greet(([127, 0, 0, 1], secure).into()).await.unwrap();
        probe.starttls().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        let mail = "MAIL FROM:<a@here.test> REQUIRETLS";
        let to = format!("b@{name}.test");
        ids.push(hand_in(&mut probe, mail, &[&to], "Subject: hello\r\n\r\nhi\r\n").await);
    }
    for (id, (_, name, _, _, then)) in ids.iter().zip(&rows) {
        match then {
            Ok(proved) => {
                let delivered = world.event(id, "delivered").await;
                let tls = delivered["tls"].as_str().unwrap();
                assert!(tls.ends_with(proved), "{name}: {tls}");
            }
            Err(status) => {
                let report = world.report(id).await;
                assert_has(
                    &report,
                    &["Action: failed\r\n", &format!("Status: {status}\r\n")],
                );
            }
        }
    }
    let seen: Vec<usize> = sinks.iter().map(|sink| sink.records().len()).collect();
    assert_eq!(seen, [1, 0, 0, 0, 0, 0], "not even an envelope is shown");
    assert_has(&sinks[0].records()[0].mail, &["REQUIRETLS"]);
}
