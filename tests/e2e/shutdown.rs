//! SIGTERM ends the process within a bound whatever clients do; SIGHUP does not end it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use skein_testkit::load::Probe;
use skein_testkit::process::{Node, free_port};
use skein_tests::{Bench, Extra};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What a body that is under way has after SIGTERM.
const GRACE: Duration = Duration::from_secs(6);
/// Beyond that: the end of sessions, of the sender and of storage, on a busy machine.
const END: Duration = Duration::from_secs(10);
/// Who is within no body hears 421 in this time.
const IDLE: Duration = Duration::from_secs(5);

struct Served {
    bench: Bench,
    node: Node,
    implicit: SocketAddr,
}

async fn served() -> Served {
    let implicit = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let bench = Bench::with(|folder| {
        let tls = skein_tests::self_signed(folder)?;
        Ok(Extra {
            sections: format!(
                r#"
                {tls}
                [[smtp.user]]
                name = "ann"
                password = "secret"
                [[smtp.listener]]
                address = "{implicit}"
                tls = "implicit"
                [smtp.limits]
                shutdown_grace = "{}s"
                "#,
                GRACE.as_secs()
            ),
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let node = bench.start().await.unwrap();
    Served {
        bench,
        node,
        implicit,
    }
}

impl Served {
    /// A client that has said these lines.
    async fn after(&self, lines: &[&str]) -> Probe {
        let (mut probe, _) = Probe::greet(self.bench.smtp).await.unwrap();
        for line in lines {
            let reply = probe.cmd(line).await.unwrap();
            assert!(reply.positive(), "{line}: {reply:?}");
        }
        probe
    }

    /// SIGTERM; how long the process takes to end.
    async fn ends(&mut self) -> Duration {
        let at = Instant::now();
        self.node.term().unwrap();
        let status = self.node.wait(Duration::from_secs(60)).await;
        let status = status.unwrap_or_else(|error| panic!("{error}: {}", self.node.log_end()));
        assert!(status.success(), "{}", self.node.log_end());
        assert!(
            !self.node.log().contains("panicked"),
            "{}",
            self.node.log_end()
        );
        at.elapsed()
    }
}

const ENVELOPE: [&str; 2] = ["MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>"];

#[tokio::test(flavor = "multi_thread")]
async fn who_is_idle_hears_421_and_the_process_ends() {
    let mut served = served().await;
    let mut banner = Probe::connect(served.bench.smtp).await.unwrap();
    banner.reply().await.unwrap();
    let mut auth = Probe::connect_tls(served.implicit).await.unwrap();
    auth.reply().await.unwrap();
    for line in ["EHLO c", "AUTH LOGIN"] {
        assert!(auth.cmd(line).await.unwrap().positive());
    }
    let mut handshake = TcpStream::connect(served.implicit).await.unwrap();
    handshake.write_all(&[0x16, 3, 1]).await.unwrap();
    let clients = vec![
        ("the banner", banner),
        ("EHLO", served.after(&[]).await),
        ("MAIL", served.after(&ENVELOPE[..1]).await),
        ("RCPT", served.after(&ENVELOPE).await),
        ("AUTH", auth),
    ];
    let at = Instant::now();
    let waiting: Vec<_> = clients
        .into_iter()
        .map(|(name, mut client)| {
            tokio::spawn(async move {
                let reply = client.reply().await.unwrap();
                (name, reply.code, at.elapsed())
            })
        })
        .collect();
    let took = served.ends().await;
    for client in waiting {
        let (name, code, after) = client.await.unwrap();
        println!("after {name}: {code} in {after:?}");
        assert_eq!(code, 421, "{name}");
        assert!(after < IDLE, "{name}: {after:?}");
    }
    println!("ended in {took:?}");
    assert!(took < IDLE + END, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_talks_on_does_not_keep_the_process() {
    let mut served = served().await;
    let mut talker = served.after(&ENVELOPE[..1]).await;
    let talking = tokio::spawn(async move {
        loop {
            match talker.cmd("RCPT TO:<c@d.test>").await {
                Ok(reply) if reply.code == 421 => return,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    // One that says everything at once and never reads.
    let mut flood = TcpStream::connect(served.bench.smtp).await.unwrap();
    let flooding = tokio::spawn(async move {
        let lines = "EHLO c\r\n".repeat(1000);
        while flood.write_all(lines.as_bytes()).await.is_ok() {}
    });
    let took = served.ends().await;
    println!("ended in {took:?}");
    assert!(took < IDLE + END, "{took:?}");
    talking.await.unwrap();
    flooding.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_under_way_has_its_grace_and_no_more() {
    let mut served = served().await;
    let mut data = served.after(&[&ENVELOPE[..], &["DATA"]].concat()).await;
    let mut bdat = served.after(&ENVELOPE).await;
    bdat.send(b"BDAT 100000 LAST\r\nx").await.unwrap();
    let mut good = served.after(&[&ENVELOPE[..], &["DATA"]].concat()).await;
    good.send(b"Subject: x\r\n\r\nin time\r\n").await.unwrap();
    for probe in [&mut data, &mut bdat] {
        probe.set_wait(Duration::from_millis(200));
    }
    let drips = [data, bdat].map(|mut probe| {
        tokio::spawn(async move {
            loop {
                match probe.reply().await {
                    Ok(reply) => return Some(reply.code),
                    Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                        if probe.send(b"x").await.is_err() {
                            return None;
                        }
                    }
                    Err(_) => return None,
                }
            }
        })
    });
    let finishing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        good.send(b".\r\n").await.unwrap();
        good.reply().await.unwrap().code
    });
    let took = served.ends().await;
    println!("ended in {took:?}");
    assert!(took < GRACE + END, "{took:?}");
    assert_eq!(
        finishing.await.unwrap(),
        250,
        "a message that comes within the grace is taken"
    );
    for drip in drips {
        assert!(matches!(drip.await.unwrap(), Some(421) | None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_ends_nothing() {
    let mut served = served().await;
    let mut client = served.after(&ENVELOPE).await;
    for _ in 0..3 {
        served.node.hang_up().unwrap();
        assert_eq!(client.cmd("NOOP").await.unwrap().code, 250);
    }
    let heard = || served.node.log().contains("SIGHUP").then_some(());
    let within = Duration::from_secs(10);
    skein_tests::until("the log", within, Duration::from_millis(20), heard)
        .await
        .unwrap();
    assert_eq!(client.cmd("DATA").await.unwrap().code, 354);
    client
        .send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        .await
        .unwrap();
    assert_eq!(client.reply().await.unwrap().code, 250);
    assert!(served.node.running());
}
