//! Domains that share their hosts and not their policies.

use skein_testkit::authority::Authority;
use skein_testkit::sink::most_at_once;

use super::host;
use crate::delivery::{World, accepted, assert_has, taken};

const EE_KEY_SHA256: (u8, u8, u8) = (3, 1, 1);

/// Two domains, one host: the signed one demands what the host does not prove. Only its mail waits, in spite of many tries, and
/// connections of the other one are of no use to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_broken_policy_of_one_domain_stops_no_other() {
    let mut world = World::new().await;
    let nobody = Authority::new("nobody knows it");
    let certificate = nobody.issue(&["mx.shared.test"]);
    let sink = host(&world, 3, "mx.shared.test", Some(&certificate)).await;
    for domain in ["strict.test", "lax.test"] {
        world.dns().mx(domain, 10, "mx.shared.test");
    }
    world.dns().sign("strict.test", true);
    world.dns().sign("mx.shared.test", true);
    let port = world.port();
    world
        .dns()
        .tlsa("mx.shared.test", port, EE_KEY_SHA256, &[7; 32]);
    world.dns().ttl(1);
    world
        .start("retry.first = \"200ms\"\nretry.cap = \"200ms\"", "")
        .await;
    let waiting = world.send(&["b@strict.test"]).await;
    let deferred = world.event(&waiting, "deferred").await;
    assert_has(
        &deferred["reply"].to_string(),
        &["DANE", "mx.shared.test", "no TLSA record"],
    );
    for n in 1..=20 {
        let id = world.send(&[&format!("b{n}@lax.test")]).await;
        let delivered = world.event(&id, "delivered").await;
        assert_eq!(delivered["attempt"], 1, "{delivered}");
        assert!(
            delivered["tls"].as_str().unwrap().ends_with(" tls"),
            "{delivered}"
        );
    }
    taken(&sink, 20).await;
    assert!(
        accepted(&sink)
            .iter()
            .all(|record| record.sender() == "a@here.test")
    );
    let explained = world
        .explained(&["site", "mx.shared.test"], "mx.shared.test")
        .await;
    assert!(!explained.contains("give no connection"), "{explained}");

    let page = world.metrics().await;
    let counted = page.lines().filter(|line| {
        let is_it = line.starts_with("skein_smtp_out_tls_refusals_total{");
        is_it && !line.ends_with(" 0")
    });
    assert_eq!(counted.count(), 1, "{page}");

    // The zone is put right, and the mail goes.
    world.dns().remove(&format!("_{port}._tcp.mx.shared.test"));
    world.dns().tlsa(
        "mx.shared.test",
        port,
        EE_KEY_SHA256,
        certificate.key_sha256(),
    );
    let delivered = world.event(&waiting, "delivered").await;
    assert!(
        delivered["tls"].as_str().unwrap().ends_with(" dane"),
        "{delivered}"
    );
}

/// A limit of a site holds over all that go there, whatever they demand.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_site_holds_over_all_policies() {
    let mut world = World::new().await;
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
    for n in 0..4 {
        for kind in ["signed", "unsigned"] {
            let domain = format!("{kind}{n}.test");
            world.dns().mx(&domain, 10, "mx.shared.test");
            world.dns().sign(&domain, kind == "signed");
        }
    }
    world.start("", "").await;
    world.apply("kind: provider\nname: shared\nmx: [mx.shared.test]\nper_ip: {connections: 1}\n");
    let mut ids = Vec::new();
    for round in 0..3 {
        for n in 0..4 {
            for kind in ["signed", "unsigned"] {
                let id = world.send(&[&format!("b{round}@{kind}{n}.test")]).await;
                ids.push((kind, id));
            }
        }
    }
    for (kind, id) in &ids {
        let delivered = world.event(id, "delivered").await;
        let proved = if *kind == "signed" { "dane" } else { "tls" };
        let tls = delivered["tls"].as_str().unwrap();
        assert!(tls.ends_with(proved), "{kind}: {tls}");
    }
    taken(&sink, ids.len()).await;
    let visits = sink.visits();
    assert_eq!(most_at_once(&visits, 0..u64::MAX).0, 1, "{visits:?}");
}
