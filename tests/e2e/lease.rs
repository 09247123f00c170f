//! Senders that stand still, or that nobody renews: what a host has not been given by the end of the lease is not given to
//! it after, and mail that waited to be handed in is taken.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::oracle;
use skein_tests::fleet::{Fleet, Plan};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Sent in one piece, and more than all buffers on the way hold.
const BYTES: usize = 60_000;
const DOT: &[u8] = b"\r\n.\r\n";

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
