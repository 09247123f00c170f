//! Passwords are guessed slowly, and it is seen; who has logged in before still can.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use skein_testkit::load::Probe;
use skein_testkit::process::{Node, free_port, http_get};
use skein_tests::{Bench, Extra};

const WINDOW: Duration = Duration::from_secs(10);
/// Eight threads have as many answers in ten seconds as one would.
const ANSWERS_MAX: usize = 12;

/// AUTH PLAIN for ann, with the right password and with a wrong one.
const RIGHT: &str = "AUTH PLAIN AGFubgBzZWNyZXQ=";
const WRONG: &str = "AUTH PLAIN AGFubgB3cm9uZw==";

struct Offers {
    bench: Bench,
    node: Node,
    submission: SocketAddr,
}

async fn offers(relay_networks: &str) -> Offers {
    let submission = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
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
                address = "{submission}"
                kind = "submission"
                tls = "implicit"
                "#
            ),
            relay_networks: Some(relay_networks.to_owned()),
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let node = bench.start().await.unwrap();
    Offers {
        bench,
        node,
        submission,
    }
}

fn from(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// One login from this address; the code.
async fn login(source: IpAddr, submission: SocketAddr, line: &str) -> std::io::Result<u16> {
    let mut probe = Probe::connect_from(source, submission).await?;
    probe.handshake().await?;
    probe.reply().await?;
    probe.cmd("EHLO c").await?;
    Ok(probe.cmd(line).await?.code)
}

/// Guesses until the time is over; how many were looked at.
async fn guess(source: IpAddr, submission: SocketAddr, until: Instant) -> usize {
    let mut looked_at = 0;
    while Instant::now() < until {
        match login(source, submission, WRONG).await {
            Ok(535) if Instant::now() < until => looked_at += 1,
            _ => {}
        }
    }
    looked_at
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_threads_guess_no_faster_than_one_and_lock_out_themselves() {
    let offers = offers("[\"127.0.0.0/8\"]").await;
    let submission = offers.submission;
    assert_eq!(login(from(1), submission, RIGHT).await.unwrap(), 235);
    let until = Instant::now() + WINDOW;
    let threads: Vec<_> = (0..8)
        .map(|_| tokio::spawn(guess(from(9), submission, until)))
        .collect();
    let mut looked_at = 0;
    for thread in threads {
        looked_at += thread.await.unwrap();
    }
    println!("{looked_at} guesses of 8 threads in {WINDOW:?}");
    assert!((1..=ANSWERS_MAX).contains(&looked_at), "{looked_at}");

    // The guesser is locked out, with the right password too, and the owner is not.
    let locked = async { while login(from(9), submission, WRONG).await.unwrap() != 454 {} };
    tokio::time::timeout(Duration::from_secs(60), locked)
        .await
        .unwrap();
    assert_eq!(login(from(9), submission, RIGHT).await.unwrap(), 454);
    assert_eq!(login(from(1), submission, RIGHT).await.unwrap(), 235);

    let log = offers.node.log();
    let line = log.lines().find(|line| line.contains("a login failed"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains("WARN") && line.contains("127.0.0.9") && line.contains("ann"),
        "{line}"
    );
    let events = offers.bench.data().join("events.jsonl");
    let (within, every) = (Duration::from_secs(10), Duration::from_millis(100));
    let look = || {
        let events = skein_tests::operator::events(&events).ok()?;
        let is_it = |event: &serde_json::Value| {
            event["event"] == "lockout" && event["client"] == "127.0.0.9/32"
        };
        events.into_iter().find(is_it)
    };
    let lockout = skein_tests::until("the event", within, every, look);
    let lockout = lockout.await.unwrap();
    assert_eq!(lockout["what"], "login", "{lockout}");
    let (_, metrics) = http_get(offers.bench.http, "/metrics").await.unwrap();
    for name in [
        "skein_smtp_in_lockouts_total",
        "skein_smtp_in_logins_failed_total",
        "skein_smtp_in_logins_locked_total",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        assert!(count > Some(0), "{name}: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relaying_that_is_refused_is_slowed_down_and_counted() {
    let offers = offers("[\"127.0.0.1/32\"]").await;
    let (smtp, until) = (offers.bench.smtp, Instant::now() + WINDOW);
    let mut threads = Vec::new();
    for _ in 0..8 {
        threads.push(tokio::spawn(async move {
            let mut refused = 0;
            while Instant::now() < until {
                let Ok(mut probe) = Probe::connect_from(from(9), smtp).await else {
                    continue;
                };
                let _ = probe.reply().await;
                let _ = probe.cmd("EHLO c").await;
                let _ = probe.cmd("MAIL FROM:<a@b.test>").await;
                while let Ok(reply) = probe.cmd("RCPT TO:<c@d.test>").await {
                    if reply.code != 550 || Instant::now() > until {
                        break;
                    }
                    refused += 1;
                }
            }
            refused
        }));
    }
    let mut refused = 0;
    for thread in threads {
        refused += thread.await.unwrap();
    }
    println!("{refused} recipients refused in {WINDOW:?}");
    assert!((1..=ANSWERS_MAX).contains(&refused), "{refused}");
    let (_, metrics) = http_get(offers.bench.http, "/metrics").await.unwrap();
    assert!(
        metrics.contains("skein_smtp_in_relaying_refused_total"),
        "{metrics}"
    );
    assert!(offers.node.log().contains("relaying is refused"));
}
