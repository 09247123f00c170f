//! Control nodes and senders that find hosts by DNS, each a process of its own, and sinks that stand for providers.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use skein_testkit::dns::FakeDns;
use skein_testkit::process::{Node, NodeConfig, free_port};
use skein_testkit::sink::{Sink, SinkConfig};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{READY, binary, loopback};

const LOOK: Duration = Duration::from_millis(100);

/// A process and where it is reached.
#[derive(Debug)]
pub struct Member {
    /// None while it does not run.
    pub node: Option<Node>,
    /// Where other nodes reach a control node.
    pub address: SocketAddr,
    pub smtp: SocketAddr,
    admin: SocketAddr,
    config: NodeConfig,
}

impl Member {
    /// Starts it, which takes a while.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        self.node = Some(Node::start(self.config.clone())?);
        Ok(())
    }

    /// Waits until it does its work.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let node = self.node.as_mut().context("it does not run")?;
        Ok(node.ready(READY).await?)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut node = self.node.take().context("it does not run")?;
        node.kill9()?;
        Ok(())
    }
}

#[derive(Debug)]
pub struct Fleet {
    pub dns: FakeDns,
    /// Of all sinks.
    port: u16,
    pub control: Vec<Member>,
    pub senders: Vec<Member>,
    folder: TempDir,
}

impl Fleet {
    /// So many control nodes and senders, all of them ready. `delivery` are lines of the senders' files, from within
    /// `[delivery]` on.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(control: usize, senders: usize, delivery: &str) -> Result<Self> {
        let dns = FakeDns::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut fleet = Self {
            dns,
            port: free_port()?,
            control: Vec::new(),
            senders: Vec::new(),
            folder: TempDir::new()?,
        };
        for nth in 0..control {
            let member = fleet.member(&format!("c{nth}"))?;
            fleet.control.push(member);
        }
        let peers: Vec<SocketAddr> = fleet.control.iter().map(|one| one.address).collect();
        for nth in 0..control {
            fleet.configure(nth, &peers)?;
        }
        for nth in 0..senders {
            let member = fleet.sender(nth, &peers, delivery)?;
            fleet.senders.push(member);
        }
        for member in fleet.control.iter_mut().chain(&mut fleet.senders) {
            member.spawn()?;
        }
        for member in fleet.control.iter_mut().chain(&mut fleet.senders) {
            member.ready().await?;
        }
        Ok(fleet)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.toml"))
    }

    fn member(&self, name: &str) -> Result<Member> {
        let path = self.path(name);
        Ok(Member {
            node: None,
            address: loopback()?,
            smtp: loopback()?,
            admin: loopback()?,
            config: NodeConfig::serve(&binary("SKEIN_BIN")?, &path, loopback()?),
        })
    }

    fn configure(&self, nth: usize, peers: &[SocketAddr]) -> Result<()> {
        let (member, path) = (&self.control[nth], self.path(&format!("c{nth}")));
        let config = format!(
            r#"
            role = "control"
            data_dir = "{data}"
            events.path = "{events}"
            dns.servers = ["{dns}"]
            [cluster]
            listen = "{address}"
            peers = [{peers}]
            bootstrap_expect = {expect}
            spool_groups = 1
            [admin]
            listen = "{admin}"
            [http]
            listen = "{http}"
            "#,
            data = self.folder.path().join(format!("c{nth}")).display(),
            events = self.events_path(nth).display(),
            dns = self.dns.address(),
            peers = quoted(peers),
            expect = peers.len(),
            address = member.address,
            admin = member.admin,
            http = member.config.http,
        );
        Ok(std::fs::write(path, config)?)
    }

    fn sender(&self, nth: usize, peers: &[SocketAddr], delivery: &str) -> Result<Member> {
        let name = format!("s{nth}");
        let (member, path) = (self.member(&name)?, self.path(&name));
        let config = format!(
            r#"
            role = "sender"
            data_dir = "{data}"
            dns.servers = ["{dns}"]
            [cluster]
            peers = [{peers}]
            name = "s{nth}"
            [smtp]
            hostname = "s{nth}.skein.test"
            relay_networks = ["127.0.0.0/8"]
            [[smtp.listener]]
            address = "{smtp}"
            [egress]
            listen = "{egress}"
            [http]
            listen = "{http}"
            [delivery]
            port = {port}
            allow_private_addresses = true
            {delivery}
            "#,
            data = self.folder.path().join(format!("s{nth}")).display(),
            dns = self.dns.address(),
            peers = quoted(peers),
            smtp = member.smtp,
            egress = loopback()?,
            http = member.config.http,
            port = self.port,
        );
        std::fs::write(path, config)?;
        Ok(member)
    }

    fn events_path(&self, nth: usize) -> PathBuf {
        self.folder.path().join(format!("c{nth}-events.jsonl"))
    }

    /// A sink at `127.0.0.<last>`, at the host of this name, to which the mail of these domains goes.
    ///
    /// # Errors
    /// Its address is taken.
    pub async fn sink(&self, last: u8, host: &str, domains: &[&str]) -> Result<Sink> {
        let address = IpAddr::from([127, 0, 0, last]);
        self.dns.host(host, address);
        for domain in domains {
            self.dns.mx(domain, 10, host);
        }
        Ok(Sink::start(SinkConfig::at(SocketAddr::new(address, self.port))).await?)
    }

    /// Runs `skeinctl` against a control node.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn try_skeinctl(&self, nth: usize, args: &[&str]) -> Result<Output> {
        let server = format!("http://{}", self.control[nth].admin);
        let mut command = Command::new(binary("SKEINCTL_BIN")?);
        Ok(command.args(["--server", &server]).args(args).output()?)
    }

    /// What `skeinctl` prints.
    ///
    /// # Errors
    /// It fails; with what it says.
    pub fn skeinctl(&self, args: &[&str]) -> Result<String> {
        let running = self.control.iter().position(|one| one.node.is_some());
        let output = self.try_skeinctl(running.context("no control node runs")?, args)?;
        if !output.status.success() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `skeinctl --json` says.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn ask(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.skeinctl(&[args, &["--json"]].concat())?,
        )?)
    }

    /// Applies policy as an operator does.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, policy: &str) -> Result<()> {
        let file = self.folder.path().join("policy.yaml");
        std::fs::write(&file, policy)?;
        let path = file.to_str().context("a path of text")?;
        self.skeinctl(&["apply", "-f", path])?;
        Ok(())
    }

    /// What happened so far, of all control nodes, each oldest first.
    ///
    /// # Errors
    /// A line is no JSON.
    pub fn events(&self) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        for nth in 0..self.control.len() {
            let text = std::fs::read_to_string(self.events_path(nth)).unwrap_or_default();
            // The last line may be half written.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            for line in whole.lines().filter(|line| !line.is_empty()) {
                events.push(serde_json::from_str(line)?);
            }
        }
        Ok(events)
    }

    /// Looks until there is something.
    ///
    /// # Errors
    /// There is nothing in time.
    pub async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + within;
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if Instant::now() > until {
                bail!("waited in vain for {what}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn quoted(addresses: &[SocketAddr]) -> String {
    let quoted = addresses.iter().map(|one| format!("\"{one}\""));
    quoted.collect::<Vec<_>>().join(", ")
}
