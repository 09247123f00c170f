//! Why mail waits, as operators see it.

use std::time::Duration;

use super::{World, taken};

const POLICY: &str = "\
kind: ip
name: a1
bind: 127.0.0.1
ehlo: a1.here.test
---
kind: ip
name: lost
bind: 192.0.2.77
ehlo: lost.here.test
---
kind: pool
name: default
members: [{ip: a1}, {ip: lost}]
---
kind: provider
name: slow
domains: [slow.test]
per_ip: {message_rate: 1/h}
";

impl World {
    pub(super) fn explain(&self, what: &[&str]) -> String {
        crate::skeinctl_at(self.admin, &[&["explain"], what].concat())
    }

    /// Asks until the answer has this word.
    pub async fn explained(&self, what: &[&str], word: &str) -> String {
        for _ in 0..100 {
            let answer = self.explain(what);
            if answer.contains(word) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{what:?} never says {word:?}: {}", self.explain(what));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_holds_mail_up_is_named_with_its_end() {
    let mut world = World::new().await;
    let sink = world.sink(3, "slow.test").await;
    world.dns.domain("dead.test", super::address(9));
    world.start("", "[delivery.retry]\nfirst = \"10m\"").await;
    world.apply(POLICY);
    world.send(&["a@slow.test"]).await;
    taken(&sink, 1).await;

    let waits = world.send(&["b@slow.test"]).await;
    let limit = world
        .explained(&["queue", "slow.test"], "limit of the ip_site")
        .await;
    let shared = "1 messages in 3600 s for ip_site a1 slow, 1 of them used";
    assert!(
        limit.contains("from a1") && limit.contains(shared),
        "{limit}"
    );
    let message = world.explain(&["message", &waits]);
    assert!(
        message.contains("b@slow.test") && message.contains("ip_site"),
        "{message}"
    );
    let site = world.explain(&["site", "slow"]);
    assert!(
        site.contains("is with") && site.contains("ip_site"),
        "{site}"
    );
    let ip = world.explain(&["ip", "a1"]);
    assert!(
        ip.contains("it is active") && ip.contains("ip_site"),
        "{ip}"
    );
    let lost = world.explain(&["ip", "lost"]);
    assert!(lost.contains("no node has its address"), "{lost}");

    let dead = world.send(&["c@dead.test"]).await;
    let retry = world
        .explained(
            &["message", &dead],
            "host of its destination gives a connection",
        )
        .await;
    assert!(retry.contains("attempts met none"), "{retry}");
    let site = world
        .explained(&["site", "mx.dead.test"], "asked again")
        .await;
    assert!(site.contains("give no connection"), "{site}");
    let why = ["suspend", "--domain", "dead.test", "--why", "they asked"];
    crate::skeinctl_at(world.admin, &why);
    let held = world.explained(&["queue", "dead.test"], "held back").await;
    assert!(
        held.contains("they asked") && held.contains("domain dead.test"),
        "{held}"
    );
}
