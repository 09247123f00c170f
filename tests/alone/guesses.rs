//! Passwords guessed over the network, two hundred a second from everywhere: it takes little of the node, and those whose passwords
//! are right are let in meanwhile, also under the name that is guessed at.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_testkit::load::Probe;
use skein_tests::{Bench, Extra, loopback, operator};

const GUESSES_A_SECOND: u32 = 200;
const ATTACK: Duration = Duration::from_secs(8);
/// Of one processor, as the kernel counts it, so that whatever else the machine does is left out. Most of it is the handshakes.
const CORE_MAX: f64 = 0.5;
/// For nine of ten logins, from AUTH to its reply. On an idle machine it is a millisecond or two; here the attackers and other
/// tests use the processors as well.
const HONEST_MAX: Duration = Duration::from_millis(500);

fn plain(user: &str, password: &str) -> String {
    format!(
        "AUTH PLAIN {}",
        STANDARD.encode(format!("\0{user}\0{password}"))
    )
}

/// A login over a connection of its own; its code, and what AUTH took.
async fn login(source: IpAddr, to: SocketAddr, line: &str) -> std::io::Result<(u16, Duration)> {
    let mut probe = Probe::connect_from(source, to).await?;
    probe.handshake().await?;
    probe.reply().await?;
    probe.cmd("EHLO c").await?;
    let at = Instant::now();
    let code = probe.cmd(line).await?.code;
    Ok((code, at.elapsed()))
}

/// Of both kinds, since the process began.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may have blanks.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    // Linux tells it in hundredths of a second on every architecture.
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_guesses_a_second_take_less_than_half_a_core_and_keep_nobody_out() {
    let _alone = crate::alone().await;
    let implicit = loopback().unwrap();
    let bench = Bench::with(|folder| {
        let tls = skein_tests::self_signed(folder)?;
        Ok(Extra {
            relay_networks: Some("[]".into()),
            sections: format!(
                "{tls}\n[[smtp.listener]]\naddress = \"{implicit}\"\nkind = \"submission\"\ntls = \"implicit\"\n"
            ),
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let node = bench.start().await.unwrap();
    let args = [
        "credential",
        "create",
        "app",
        "--tenant",
        "acme",
        "--wait",
        "--json",
    ];
    let made = operator::skeinctl(bench.admin, &args).unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let secret = made["secret"].as_str().unwrap();
    let (right, home) = (plain("app", secret), IpAddr::from([127, 0, 0, 1]));
    assert_eq!(login(home, implicit, &right).await.unwrap().0, 235);

    // The attackers have one thread of their own: honest logins must not wait for them in this process.
    let attack = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (began, before) = (Instant::now(), processor_time(node.pid()));
    attack.spawn(async move {
        let mut every = tokio::time::interval(Duration::from_secs(1) / GUESSES_A_SECOND);
        for nth in 0_u32.. {
            every.tick().await;
            let tell = tell.clone();
            tokio::spawn(async move {
                let [_, _, high, low] = nth.to_be_bytes();
                // One user that is there, and names that are not, from addresses that come again now and then.
                let user = if nth % 2 == 0 {
                    "app".to_owned()
                } else {
                    format!("user{}", nth % 50)
                };
                let source = IpAddr::from([127, 1, high, low]);
                let answer = login(source, implicit, &plain(&user, &format!("guess{nth}"))).await;
                let _ = tell.send(answer.map_or(0, |(code, _)| code));
            });
        }
    });
    let mut honest = Vec::new();
    while began.elapsed() < ATTACK {
        let (code, took) = login(home, implicit, &right).await.unwrap();
        assert_eq!(
            code,
            235,
            "the owner is kept out after {:?}",
            began.elapsed()
        );
        honest.push(took);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = processor_time(node.pid()) - before;
    let core = used.as_secs_f64() / began.elapsed().as_secs_f64();
    attack.shutdown_background();
    let mut codes = std::collections::BTreeMap::<u16, u32>::new();
    while let Ok(code) = told.try_recv() {
        *codes.entry(code).or_default() += 1;
    }
    honest.sort();
    let [middle, most, last] = [5, 9, 10].map(|tenths| honest[(honest.len() - 1) * tenths / 10]);
    println!(
        "{core:.2} of a core; answers to guesses {codes:?}; {} honest logins, {middle:?} in the middle, {most:?} for nine of \
         ten, {last:?} at most",
        honest.len()
    );
    assert!(!codes.contains_key(&235), "{codes:?}");
    let looked_at = codes.get(&535).copied().unwrap_or(0) + codes.get(&454).copied().unwrap_or(0);
    assert!(looked_at > GUESSES_A_SECOND, "{codes:?}");
    assert!(core < CORE_MAX, "{core:.2} of a core");
    assert!(most < HONEST_MAX, "{most:?}");
}
