//! Connections: used again, mended, and given up.

use std::net::SocketAddr;

use skein_testkit::sink::{Act, Occurrences, Phase};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{World, accepted, address, recipients, taken};

#[tokio::test(flavor = "multi_thread")]
async fn messages_follow_each_other_on_a_connection_up_to_the_limit() {
    let mut world = World::new().await;
    let sink = world.sink(3, "there.test").await;
    world
        .start(
            "connections_per_destination = 1\nmessages_per_connection = 4",
            "",
        )
        .await;
    for count in 1..=10 {
        world.send(&["b@there.test"]).await;
        taken(&sink, count).await;
    }
    let used: Vec<u64> = accepted(&sink).iter().map(|one| one.connection).collect();
    assert_eq!(used, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_with_the_same_hosts_share_a_connection() {
    let mut world = World::new().await;
    let sink = world.sink(3, "a.test").await;
    world.dns.mx("b.test", 5, "mx.a.test");
    world.start("", "").await;
    for (count, domain) in (1..).zip(["a.test", "b.test", "a.test"]) {
        world.send(&[&format!("b@{domain}")]).await;
        taken(&sink, count).await;
    }
    assert_eq!(sink.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_transaction_leaves_the_connection_in_order() {
    let mut world = World::new().await;
    let config = world
        .sink_config(3)
        .script(|moment| match (moment.phase, moment.address) {
            (Phase::Rcpt, "unknown@there.test") => Act::reply(550, "5.1.1 no such user"),
            (Phase::Mail, "refused@here.test") => Act::reply(550, "5.7.1 not you"),
            (Phase::Data, _) if moment.sender == "no-data@here.test" => {
                Act::reply(554, "5.7.1 not that")
            }
            (Phase::Dot, _) if moment.sender == "no-dot@here.test" => {
                Act::reply(554, "5.7.1 not such content")
            }
            _ => Act::Accept,
        });
    let sink = world.sink_of(config, "there.test").await;
    world.start("connections_per_destination = 1", "").await;
    let body = "Subject: hello\r\n\r\nhi\r\n";
    for (from, to) in [
        ("a@here.test", "unknown@there.test"),
        ("refused@here.test", "b@there.test"),
        ("no-data@here.test", "b@there.test"),
        ("no-dot@here.test", "b@there.test"),
    ] {
        let mail = format!("MAIL FROM:<{from}>");
        let id = world.hand_in(&mail, &[to], body).await;
        let bounced = world.event(&id, "bounced").await;
        assert!(bounced["code"].as_u64().unwrap() >= 550, "{bounced}");
    }
    let id = world.send(&["b@there.test"]).await;
    assert_eq!(recipients(&taken(&sink, 1).await[0]), ["b@there.test"]);
    assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    assert_eq!(sink.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_closes_an_idle_connection_costs_no_attempt() {
    let mut world = World::new().await;
    let config = world
        .sink_config(3)
        .script(|moment| match (moment.phase, moment.connection) {
            (Phase::AfterDot, 0) => Act::AcceptThenDrop,
            // A host that had enough of a connection says so at the next command.
            (Phase::Mail, 1) if moment.line.contains("second") => Act::reply(421, "4.7.0 enough"),
            _ => Act::Accept,
        });
    let sink = world.sink_of(config, "there.test").await;
    world.start("connections_per_destination = 1", "").await;
    let body = "Subject: hello\r\n\r\nhi\r\n";
    for (count, from) in (1..).zip(["a", "first", "second"]) {
        let mail = format!("MAIL FROM:<{from}@here.test>");
        let id = world.hand_in(&mail, &["b@there.test"], body).await;
        taken(&sink, count).await;
        assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    }
    assert_eq!(sink.connections(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_after_the_final_dot_defers_and_the_message_is_sent_again() {
    let mut world = World::new().await;
    let seen = Occurrences::default();
    let config = world
        .sink_config(3)
        .script(move |moment| match moment.phase {
            // Once before and once after the host has taken the message.
            Phase::Dot if seen.of("dot") == 1 => Act::Drop,
            Phase::AfterDot if seen.of("after") == 1 => Act::Drop,
            _ => Act::Accept,
        });
    let sink = world.sink_of(config, "there.test").await;
    world
        .start("retry.first = \"100ms\"\nretry.cap = \"100ms\"", "")
        .await;
    let id = world.send(&["b@there.test"]).await;
    let delivered = world.event(&id, "delivered").await;
    assert_eq!(delivered["attempt"], 3);
    let records = taken(&sink, 2).await;
    assert_eq!(
        records[0].message, records[1].message,
        "a retry has the same bytes"
    );
    let deferred = world.event(&id, "deferred").await;
    assert_eq!(deferred["enhanced"], "4.4.2", "{deferred}");
}

/// A server that answers the first bytes of a message with a refusal and closes, with the rest unread.
async fn interrupt(listener: TcpListener) {
    let (stream, _) = listener.accept().await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    writer.write_all(b"220 hasty.test\r\n").await.unwrap();
    let mut line = String::new();
    while reader.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let reply = match line.get(..4).unwrap_or_default() {
            "DATA" => "354 go ahead\r\n",
            _ => "250 ok\r\n",
        };
        writer.write_all(reply.as_bytes()).await.unwrap();
        if line.starts_with("DATA") {
            let mut start = [0; 1000];
            reader.read_exact(&mut start).await.unwrap();
            writer
                .write_all(b"552 5.3.4 that is too big\r\n")
                .await
                .unwrap();
            return;
        }
        line.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_middle_of_the_body_is_heard() {
    let mut world = World::new().await;
    world.dns.domain("hasty.test", address(3));
    let listener = TcpListener::bind(SocketAddr::new(address(3), world.port))
        .await
        .unwrap();
    let server = tokio::spawn(interrupt(listener));
    world.start("", "").await;
    let large = format!(
        "Subject: large\r\n\r\n{}",
        "0123456789abcdefghijklmnopqrstuvwxyz\r\n".repeat(500_000)
    );
    let id = world
        .hand_in("MAIL FROM:<a@here.test>", &["b@hasty.test"], &large)
        .await;
    let bounced = world.event(&id, "bounced").await;
    assert_eq!(bounced["code"], 552, "{bounced}");
    server.await.unwrap();
}
