//! Senders that stand still, or that nobody renews: what a host has not been given by the end of the lease is not given to
//! it after, and mail that waited to be handed in is taken.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::oracle;
use skein_testkit::sink::{Act, Phase};
use skein_testkit::unix_ms;
use skein_tests::fleet::{Fleet, Plan};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Sent in one piece, and more than all buffers on the way hold.
const BYTES: usize = 60_000;
const DOT: &[u8] = b"\r\n.\r\n";
/// After its last heartbeat, a sender's places and slots are others' no sooner than after this.
const LEASE_OF_OTHERS: Duration = Duration::from_millis(11_000);

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_waits_for_its_host_is_not_ended_after_the_lease() {
    let mut fleet = Fleet::start(Plan::default()).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 71], fleet.port));
    fleet.dns.domain("slow.test", address.ip());
    let host = listen_with_small_buffers(address);
    let to = vec!["someone@slow.test".to_owned()];
    let messages = vec![Injected::generated("slow", "a@b.test", to, BYTES)];
    let injector = Injector::new(InjectorConfig::to(fleet.senders[0].smtp));
    assert!(injector.offer(messages).await[0].acked());

    let mut first = taken_up_to_data(&host).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let control = fleet.control[0].node.as_mut().unwrap();
    control.pause().unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    let late = body(&mut first).await;
    assert!(!late.ends_with(DOT), "the message went out after the lease");
    assert!(late.len() > 1000, "it was not on its way");
    drop(first);

    control.go_on().unwrap();
    let mut second = taken_up_to_data(&host).await;
    assert!(body(&mut second).await.ends_with(DOT));
    second.write_all(b"250 OK\r\n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waited_while_its_sender_stood_still_is_taken() {
    let plan = Plan {
        control: 3,
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let sink = fleet.sink(71, "mx.there.test", &["there.test"]).await;
    let sink = sink.unwrap();
    let config = InjectorConfig {
        connections: 40,
        messages_per_connection: 3,
        domains: vec!["there.test".into()],
        ..InjectorConfig::to(fleet.senders[0].smtp)
    };
    let sender = fleet.senders[0].node.as_mut().unwrap();
    sender.pause().unwrap();
    let load = tokio::spawn(Injector::new(config).run());
    // Its connections to the control nodes are given up by then.
    tokio::time::sleep(Duration::from_secs(15)).await;
    sender.go_on().unwrap();
    let injected = load.await.unwrap();
    let refused: Vec<_> = injected.iter().filter(|one| !one.acked()).collect();
    assert!(
        refused.is_empty(),
        "{}: {:?}",
        refused.len(),
        refused[0].outcome
    );
    skein_tests::until(
        "all mail to arrive",
        Duration::from_secs(30),
        Duration::from_millis(100),
        || {
            oracle::judge(&injected, &sink.records())
                .lost
                .is_empty()
                .then_some(())
        },
    )
    .await
    .unwrap();
    let verdict = oracle::judge(&injected, &sink.records());
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

/// At most two connections in all to a host, and what it does at a point of the dialogue. The control node stands still from
/// the first connection on: whether all are at an end when others might have been given their places.
async fn ended_with_the_lease(spread: bool, phase: Phase, act: Act) {
    let mut fleet = Fleet::start(Plan::default()).await.unwrap();
    let sink = fleet.sink(71, "mx.slow.test", &["slow.test"]).await;
    let sink = sink.unwrap();
    sink.set_script(move |moment| match moment.phase == phase {
        true => act.clone(),
        false => Act::Accept,
    });
    let provider = "kind: provider\nname: slow\ndomains: [slow.test]\ntotal: {connections: 2}\n";
    fleet.apply(provider).unwrap();
    if spread {
        fleet.skeinctl(&["site", "spread", "slow", "4"]).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let config = InjectorConfig {
        domains: vec!["slow.test".into()],
        ..InjectorConfig::to(fleet.senders[0].smtp)
    };
    let offered = Injector::new(config).run().await;
    assert!(offered.iter().all(Injected::acked));
    let any = || (sink.open() > 0).then_some(());
    let (within, look) = (Duration::from_secs(10), Duration::from_millis(10));
    let opened = skein_tests::until("a connection to the host", within, look, any);
    opened.await.unwrap();
    fleet.control[0].node.as_mut().unwrap().pause().unwrap();
    let paused_ms = unix_ms();
    tokio::time::sleep(LEASE_OF_OTHERS + Duration::from_secs(3)).await;
    let others_ms = paused_ms + u64::try_from(LEASE_OF_OTHERS.as_millis()).unwrap();
    // A host that takes its time hears of an end later.
    let all_ended = || {
        let visits = sink.visits();
        let has_ended = visits.iter().all(|visit| visit.ended_ms.is_some());
        has_ended.then_some(visits)
    };
    let ended = skein_tests::until("all ends", Duration::from_secs(15), look, all_ended);
    for visit in ended.await.unwrap() {
        let ended = visit.ended_ms.is_some_and(|ended| ended < others_ms);
        assert!(
            ended,
            "it stands when the lease has ended: {visit:?}, {others_ms}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_host_that_greets_late_end_with_the_lease() {
    // Just after the lease has ended.
    let late = Act::Delay(Duration::from_millis(9_300));
    tokio::join!(
        ended_with_the_lease(false, Phase::Ehlo, late.clone()),
        ended_with_the_lease(true, Phase::Ehlo, late),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_host_that_does_not_answer_end_with_the_lease() {
    tokio::join!(
        ended_with_the_lease(false, Phase::Rcpt, Act::Tarpit),
        ended_with_the_lease(true, Phase::Connect, Act::Tarpit),
    );
}

/// Segments and windows as on a bad line: on the loopback, megabytes would be on their way before anything waits.
fn listen_with_small_buffers(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    setsockopt(&socket, sockopt::TcpMaxSeg, &536).unwrap();
    socket.bind(address).unwrap();
    socket.listen(8).unwrap()
}

/// A connection whose commands were answered, DATA the last of them.
async fn taken_up_to_data(host: &TcpListener) -> BufReader<TcpStream> {
    loop {
        let (socket, _) = host.accept().await.unwrap();
        let mut socket = BufReader::new(socket);
        socket.write_all(b"220 slow.test\r\n").await.unwrap();
        let mut line = String::new();
        while socket.read_line(&mut line).await.unwrap() > 0 {
            let is_data = line.eq_ignore_ascii_case("DATA\r\n");
            let reply: &[u8] = match is_data {
                true => b"354 go on\r\n",
                false => b"250 OK\r\n",
            };
            socket.write_all(reply).await.unwrap();
            if is_data {
                return socket;
            }
            line.clear();
        }
    }
}

/// All up to the final dot, or to the end of the connection.
async fn body(socket: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut body = Vec::new();
    while !body.ends_with(DOT) {
        let read = tokio::time::timeout(Duration::from_secs(30), socket.read_buf(&mut body));
        match read.await.expect("the sender goes on or gives up") {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    body
}
