//! Source IPs, and the limits that a sender keeps by itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skein_testkit::load::Probe;
use skein_testkit::sink::{Act, Phase, Record, Sink, SinkConfig, most_at_once, most_within};
use skein_testkit::unix_ms;

use super::{World, accepted, address, hand_in, taken, wait_for};

/// Two IPs in the pool that mail takes by default, and figures that bind nobody.
const IPS: &str = "\
kind: ip
name: a1
bind: 127.0.0.1
ehlo: a1.here.test
---
kind: ip
name: a2
bind: 127.0.0.2
ehlo: a2.here.test
---
kind: ip
name: lost
bind: 192.0.2.77
ehlo: lost.here.test
";
const RETRY: &str = "[delivery.retry]\nfirst = \"200ms\"\ncap = \"500ms\"";

fn pool(members: &str) -> String {
    format!("---\nkind: pool\nname: default\nmembers: [{members}]\n")
}

fn provider(figures: &str) -> String {
    format!("---\nkind: provider\nname: default\n{figures}\n")
}

/// Applies policy, and waits until the sender goes by it: until mail comes with this name in EHLO.
async fn apply(world: &World, sink: &Sink, policy: &str, ehlo: &str) {
    world.apply(policy);
    loop {
        sink.clear();
        world.send(&["first@there.test"]).await;
        let records = taken(sink, 1).await;
        if records[0].helo == ehlo {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sink.clear();
}

/// Hands in so many messages over some connections at once.
async fn send_many(world: &World, count: usize) {
    const AT_ONCE: usize = 8;
    let smtp = world.smtp;
    let mut senders = tokio::task::JoinSet::new();
    for nth in 0..AT_ONCE {
        senders.spawn(async move {
            let (mut probe, _) = Probe::greet(smtp).await.unwrap();
            for n in (nth..count).step_by(AT_ONCE) {
                let to = format!("b{n}@there.test");
                let mail = "MAIL FROM:<a@here.test>";
                hand_in(&mut probe, mail, &[&to], "Subject: hello\r\n\r\nhi\r\n").await;
            }
        });
    }
    senders.join_all().await;
}

fn by_peer(records: &[Arc<Record>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.peer.ip().to_string()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ips_of_a_pool_share_its_mail_by_weight() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let figures = "per_ip: {connections: 5, message_rate: 100000/s}";
    let weights = pool("{ip: a1, weight: 3}, {ip: a2}, {ip: lost, weight: 100}");
    let policy = format!("{IPS}{weights}{}", provider(figures));
    apply(&world, &sink, &policy, "a1.here.test").await;
    send_many(&world, 2000).await;
    let records = taken(&sink, 2000).await;
    let counts = by_peer(&records);
    let first = counts["127.0.0.1"];
    assert!(first.abs_diff(1500) <= 30, "{counts:?}");
    assert_eq!(first + counts["127.0.0.2"], 2000, "{counts:?}");
    for record in records {
        let ehlo = match record.peer.ip() == address(1) {
            true => "a1.here.test",
            false => "a2.here.test",
        };
        assert_eq!(record.helo, ehlo);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_gets_no_more_connections_than_it_wants() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let figures = "per_ip: {connections: 2}\nmessages_per_connection: 1000";
    let policy = format!("{IPS}{}{}", pool("{ip: a1}"), provider(figures));
    apply(&world, &sink, &policy, "a1.here.test").await;
    sink.set_script(|moment| match moment.phase {
        Phase::Dot => Act::Delay(Duration::from_millis(50)),
        _ => Act::Accept,
    });
    wait_for("the first connection to end", || {
        (sink.open() == 0).then_some(())
    })
    .await;
    let (before, from_ms) = (sink.connections(), unix_ms());
    send_many(&world, 60).await;
    taken(&sink, 60).await;
    let (most, _) = most_at_once(&sink.visits(), from_ms..u64::MAX);
    assert_eq!((most, sink.connections() - before), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn ips_take_turns_at_a_site_that_takes_one_connection_in_all() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let figures = "total: {connections: 1}\nmessages_per_connection: 5";
    let members = pool("{ip: a1}, {ip: a2}");
    let policy = format!("{IPS}{members}{}", provider(figures));
    apply(&world, &sink, &policy, "a2.here.test").await;
    let before = sink.connections();
    send_many(&world, 40).await;
    let records = taken(&sink, 40).await;
    let counts = by_peer(&records);
    assert_eq!((counts["127.0.0.1"], counts["127.0.0.2"]), (20, 20));
    assert!(sink.connections() - before >= 8);
    // No message of one connection lies between two of another.
    let order: Vec<u64> = records.iter().map(|record| record.connection).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_raised_and_an_ip_that_is_suspended_change_what_waits() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let low = provider("per_ip: {message_rate: 10/h}");
    let policy = format!("{IPS}{}{low}", pool("{ip: a1}"));
    apply(&world, &sink, &policy, "a1.here.test").await;
    send_many(&world, 30).await;
    wait_for("what the limit lets pass", || {
        (accepted(&sink).len() >= 9).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(accepted(&sink).len(), 9, "one was sent before");
    world.apply(&provider("per_ip: {message_rate: 15/h}")[4..]);
    wait_for("five more", || (accepted(&sink).len() >= 14).then_some(())).await;
    let suspended = IPS.replacen(
        "ehlo: a1.here.test",
        "ehlo: a1.here.test\nstate: suspended",
        1,
    );
    let high = provider("per_ip: {message_rate: 1000/h}");
    world.apply(&format!("{suspended}{}{high}", pool("{ip: a1}, {ip: a2}")));
    let records = taken(&sink, 30).await;
    let counts = by_peer(&records);
    assert_eq!(counts["127.0.0.1"], 14, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_messages_is_kept_and_used() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let figures = "per_ip: {connections: 5, message_rate: 50/s}\nmessages_per_connection: 1000";
    let policy = format!("{IPS}{}{}", pool("{ip: a1}"), provider(figures));
    apply(&world, &sink, &policy, "a1.here.test").await;
    // From MAIL to the final dot of each message.
    let lasted = Arc::new(Mutex::new((BTreeMap::new(), Vec::new())));
    let notes = lasted.clone();
    sink.set_script(move |moment| {
        let (begun, took) = &mut *notes.lock().unwrap();
        match moment.phase {
            Phase::Mail => {
                begun.insert(moment.connection, moment.arrived);
            }
            Phase::Dot => took.extend(
                begun
                    .remove(&moment.connection)
                    .map(|mail| moment.arrived.duration_since(mail)),
            ),
            _ => {}
        }
        Act::Accept
    });
    send_many(&world, 700).await;
    let records = taken(&sink, 700).await;
    let mut times: Vec<u64> = records.iter().map(|record| record.at_ms).collect();
    times.sort_unstable();
    assert!(most_within(times.clone(), 1000) <= 50);
    // Ten seconds with a backlog all the time. A token counts until a second after the reply, and each connection has ten of
    // fifty messages, one after another: on a machine on which these take long, a second is that much longer.
    let took = times[649] - times[149];
    let (_, lasted) = &*lasted.lock().unwrap();
    let mean = lasted.iter().sum::<Duration>() / u32::try_from(lasted.len()).unwrap();
    let slow = u64::try_from((mean * 10 * 10 * 2).as_millis()).unwrap();
    println!("500 messages took {took} ms, one {mean:?}");
    assert!(took <= 10_526 + slow, "{took} ms, one {mean:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_connections_is_kept_and_each_takes_only_so_many_messages() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let figures = "per_ip: {connections: 5, connection_rate: 3/2s}\nmessages_per_connection: 2";
    let policy = format!("{IPS}{}{}", pool("{ip: a1}"), provider(figures));
    apply(&world, &sink, &policy, "a1.here.test").await;
    let began = Arc::new(Mutex::new(Vec::new()));
    let (times, start) = (began.clone(), std::time::Instant::now());
    sink.set_script(move |moment| {
        if moment.phase == Phase::Connect {
            let at = moment.arrived.duration_since(start).as_millis();
            times.lock().unwrap().push(u64::try_from(at).unwrap());
        }
        Act::Accept
    });
    send_many(&world, 20).await;
    let records = taken(&sink, 20).await;
    let times = began.lock().unwrap().clone();
    assert!(times.len() >= 9, "{times:?}");
    assert!(most_within(times.clone(), 2000) <= 3, "{times:?}");
    assert!(times.last().unwrap() < &15_000, "{times:?}");
    assert!(records.iter().all(|record| record.index < 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_until_its_pool_has_an_ip_that_can_be_used() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", RETRY).await;
    let policy = format!("{IPS}{}", pool("{ip: a1}, {ip: lost, weight: 9}"));
    apply(&world, &sink, &policy, "a1.here.test").await;

    world.apply(&format!("{IPS}{}", pool("{ip: lost}")));
    let waits = loop {
        let id = world.send(&["b@there.test"]).await;
        let event = wait_for("an attempt", || {
            let mut events = world.events_of(&id).into_iter();
            events.find(|event| event["event"] != "accepted")
        })
        .await;
        if event["event"] == "deferred" {
            let text = event.to_string();
            assert!(text.contains("lost (192.0.2.77)"), "{text}");
            break id;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    world.apply(&pool("{ip: a2}, {ip: lost}")[4..]);
    let delivered = world.event(&waits, "delivered").await;
    let text = delivered.to_string();
    assert!(text.contains("127.0.0.2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_counts_what_the_one_before_it_may_have_sent() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let figures = "per_ip: {message_rate: 5/8s}";
    let policy = format!("{IPS}{}{}", pool("{ip: a1}"), provider(figures));
    apply(&world, &sink, &policy, "a1.here.test").await;
    send_many(&world, 4).await;
    taken(&sink, 4).await;
    world.node = None;
    world.start("", "").await;
    send_many(&world, 5).await;
    let records = taken(&sink, 9).await;
    let times: Vec<u64> = records.iter().map(|record| record.at_ms).collect();
    assert!(most_within(times.clone(), 8000) <= 5, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_reached_from_an_ip_of_their_own_family() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    let v6 = SocketAddr::new(IpAddr::from(Ipv6Addr::LOCALHOST), world.port);
    let six = world.sink_of(SinkConfig::at(v6), "six.test").await;
    world.start("", "").await;
    let policy = format!(
        "{IPS}---\nkind: ip\nname: a6\nbind: '::1'\nehlo: a6.here.test\n{}",
        pool("{ip: a1}, {ip: a6}")
    );
    apply(&world, &sink, &policy, "a1.here.test").await;
    for _ in 0..20 {
        world.send(&["b@there.test", "b@six.test"]).await;
    }
    for record in taken(&six, 20).await {
        assert_eq!(record.peer.ip(), v6.ip());
        assert_eq!(record.helo, "a6.here.test");
    }
    for record in taken(&sink, 20).await {
        assert_eq!(record.peer.ip(), address(1));
        assert_eq!(record.helo, "a1.here.test");
    }
}
