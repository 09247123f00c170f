//! Which host gets the mail, and what happens when there is none.

use std::time::Duration;

use skein_testkit::dns::Fault;
use skein_testkit::sink::{Act, Moment, Phase, Sink};

use super::{World, accepted, address, assert_has, recipients, taken};

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_domain_that_takes_none_bounces_at_once() {
    let mut world = World::new().await;
    world.dns.fault("null.test", Some(Fault::NullMx));
    world.dns.fault("gone.test", Some(Fault::NxDomain));
    world.start("", "").await;
    for (domain, status) in [("null.test", "5.1.10"), ("gone.test", "5.1.2")] {
        let to = format!("b@{domain}");
        let id = world.send(&[&to]).await;
        let report = world.report(&id).await;
        assert_has(
            &report,
            &[
                "Action: failed\r\n",
                &format!("Status: {status}\r\n"),
                &format!("Final-Recipient: rfc822; {to}\r\n"),
                domain,
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_hosts_as_rfc_5321_says() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    // No MX: the domain itself. An alias: what it stands for. An exchange that is an alias: tolerated.
    world.dns.host("implicit.test", address(3));
    world.dns.cname("alias.test", "there.test");
    world.dns.cname("host-alias.test", "implicit.test");
    world.dns.mx("exchange.test", 10, "host-alias.test");
    world.start("", "").await;
    let domains = ["implicit.test", "alias.test", "exchange.test"];
    for domain in domains {
        world.send(&[&format!("b@{domain}")]).await;
    }
    world.send(&["b@[127.0.0.3]"]).await;
    let records = taken(&sink, 4).await;
    for wanted in [
        "b@implicit.test",
        "b@alias.test",
        "b@exchange.test",
        "b@[127.0.0.3]",
    ] {
        let found = records
            .iter()
            .filter(|record| recipients(record) == [wanted]);
        assert_eq!(found.count(), 1, "{wanted}");
    }
}

/// A host of preference 10 with this script beside a good one of preference 20.
async fn beside_a_good_host(
    world: &World,
    last: u8,
    domain: &str,
    script: impl Fn(&Moment<'_>) -> Act + Send + Sync + 'static,
) -> Sink {
    let bad = world.sink_config(last).script(script);
    let sink = world.sink_of(bad, domain).await;
    world.dns.mx(domain, 20, "good.test");
    sink
}

/// What a domain's first host does, and when, so that the next one takes over.
fn unfit_hosts() -> Vec<(&'static str, Phase, Act)> {
    let busy = || Act::reply(421, "4.3.2 busy");
    vec![
        ("busy-greeting.test", Phase::Connect, busy()),
        (
            "refused-greeting.test",
            Phase::Connect,
            Act::reply(554, "5.3.2 no mail here"),
        ),
        ("dropped-greeting.test", Phase::Connect, Act::Drop),
        ("reset-greeting.test", Phase::Connect, Act::Reset),
        ("busy-ehlo.test", Phase::Ehlo, busy()),
        ("dropped-ehlo.test", Phase::Ehlo, Act::Drop),
        (
            "later-greeting.test",
            Phase::Connect,
            Act::reply(450, "4.7.1 greylisted"),
        ),
        (
            "later-ehlo.test",
            Phase::Ehlo,
            Act::reply(451, "4.3.0 not now"),
        ),
        ("busy-mail.test", Phase::Mail, busy()),
        (
            "later-mail.test",
            Phase::Mail,
            Act::reply(450, "4.7.1 greylisted"),
        ),
        (
            "full-mail.test",
            Phase::Mail,
            Act::reply(452, "4.3.1 disk full"),
        ),
        (
            "failing-mail.test",
            Phase::Mail,
            Act::reply(451, "4.3.0 not now"),
        ),
        ("dropped-mail.test", Phase::Mail, Act::Drop),
        ("busy-rcpt.test", Phase::Rcpt, busy()),
        ("dropped-data.test", Phase::Data, Act::Drop),
        (
            "later-mail.test",
            Phase::Mail,
            Act::reply(451, "4.3.0 later"),
        ),
        (
            "login-mail.test",
            Phase::Mail,
            Act::reply(530, "5.7.0 log in first"),
        ),
        (
            "lost-rcpt.test",
            Phase::Rcpt,
            Act::reply(503, "5.5.1 MAIL first"),
        ),
        (
            "unknown-data.test",
            Phase::Data,
            Act::reply(502, "5.5.1 what?"),
        ),
        (
            "lost-dot.test",
            Phase::Data,
            Act::reply(500, "5.5.2 unknown"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_takes_over_within_the_same_attempt() {
    let mut world = World::new().await;
    let good = world.sink(3, "good-domain.test").await;
    world.dns.host("good.test", address(3));
    let at = |phase: Phase, act: Act| {
        move |moment: &Moment<'_>| {
            if moment.phase == phase {
                act.clone()
            } else {
                Act::Accept
            }
        }
    };
    let mut bad = Vec::new();
    let mut ids = Vec::new();
    for (last, (domain, phase, act)) in (10..).zip(unfit_hosts()) {
        bad.push((
            domain,
            beside_a_good_host(&world, last, domain, at(phase, act)).await,
        ));
    }
    // Nobody listens there.
    world.dns.mx("dead.test", 10, "mx.dead.test");
    world.dns.host("mx.dead.test", address(99));
    world.dns.mx("dead.test", 20, "good.test");
    world.dns.domain("closed.test", address(98));
    world.start("", "").await;

    let domains: Vec<&str> = bad
        .iter()
        .map(|(domain, _)| *domain)
        .chain(["dead.test"])
        .collect();
    for domain in &domains {
        ids.push(world.send(&[&format!("b@{domain}")]).await);
    }
    taken(&good, domains.len()).await;
    for (id, domain) in ids.iter().zip(domains) {
        let delivered = world.event(id, "delivered").await;
        assert_eq!(delivered["attempt"], 1, "{domain}");
        assert_eq!(delivered["host"], "good.test [127.0.0.3]", "{domain}");
    }
    for (domain, sink) in &bad {
        assert!(sink.connections() > 0, "{domain} was never tried");
    }
    // What nobody answers is told in words that a reader of reports knows.
    let refused = world.hand_in(
        "MAIL FROM:<a@here.test>",
        &["b@closed.test"],
        "A: b\r\n\r\n",
    );
    let refused = refused.await;
    let deferred = world.event(&refused, "deferred").await;
    let reply = deferred["reply"].as_str().unwrap();
    assert!(
        reply.contains("connection refused by 127.0.0.98:"),
        "{reply}"
    );
    assert!(!reply.contains("os error"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_not_taken_now_costs_the_last_host_no_connection_each() {
    let mut world = World::new().await;
    let script = |moment: &Moment<'_>| match moment.phase {
        Phase::Mail => Act::reply(451, "4.3.0 not now"),
        _ => Act::Accept,
    };
    let sink = world
        .sink_of(world.sink_config(3).script(script), "there.test")
        .await;
    world.start("connections_per_destination = 1", "").await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(world.send(&["b@there.test"]).await);
    }
    for id in &ids {
        assert_eq!(world.event(id, "deferred").await["code"], 451);
    }
    assert!(
        sink.connections() <= 3,
        "{} connections",
        sink.connections()
    );
    let explained = world.explain(&["queue", "there.test"]);
    assert!(!explained.contains("gives a connection"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_the_other_family_are_passed_over_and_named() {
    let mut world = World::new().await;
    let six = "::1".parse().unwrap();
    let sink = world.sink(3, "both.test").await;
    world.dns.mx("both.test", 5, "six.test");
    world.dns.host("six.test", six);
    world.dns.mx("only.test", 10, "six.test");
    world.start("source_address = \"127.0.0.1\"", "").await;
    let id = world.send(&["b@both.test"]).await;
    taken(&sink, 1).await;
    assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    let id = world.send(&["b@only.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_has(
        deferred["reply"].as_str().unwrap(),
        &[
            "six.test [::1]",
            "not reached from 127.0.0.1",
            "other family",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_host_refuses_the_last_word_is_kept_and_the_mail_waits() {
    let mut world = World::new().await;
    let script = |moment: &Moment<'_>| match moment.phase {
        Phase::Mail => Act::reply(421, "4.3.2 first says no"),
        _ => Act::Accept,
    };
    let _first = beside_a_good_host(&world, 10, "there.test", script).await;
    world.dns.host("good.test", address(11));
    let second = world.sink_config(11).script(|moment| match moment.phase {
        Phase::Connect => Act::reply(421, "4.3.2 second says no"),
        _ => Act::Accept,
    });
    let second = Sink::start(second).await.unwrap();
    world.start("retry.first = \"100ms\"", "").await;
    let id = world.send(&["b@there.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["code"], 421);
    assert!(deferred["reply"].as_str().unwrap().contains("says no"));
    second.set_script(|_| Act::Accept);
    taken(&second, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_name_server_defers_and_a_mended_one_delivers() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.dns.fault("there.test", Some(Fault::ServFail));
    world
        .start("retry.first = \"300ms\"\nretry.cap = \"300ms\"", "")
        .await;
    let id = world.send(&["b@there.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["enhanced"], "4.4.3");
    assert!(deferred["reply"].as_str().unwrap().contains("there.test"));
    assert_eq!(accepted(&sink).len(), 0);
    world.dns.fault("there.test", None);
    taken(&sink, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_allows_one_connection_is_not_pestered_for_more() {
    let mut world = World::new().await;
    // The first connection is slow, so that there is always work for more.
    let one = world.sink_config(3).script(|moment| match moment.phase {
        Phase::Connect if moment.connection > 0 => Act::reply(421, "4.7.0 one at a time"),
        Phase::Dot => Act::Delay(Duration::from_millis(20)),
        _ => Act::Accept,
    });
    let sink = world.sink_of(one, "there.test").await;
    world.start("connections_per_destination = 5", "").await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(world.send(&["b@there.test"]).await);
    }
    taken(&sink, 40).await;
    for id in ids {
        assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    }
    // Five at the start, and five after each pause of five seconds.
    assert!(sink.connections() <= 10, "{}", sink.connections());
}
