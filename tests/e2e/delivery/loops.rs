//! Mail whose hosts are ourselves.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use skein_testkit::process::free_port;

use super::{World, address, assert_has, wait_for};

/// Sinks listen at ports of their own, so that all addresses may be the node's.
fn route_to_reports(world: &World) -> String {
    let reports = world.here.address();
    format!(
        "[[delivery.route]]\ndomains = [\"here.test\"]\nhosts = [\"{reports}\"]\n[delivery.retry]\nfirst = \"200ms\"\ncap = \"1s\"\n"
    )
}

/// Messages that the node has taken that are no reports of its own.
fn taken_in(world: &World) -> usize {
    let mut events = world.events();
    let is_given =
        |event: &Value| event["event"] == "accepted" && event["related_message"].is_null();
    events.retain(is_given);
    events.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_leads_back_to_us_bounces() {
    let mut world = World::new().await;
    world.dns.mx("us.test", 10, "mx.skein.test");
    world.dns.mx("us.test", 20, "good.test");
    world.dns.host("mx.skein.test", address(1));
    world.dns.domain("alias-of-us.test", address(77));
    world.start("own_addresses = [\"127.0.0.77\"]", "").await;
    for domain in ["us.test", "alias-of-us.test"] {
        let id = world.send(&[&format!("b@{domain}")]).await;
        let report = world.report(&id).await;
        assert_has(&report, &["Status: 5.4.6\r\n", "loops back"]);
    }
    wait_for("an empty queue", || {
        let ends = world
            .events()
            .iter()
            .filter(|e| e["event"] == "bounced")
            .count();
        (ends == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_with_our_address_bounces_before_the_mail_goes_round() {
    for listener in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let mut world = World::new().await;
        world.port = free_port().unwrap();
        world.smtp = SocketAddr::from((listener, world.port));
        world.dns.mx("round.test", 10, "unheard-of.test");
        world.dns.host("unheard-of.test", address(1));
        world.dns.mx("later.test", 10, "public.test");
        world.dns.host("public.test", address(78));
        world.start("", &route_to_reports(&world)).await;

        let id = world.send(&["b@round.test"]).await;
        let report = world.report(&id).await;
        assert_has(&report, &["Status: 5.4.6\r\n", "loops back"]);
        let bounced = world.event(&id, "bounced").await;
        let reply = bounced["reply"].as_str().unwrap();
        assert_has(reply, &["unheard-of.test [127.0.0.1]"]);
        let events = world.events_of(&id);
        assert!(
            events.iter().all(|event| event["event"] != "delivered"),
            "{events:?}"
        );
        assert_eq!(taken_in(&world), 1, "it did not come back");

        // What the policy says of source IPs is followed without a restart.
        world.apply(
            "kind: ip\nname: out\nbind: 127.0.0.9\npublic: 127.0.0.78\nehlo: out.test\n---\n\
             kind: pool\nname: far\nmembers: [{ip: out}]\n",
        );
        let id = world.send(&["b@later.test"]).await;
        let bounced = world.event(&id, "bounced").await;
        let reply = bounced["reply"].as_str().unwrap();
        assert_has(reply, &["public.test [127.0.0.78]"]);
        assert_eq!(bounced["enhanced"], "5.4.6");
    }
}
