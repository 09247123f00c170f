//! The processes, and how each is configured.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::demo::World;
use crate::process::{Node, NodeConfig, free_address, free_port};

pub const CONTROLS: usize = 3;
pub const SENDERS: usize = 3;
/// Six processes share the machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Control nodes first, then senders.
#[derive(Debug)]
pub struct Nodes {
    skein: PathBuf,
    dir: PathBuf,
    spots: Vec<Spot>,
    running: Vec<Option<Node>>,
}

/// Where a node is.
#[derive(Debug, Clone)]
struct Spot {
    name: String,
    http: SocketAddr,
    /// Of a control node.
    internal: SocketAddr,
    admin: SocketAddr,
    /// Of a sender.
    smtp: SocketAddr,
}

impl Nodes {
    pub fn new(skein: &Path, dir: &Path, world: &World) -> Result<Self> {
        let names = (1..=CONTROLS).map(|n| format!("c{n}"));
        let names = names.chain((1..=SENDERS).map(|n| format!("s{n}")));
        let spots: Vec<Spot> = names.map(Spot::new).collect::<Result<_>>()?;
        let peers: Vec<String> = spots[..CONTROLS]
            .iter()
            .map(|spot| format!("{:?}", spot.internal.to_string()))
            .collect();
        for (number, spot) in spots.iter().enumerate() {
            let of_role = match number < CONTROLS {
                true => spot.control(),
                false => spot.sender(world),
            };
            let config = format!(
                "data_dir = {:?}\n{of_role}\n[http]\nlisten = \"{}\"\n[cluster]\npeers = [{}]\n{}",
                dir.join(&spot.name).display().to_string(),
                spot.http,
                peers.join(", "),
                match number < CONTROLS {
                    true => format!("listen = \"{}\"\n", spot.internal),
                    false => format!("name = \"{}\"\n", spot.name),
                }
            );
            std::fs::write(dir.join(&spot.name).with_extension("toml"), config)
                .context("writing a node's configuration")?;
        }
        Ok(Self {
            skein: skein.to_owned(),
            dir: dir.to_owned(),
            running: spots.iter().map(|_| None).collect(),
            spots,
        })
    }

    /// For a user who wants to look closer.
    pub fn addresses(&self) -> String {
        let lines = self.spots.iter().enumerate().map(|(number, spot)| {
            let (what, at) = match number < CONTROLS {
                true => ("admin API http://", spot.admin),
                false => ("SMTP in ", spot.smtp),
            };
            format!("{}  {what}{at}, http://{}/metrics\n", spot.name, spot.http)
        });
        lines.collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.spots.iter().map(|spot| spot.name.as_str())
    }

    pub fn smtp(&self, sender: usize) -> SocketAddr {
        self.spots[CONTROLS + sender].smtp
    }

    /// Admin APIs of those that run, and their names.
    pub fn admins(&self) -> impl Iterator<Item = SocketAddr> {
        let controls = self.spots[..CONTROLS].iter().zip(&self.running);
        let running = controls.filter(|(_, node)| node.is_some());
        running.map(|(spot, _)| spot.admin)
    }

    /// The control node that others reach at this address.
    pub fn at_internal(&self, address: &str) -> Option<usize> {
        let same = |spot: &Spot| spot.internal.to_string() == address;
        self.spots[..CONTROLS].iter().position(same)
    }

    pub fn start(&mut self, node: usize) -> Result<()> {
        let spot = &self.spots[node];
        let config = self.dir.join(&spot.name).with_extension("toml");
        let started = Node::start(NodeConfig::serve(&self.skein, &config, spot.http));
        self.running[node] = Some(started.with_context(|| format!("starting {}", spot.name))?);
        Ok(())
    }

    pub async fn ready(&mut self, node: usize) -> Result<()> {
        let name = &self.spots[node].name;
        let running = self.running[node].as_mut().context("it was started")?;
        let ready = running.ready(READY_WITHIN).await;
        ready.with_context(|| format!("waiting for {name}"))
    }

    pub fn kill(&mut self, node: usize) -> Result<()> {
        if let Some(mut killed) = self.running[node].take() {
            killed.kill9()?;
        }
        Ok(())
    }

    pub fn runs(&self, node: usize) -> bool {
        self.running[node].is_some()
    }

    /// A node that ended by itself, and the end of its log.
    pub fn fallen(&mut self) -> Option<(String, String)> {
        let mut running = self.spots.iter().zip(&mut self.running);
        running.find_map(|(spot, node)| {
            let node = node.as_mut()?;
            (!node.running()).then(|| (spot.name.clone(), node.log_end()))
        })
    }
}

impl Spot {
    fn new(name: String) -> Result<Self> {
        let port = || -> Result<SocketAddr> {
            let any = SocketAddr::from(([127, 0, 0, 1], free_port()?));
            free_address(any).context("looking for a free port")
        };
        Ok(Self {
            name,
            http: port()?,
            internal: port()?,
            admin: port()?,
            smtp: port()?,
        })
    }

    fn control(&self) -> String {
        format!("role = \"control\"\n[admin]\nlisten = \"{}\"", self.admin)
    }

    fn sender(&self, world: &World) -> String {
        format!(
            "role = \"sender\"\n\
             [smtp]\nhostname = \"{name}.skein.test\"\nrelay_networks = [\"127.0.0.0/8\"]\n\
             [[smtp.listener]]\naddress = \"{smtp}\"\n\
             [delivery]\nport = {port}\nallow_private_addresses = true\n\
             [delivery.retry]\nfirst = \"1s\"\ncap = \"2s\"\nmax_age = \"2m\"\n\
             [dns]\nservers = [\"{dns}\"]",
            name = self.name,
            smtp = self.smtp,
            port = world.port,
            dns = world.dns.address(),
        )
    }
}
