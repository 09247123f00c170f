//! What strangers, customers and nodes try that they may not: each kind over its whole range. All of it is refused and counted,
//! and what is asked of the admin API is in the audit log. What has a file of its own: smuggled messages
//! (`smuggling`), guessed passwords (`guessing`, and under load `alone`), certificates at every call (`access`).

mod injection;
mod logins;
mod managing;
mod relaying;
mod spoofing;

use std::net::{IpAddr, SocketAddr};

use skein_testkit::load::Probe;
use skein_testkit::process::{Node, http_get};
use skein_tests::{Bench, Extra, loopback};

/// Hosts of this address need no login; all others are strangers.
const TRUSTED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 7));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));

/// A node with a listener of each kind, a user `ann` with the password `secret`, and a trusted network.
struct Ports {
    bench: Bench,
    node: Node,
    /// With STARTTLS.
    submission: SocketAddr,
    implicit: SocketAddr,
    /// For mail of other hosts, without TLS.
    plain: SocketAddr,
}

impl Ports {
    async fn new() -> Self {
        let [submission, implicit, plain] = [(); 3].map(|()| loopback().unwrap());
        let bench = Bench::with(|folder| {
            let tls = skein_tests::self_signed(folder)?;
            Ok(Extra {
                relay_networks: Some(format!("[\"{TRUSTED}/32\"]")),
                sections: format!(
                    r#"
                    {tls}
                    [smtp.limits]
                    errors_per_connection = 1_000_000
                    [[smtp.user]]
                    name = "ann"
                    password = "secret"
                    [[smtp.listener]]
                    address = "{submission}"
                    kind = "submission"
                    [[smtp.listener]]
                    address = "{implicit}"
                    kind = "submission"
                    tls = "implicit"
                    [[smtp.listener]]
                    address = "{plain}"
                    tls = "none"
                    "#
                ),
                ..Extra::default()
            })
        });
        let bench = bench.await.unwrap();
        let node = bench.start().await.unwrap();
        Self {
            bench,
            node,
            submission,
            implicit,
            plain,
        }
    }

    /// A session in the clear that has said EHLO.
    async fn greeted(&self, source: IpAddr, port: SocketAddr) -> Probe {
        let mut probe = Probe::connect_from(source, port).await.unwrap();
        probe.reply().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        probe
    }

    /// A session under TLS that has said EHLO.
    async fn encrypted(&self, source: IpAddr, port: SocketAddr) -> Probe {
        if port == self.implicit {
            let mut probe = Probe::connect_from(source, port).await.unwrap();
            probe.handshake().await.unwrap();
            probe.reply().await.unwrap();
            probe.cmd("EHLO c").await.unwrap();
            return probe;
        }
        let mut probe = self.greeted(source, port).await;
        probe.starttls().await.unwrap();
        probe.cmd("EHLO c").await.unwrap();
        probe
    }

    async fn metric(&self, name: &str) -> u64 {
        metric(self.bench.http, name).await
    }
}

/// The sum of a metric over its labels.
async fn metric(http: SocketAddr, name: &str) -> u64 {
    let (_, text) = http_get(http, "/metrics").await.unwrap();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let is_it = series == name || series.strip_prefix(name)?.starts_with('{');
        is_it.then(|| value.parse::<f64>().ok()).flatten()
    });
    values.map(|value| value as u64).sum()
}
