//! What is one destination for limits, and through which pool mail goes.

use serde_json::Value;
use skein_testkit::dns::Fault;
use skein_testkit::load::{Probe, Reply};
use skein_testkit::sink::Sink;

use super::{World, address, recipients, taken, wait_for};
use crate::skeinctl_at;

const RETRY: &str = "\
[delivery.retry]
first = \"200ms\"
cap = \"1s\"
";
const PROVIDER: &str = "\
kind: provider
name: big
mx: [.big.test]
";
const POOLS: &str = "\
kind: ip
name: a1
bind: 127.0.0.1
ehlo: a1.example.test
---
kind: pool
name: news
members: [{ip: a1}]
---
kind: pool
name: receipts
members: [{ip: a1}]
---
kind: pool
name: acme
members: [{ip: a1}]
---
kind: route
name: everybody
header: true
pools: [news]
---
kind: route
name: acme
tenant: acme
header: true
pools: [acme]
---
kind: route
name: shop
sender_domain: shop.test
pool: receipts
";

/// No host listens here unless the test starts one.
const BIG: u8 = 3;

impl World {
    /// Site and slot of the queues of a domain.
    fn places(&self, domain: &str) -> Vec<(String, u64)> {
        let args = ["queue", "list", "--domain", domain, "--json"];
        let queues: Vec<Value> = serde_json::from_str(&skeinctl_at(self.admin, &args)).unwrap();
        let place = |queue: &Value| {
            let site = queue["site"].as_str().unwrap().to_owned();
            (site, queue["slot"].as_u64().unwrap())
        };
        queues.iter().map(place).collect()
    }

    /// Waits until all mail for a domain waits in one place of this site, and returns its slot.
    async fn slot_in(&self, domain: &str, site: &str) -> u64 {
        let look = || match self.places(domain).as_slice() {
            [(found, slot)] if found == site => Some(*slot),
            _ => None,
        };
        wait_for(&format!("{domain} in {site}"), look).await
    }

    async fn big_host(&self) -> Sink {
        Sink::start(self.sink_config(BIG)).await.unwrap()
    }

    /// The reply to a message from this sender with this header.
    async fn reply_to(&self, from: &str, header: &str) -> Reply {
        let (mut probe, _) = Probe::greet(self.smtp).await.unwrap();
        for line in [
            &format!("MAIL FROM:<{from}>"),
            "RCPT TO:<b@one.test>",
            "DATA",
        ] {
            let reply = probe.cmd(line).await.unwrap();
            assert!(reply.positive(), "{line}: {reply:?}");
        }
        let message = format!("{header}Subject: x\r\n\r\nX-Skein-Pool: in the body\r\n.\r\n");
        probe.send(message.as_bytes()).await.unwrap();
        probe.reply().await.unwrap()
    }

    fn pool_of(&self, id: &str) -> String {
        let shown = skeinctl_at(self.admin, &["message", "show", id, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["pool"].as_str().unwrap().to_owned()
    }
}

fn id_in(reply: &Reply) -> String {
    assert_eq!(reply.code, 250, "{reply:?}");
    reply.text().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_of_one_provider_are_one_site_in_one_slot() {
    let mut world = World::new().await;
    for (domain, host) in [("one.test", "a.big.test"), ("two.test", "b.big.test")] {
        world.dns.mx(domain, 10, host);
        world.dns.host(host, address(BIG));
    }
    world.start("", RETRY).await;
    world.send(&["b@two.test"]).await;
    assert_eq!(world.places("two.test")[0].0, "b.big.test");

    world.apply(PROVIDER);
    let id = world.send(&["b@one.test", "c@one.test"]).await;
    let slot = world.slot_in("one.test", "big").await;
    assert_eq!(
        world.slot_in("two.test", "big").await,
        slot,
        "mail that waits is filed anew"
    );
    let shown = skeinctl_at(world.admin, &["message", "show", &id]);
    assert!(shown.contains("site big"), "{shown}");
    let slots = skeinctl_at(world.admin, &["queue", "list"]);
    assert!(slots.contains("SITE") && slots.contains(" big "), "{slots}");

    let sink = world.big_host().await;
    let records = taken(&sink, 2).await;
    assert_eq!(
        records.iter().flat_map(|record| recipients(record)).count(),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_could_not_be_filed_at_intake_is_moved_when_its_domain_resolves() {
    let mut world = World::new().await;
    world.dns.fault("late.test", Some(Fault::ServFail));
    world.start("", RETRY).await;
    world.apply(PROVIDER);
    let id = world.send(&["b@late.test"]).await;
    assert_eq!(world.places("late.test")[0].0, "late.test");
    world.event(&id, "deferred").await;

    world.dns.mx("late.test", 10, "a.big.test");
    world.dns.host("a.big.test", address(BIG));
    world.dns.fault("late.test", None);
    world.slot_in("late.test", "big").await;
    let sink = world.big_host().await;
    assert_eq!(recipients(&taken(&sink, 1).await[0]), ["b@late.test"]);
    world.event(&id, "delivered").await;
    assert_eq!(world.places("late.test"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_chosen_by_those_who_may_and_the_choice_stays_with_us() {
    let mut world = World::new().await;
    let sink = world.sink(BIG, "one.test").await;
    world.start("", "").await;
    world.apply(POOLS);
    // The policy comes with a heartbeat.
    let mut count = 0;
    loop {
        let reply = world.reply_to("a@shop.test", "").await;
        count += 1;
        if world.pool_of(&id_in(&reply)) == "receipts" {
            break;
        }
        assert!(count < 200, "the policy is not heard of");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for (header, code, says) in [
        ("", 250, "receipts"),
        ("X-Skein-Pool: news\r\n", 250, "news"),
        (
            "X-Skein-Priority: bulk\r\nx-skein-pool:\r\n news\r\n",
            250,
            "news",
        ),
        ("X-Skein-Pool: acme\r\n", 550, "5.7.1 X-Skein-Pool"),
        ("X-Skein-Pool: nothing\r\n", 550, "5.7.1 X-Skein-Pool"),
        ("X-Skein-Pool: two words\r\n", 550, "5.6.0 X-Skein-Pool"),
        (
            "X-Skein-Pool: news\r\nX-Skein-Pool: news\r\n",
            550,
            "5.6.0 X-Skein-Pool",
        ),
    ] {
        let reply = world.reply_to("a@shop.test", header).await;
        assert_eq!(reply.code, code, "{header:?}: {}", reply.text());
        if code == 250 {
            count += 1;
            assert_eq!(world.pool_of(&id_in(&reply)), says, "{header:?}");
        } else {
            assert!(reply.text().contains(says), "{}", reply.text());
        }
    }
    count += 1;
    let other = world.reply_to("a@other.test", "").await;
    assert_eq!(world.pool_of(&id_in(&other)), "default");
    for record in taken(&sink, count).await {
        let text = String::from_utf8_lossy(&record.message).to_lowercase();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!header.contains("x-skein-"), "{header}");
        assert_eq!(body, "x-skein-pool: in the body\r\n");
    }
}
