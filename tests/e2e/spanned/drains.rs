//! Senders that are drained while their mail waits: others go on with it at once.

use std::net::SocketAddr;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use skein_testkit::unix_ms;
use skein_tests::fleet::Member;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::World;

/// What flows, what has used up a long window, and what is on its way to a host that reads no body; the last at every sender.
const POLICY: &str = "\
kind: provider\nname: flows\ndomains: [flows.test]\ntotal: {connections: 20, message_rate: 20/s}\n---\n\
kind: provider\nname: waits\ndomains: [waits.test]\ntotal: {connections: 60, message_rate: 200/60s}\n---\n\
kind: provider\nname: slow\ndomains: [slow.test]\n";
/// More than all buffers on the way hold.
const LARGE: usize = 12 << 20;
/// What DESIGN promises of a drain.
const WITHIN_MS: u64 = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_drained_sender_goes_on_whatever_its_other_mail_waits_for() {
    let world = World::start(3, 3).await;
    let host = |last: u8| SocketAddr::from(([127, 0, 0, last], world.fleet.port));
    for (domain, last) in [("flows.test", 71), ("waits.test", 72), ("slow.test", 73)] {
        world.fleet.dns.domain(domain, host(last).ip());
    }
    let flows = Sink::start(SinkConfig::at(host(71))).await.unwrap();
    let _waits = Sink::start(SinkConfig::at(host(72))).await.unwrap();
    tokio::spawn(read_no_body(TcpListener::bind(host(73)).await.unwrap()));
    world.apply(POLICY);
    world.skeinctl(&["site", "spread", "slow", "16"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waits = world.offer_from("a@b.test", "waits.test", &[0], "waits", 1500);
    waits.await;
    let large = |n| {
        let to = vec![format!("user{n}@slow.test")];
        Injected::generated(&format!("large-{n}"), "a@b.test", to, LARGE)
    };
    let injector = Injector::new(InjectorConfig::to(world.fleet.senders[0].smtp));
    let large = injector.offer((0..8).map(large).collect()).await;
    assert!(large.iter().all(Injected::acked));

    for nth in 0..8 {
        // More than can flow until the next.
        let prefix = format!("flows-{nth}");
        let flow = world.offer_from("a@b.test", "flows.test", &[0], &prefix, 600);
        flow.await;
        let last = flows.records().last().unwrap().helo.clone();
        let is_it = |one: &Member| last == format!("{}.skein.test", one.name);
        let owner = world.fleet.senders.iter().position(is_it).unwrap();
        let name = &world.fleet.senders[owner].name;
        let began = unix_ms();
        let mut explained = String::new();
        world.skeinctl(&["node", "drain", name]);
        // From the last of one, or the word of the operator, to the first of another, as their bytes arrived.
        let stood_still = loop {
            let mut records = flows.records();
            records.sort_by_key(|record| record.at_ms);
            let of_last = records.iter().rposition(|one| one.helo == last).unwrap();
            match records.get(of_last + 1) {
                Some(first) => {
                    let last_ms = records[of_last].at_ms.max(began);
                    break first.at_ms.saturating_sub(last_ms);
                }
                None if unix_ms() < began + 20_000 => {}
                None => panic!("{nth}: {name} has kept it\n{explained}"),
            }
            if explained.is_empty() && unix_ms() > began + WITHIN_MS {
                for args in [
                    &["queue", "list"][..],
                    &["explain", "site", "flows"],
                    &["slot", "list"],
                    &["node", "list"],
                ] {
                    explained += &world.skeinctl(args);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        println!("{nth}: another sender than {name} after {stood_still} ms");
        assert!(
            stood_still < WITHIN_MS,
            "{nth}, {name}: {stood_still} ms\n{explained}"
        );
        world.skeinctl(&["node", "resume", name]);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// A host that takes commands, and nothing after DATA.
async fn read_no_body(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut socket = BufReader::new(socket);
            let _ = talk(&mut socket).await;
            std::future::pending::<()>().await;
        });
    }
}

async fn talk(socket: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    socket.write_all(b"220 slow.test\r\n").await?;
    let mut line = String::new();
    while socket.read_line(&mut line).await? > 0 {
        let is_data = line.to_ascii_uppercase().starts_with("DATA");
        let reply = if is_data {
            "354 go on\r\n"
        } else {
            "250 OK\r\n"
        };
        socket.write_all(reply.as_bytes()).await?;
        if is_data {
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}
