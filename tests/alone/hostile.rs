//! Two thousand hostile connections of each kind: the node's memory stays small, and mail of somebody else goes on.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use skein_testkit::load::Probe;
use skein_testkit::process::free_port;
use skein_tests::{Bench, Extra};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::overload::Watched;

const CONNECTIONS: usize = 2000;
const RESIDENT_MAX: u64 = 256 << 20;
/// For nine of ten messages that are sent meanwhile: what a node decides must not make mail wait. Single ones wait for the
/// processor, which the attackers of this test use as well.
const HONEST_MAX: Duration = Duration::from_secs(1);
/// How long the attack goes on after all have connected.
const ATTACK: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Silent,
    EhloWithoutReading,
    EnvelopesHeld,
    SlowData,
    EndlessBdat,
    HalfHandshakes,
    HeadersWithoutEnd,
    AuthHalfWay,
    Noops,
    MailAndReset,
}

/// Networks of a few hosts each, so that no limit of one client or network keeps the attack small.
fn source(nth: usize) -> IpAddr {
    let network = u8::try_from(1 + nth % 8).unwrap();
    IpAddr::from([127, 0, network, 1])
}

async fn connect(nth: usize, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source(nth), 0))?;
    socket.connect(to).await
}

/// Says this, and reads what comes back until it is quiet.
async fn say(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    read_some(stream).await
}

async fn read_some(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut scrap = [0; 4096];
    while let Ok(read) =
        tokio::time::timeout(Duration::from_millis(100), stream.read(&mut scrap)).await
    {
        if read? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

async fn attack(kind: Kind, stream: &mut TcpStream, nth: usize) -> std::io::Result<()> {
    let envelope = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n";
    match kind {
        Kind::Silent => {}
        Kind::EhloWithoutReading => {
            let flood = "EHLO a\r\n".repeat(4096);
            loop {
                stream.write_all(flood.as_bytes()).await?;
            }
        }
        Kind::EnvelopesHeld => {
            say(stream, "EHLO c\r\nMAIL FROM:<a@b.test>\r\n").await?;
            for hundred in 0..10 {
                let recipients: String = (0..100)
                    .map(|n| format!("RCPT TO:<{}{hundred}.{n}@d.test>\r\n", "x".repeat(60)))
                    .collect();
                say(stream, &recipients).await?;
            }
        }
        Kind::SlowData => {
            say(stream, &format!("{envelope}DATA\r\n")).await?;
            let body = "x".repeat(250_000);
            say(stream, &format!("Subject: x\r\n\r\n{body}")).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Kind::EndlessBdat => {
            say(stream, "EHLO c\r\nBDAT 18446744073709551615\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 16_384]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Kind::HalfHandshakes => stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await?,
        Kind::HeadersWithoutEnd => {
            say(stream, &format!("{envelope}DATA\r\n")).await?;
            loop {
                let field = format!("X-{nth}: {}\r\n", "x".repeat(900));
                stream.write_all(field.repeat(4).as_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Kind::AuthHalfWay => {
            say(
                stream,
                &format!("EHLO c\r\nAUTH PLAIN {}", "A".repeat(12_000)),
            )
            .await?;
        }
        Kind::Noops => loop {
            stream.write_all("NOOP\r\n".repeat(100).as_bytes()).await?;
            read_some(stream).await?;
        },
        Kind::MailAndReset => loop {
            let pairs = "MAIL FROM:<a@b.test>\r\nRSET\r\n".repeat(50);
            stream
                .write_all(format!("EHLO c\r\n{pairs}").as_bytes())
                .await?;
            read_some(stream).await?;
        },
    }
    std::future::pending::<()>().await;
    Ok(())
}

/// A client of this kind, which comes again when it is sent away.
async fn client(kind: Kind, nth: usize, to: SocketAddr) {
    loop {
        if let Ok(mut stream) = connect(nth, to).await {
            // However it ends, it comes again.
            let _ = attack(kind, &mut stream, nth).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// One message over a connection of its own.
async fn honest(smtp: SocketAddr) -> std::io::Result<Duration> {
    let at = Instant::now();
    let mut probe = Probe::connect_from(IpAddr::from([127, 0, 99, 1]), smtp).await?;
    probe.reply().await?;
    for line in [
        "EHLO c",
        "MAIL FROM:<a@b.test>",
        "RCPT TO:<c@d.test>",
        "DATA",
    ] {
        let reply = probe.cmd(line).await?;
        if !reply.positive() {
            return Err(std::io::Error::other(format!("{line}: {reply:?}")));
        }
    }
    probe.send(b"Subject: honest\r\n\r\nhello\r\n.\r\n").await?;
    let reply = probe.reply().await?;
    if reply.code != 250 {
        return Err(std::io::Error::other(format!("{reply:?}")));
    }
    Ok(at.elapsed())
}

async fn survived(kind: Kind) {
    let implicit = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let bench = Bench::with(|folder| {
        let tls = skein_tests::self_signed(folder)?;
        Ok(Extra {
            sections: format!(
                "{tls}\n[[smtp.user]]\nname = \"ann\"\npassword = \"secret\"\n\
                 [[smtp.listener]]\naddress = \"{implicit}\"\ntls = \"implicit\"\n"
            ),
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let node = bench.start().await.unwrap();
    let at_rest = node.rss_bytes().unwrap();
    let watched = Watched::new(node.pid());
    let to = match kind {
        Kind::HalfHandshakes => implicit,
        _ => bench.smtp,
    };
    // The attackers have one thread of their own: mail of somebody else must not wait for them in this process.
    let attack = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for nth in 0..CONNECTIONS {
        attack.spawn(client(kind, nth, to));
    }
    let until = Instant::now() + ATTACK;
    let mut times = Vec::new();
    while Instant::now() < until {
        match honest(bench.smtp).await {
            Ok(time) => times.push(time),
            Err(error) => panic!("{kind:?}: honest mail is refused: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let resident = watched.peak();
    attack.shutdown_background();
    times.sort();
    let [middle, most, last] = [5, 9, 10].map(|tenths| times[(times.len() - 1) * tenths / 10]);
    println!(
        "{kind:?}: at rest {} MiB, at most {} MiB; {} honest messages, {middle:?} in the middle, {most:?} for nine of ten, {last:?} at most",
        at_rest >> 20,
        resident >> 20,
        times.len(),
    );
    assert!(resident < RESIDENT_MAX, "{kind:?}: {} MiB", resident >> 20);
    assert!(most < HONEST_MAX, "{kind:?}: {most:?}");
}

macro_rules! survives {
    ($($name:ident: $kind:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let _alone = crate::alone().await;
            survived(Kind::$kind).await;
        }
    )*};
}

survives! {
    silent_connections: Silent,
    replies_that_nobody_reads: EhloWithoutReading,
    envelopes_that_are_held: EnvelopesHeld,
    bodies_that_drip: SlowData,
    chunks_without_end: EndlessBdat,
    handshakes_half_way: HalfHandshakes,
    headers_without_end: HeadersWithoutEnd,
    logins_half_way: AuthHalfWay,
    floods_of_noop: Noops,
    transactions_that_carry_nothing: MailAndReset,
}
