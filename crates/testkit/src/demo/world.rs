use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dns::{FakeDns, Fault};
use crate::sink::{Act, Phase, Record, Sink, SinkConfig};

/// What a destination does with mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Accepts,
    /// 451 for the first seconds, then accepts.
    Defers,
    /// 550 to about half of the recipients.
    Refuses,
    /// Nothing listens for the first seconds.
    Down,
    /// Publishes a null MX; there is no server.
    NullMx,
}

impl Behaviour {
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepts => "accepts",
            Self::Defers => "451 at first",
            Self::Refuses => "550 for some",
            Self::Down => "down at first",
            Self::NullMx => "null MX",
        }
    }
}

/// The demo's destinations.
pub const DOMAINS: [(&str, Behaviour); 12] = [
    ("alder.test", Behaviour::Accepts),
    ("birch.test", Behaviour::Accepts),
    ("cedar.test", Behaviour::Accepts),
    ("elm.test", Behaviour::Accepts),
    ("fir.test", Behaviour::Accepts),
    ("hazel.test", Behaviour::Accepts),
    ("juniper.test", Behaviour::Down),
    ("slow-oak.test", Behaviour::Defers),
    ("slow-pine.test", Behaviour::Defers),
    ("closed-rowan.test", Behaviour::Refuses),
    ("closed-willow.test", Behaviour::Refuses),
    ("null-yew.test", Behaviour::NullMx),
];

/// The domain of the return path, where the DSNs go.
pub const SENDER_DOMAIN: &str = "sender.test";

/// How long a deferring destination says 451.
const DEFER_FOR: Duration = Duration::from_secs(4);

/// How long nothing listens at a destination that is down.
const DOWN_FOR: Duration = Duration::from_secs(5);

/// The outside world of the demo: names and mail servers on loopback addresses.
#[derive(Debug)]
pub struct World {
    pub dns: FakeDns,
    pub sinks: Vec<(&'static str, Sink)>,
    /// The port of all sinks.
    pub port: u16,
    started: Instant,
    asleep: Vec<(&'static str, SinkConfig)>,
}

type Sinks = Vec<(&'static str, Sink)>;

impl World {
    /// Starts a name server and one sink for each domain on 127.0.0.2 and up, all on one port:
    /// the wanted one if it is free on all addresses.
    ///
    /// # Errors
    /// No common port could be found.
    pub async fn start(wanted_port: u16) -> io::Result<Self> {
        let dns = FakeDns::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let mut result = sinks(wanted_port).await;
        for _ in 0..8 {
            if result.is_ok() {
                break;
            }
            result = sinks(crate::process::free_port()?).await;
        }
        let (sinks, asleep) = result?;
        let here = sinks.iter().map(|(domain, sink)| (domain, sink.address()));
        let later = asleep.iter().map(|(domain, sink)| (domain, sink.address));
        for (domain, address) in here.chain(later) {
            dns.domain(domain, address.ip());
        }
        for (domain, behaviour) in DOMAINS {
            if behaviour == Behaviour::NullMx {
                dns.fault(domain, Some(Fault::NullMx));
            }
        }
        let port = sinks.first().map_or(0, |(_, sink)| sink.address().port());
        Ok(Self {
            dns,
            sinks,
            port,
            started: Instant::now(),
            asleep,
        })
    }

    /// Starts the destinations that were down, once their time has come.
    ///
    /// # Errors
    /// Another process has taken a port meanwhile.
    pub async fn wake(&mut self) -> io::Result<()> {
        if self.started.elapsed() >= DOWN_FOR {
            for (domain, config) in std::mem::take(&mut self.asleep) {
                self.sinks.push((domain, Sink::start(config).await?));
            }
        }
        Ok(())
    }

    /// Every transaction at every sink.
    pub fn records(&self) -> Vec<Arc<Record>> {
        self.sinks
            .iter()
            .flat_map(|(_, sink)| sink.records())
            .collect()
    }
}

/// The running sinks, and those that start later.
async fn sinks(port: u16) -> io::Result<(Sinks, Vec<(&'static str, SinkConfig)>)> {
    let with_server = DOMAINS
        .into_iter()
        .filter(|(_, behaviour)| *behaviour != Behaviour::NullMx);
    let all = with_server.chain([(SENDER_DOMAIN, Behaviour::Accepts)]);
    let (mut sinks, mut asleep) = (Vec::new(), Vec::new());
    for (last_octet, (domain, behaviour)) in (2..).zip(all) {
        let address = SocketAddr::new(IpAddr::from([127, 0, 0, last_octet]), port);
        let config = destination(address, behaviour);
        match behaviour {
            Behaviour::Down => asleep.push((domain, config)),
            _ => sinks.push((domain, Sink::start(config).await?)),
        }
    }
    Ok((sinks, asleep))
}

fn destination(address: SocketAddr, behaviour: Behaviour) -> SinkConfig {
    let started = Instant::now();
    SinkConfig::at(address).script(move |moment| match (moment.phase, behaviour) {
        (Phase::Rcpt, Behaviour::Defers) if started.elapsed() < DEFER_FOR => {
            Act::reply(451, "4.7.1 greylisted, try again later")
        }
        (Phase::Rcpt, Behaviour::Refuses) if unlucky(moment.address) => {
            Act::reply(550, "5.1.1 no such user here")
        }
        _ => Act::Accept,
    })
}

/// The same recipients in every run.
fn unlucky(address: &str) -> bool {
    let sum = address
        .bytes()
        .fold(0_u32, |sum, byte| sum + u32::from(byte));
    sum.is_multiple_of(2)
}

/// The node's configuration file for this world.
pub fn node_config(
    world: &World,
    dir: &Path,
    smtp: SocketAddr,
    admin: SocketAddr,
    http: SocketAddr,
) -> String {
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    format!(
        "role = \"all\"\n\
         data_dir = {data}\n\n\
         [smtp]\nhostname = \"mx.skein.test\"\nrelay_networks = [\"127.0.0.0/8\"]\n\n\
         [[smtp.listener]]\naddress = \"{smtp}\"\n\n\
         [admin]\nlisten = \"{admin}\"\n\n\
         [http]\nlisten = \"{http}\"\n\n\
         [delivery]\nport = {port}\nallow_private_addresses = true\n\n\
         [delivery.retry]\nfirst = \"1s\"\ncap = \"2s\"\nmax_age = \"20s\"\n\n\
         [dns]\nservers = [\"{dns}\"]\n\n\
         [events]\npath = {events}\n",
        data = quoted(&dir.join("data")),
        port = world.port,
        dns = world.dns.address(),
        events = quoted(&dir.join("events.jsonl")),
    )
}
