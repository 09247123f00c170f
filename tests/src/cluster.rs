//! Control nodes and senders of one cluster on loopback, each a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use skein_testkit::process::{Node, NodeConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{READY, binary, loopback};

const SPOOL_GROUPS: usize = 2;
const LOOK: Duration = Duration::from_millis(200);

/// A process and where it is reached.
#[derive(Debug)]
pub struct Member {
    /// None while it does not run.
    pub node: Option<Node>,
    /// Where other nodes reach a control node.
    pub address: SocketAddr,
    admin: SocketAddr,
    pub smtp: SocketAddr,
    config: NodeConfig,
}

impl Member {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let node = self.node.as_mut().context("it was just started")?;
        Ok(node.ready(READY).await?)
    }

    /// Where it tells how it does.
    pub fn http(&self) -> SocketAddr {
        self.config.http
    }

    fn spawn(&mut self) -> Result<()> {
        self.node = Some(Node::start(self.config.clone())?);
        Ok(())
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
pub struct Cluster {
    pub sink: Sink,
    pub control: Vec<Member>,
    pub senders: Vec<Member>,
    founders: usize,
    folder: TempDir,
}

impl Cluster {
    /// Founds a cluster with so many control nodes and senders, and waits until all are ready.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(founders: usize, senders: usize) -> Result<Self> {
        let mut cluster = Self {
            sink: Sink::start(SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)))).await?,
            control: Vec::new(),
            senders: Vec::new(),
            founders,
            folder: TempDir::new()?,
        };
        for _ in 0..founders {
            let member = cluster.place(&format!("c{}", cluster.control.len() + 1))?;
            cluster.control.push(member);
        }
        for number in 0..founders {
            cluster.configure(number)?;
            cluster.control[number].spawn()?;
        }
        for member in &mut cluster.control {
            let node = member.node.as_mut().context("it was just started")?;
            node.ready(READY).await?;
        }
        for number in 1..=senders {
            let mut member = cluster.place(&format!("s{number}"))?;
            cluster.configure_sender(&member, number)?;
            member.start().await?;
            cluster.senders.push(member);
        }
        Ok(cluster)
    }

    /// Another control node, which is not started.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn further_control(&mut self) -> Result<&mut Member> {
        let number = self.control.len();
        let member = self.place(&format!("c{}", number + 1))?;
        self.control.push(member);
        self.configure(number)?;
        Ok(&mut self.control[number])
    }

    fn place(&self, name: &str) -> Result<Member> {
        let http = loopback()?;
        let config = self.folder.path().join(format!("{name}.toml"));
        Ok(Member {
            node: None,
            address: loopback()?,
            admin: loopback()?,
            smtp: loopback()?,
            config: NodeConfig::serve(&binary("SKEIN_BIN")?, &config, http),
        })
    }

    fn config_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.toml"))
    }

    fn peers(&self) -> String {
        let founders = self.control.iter().take(self.founders);
        let peers: Vec<String> = founders.map(|one| format!("\"{}\"", one.address)).collect();
        peers.join(", ")
    }

    fn configure(&self, number: usize) -> Result<()> {
        let member = &self.control[number];
        let name = format!("c{}", number + 1);
        let expect = if number < self.founders {
            self.founders
        } else {
            0
        };
        let config = format!(
            r#"
            role = "control"
            data_dir = "{data}"
            [cluster]
            listen = "{address}"
            peers = [{peers}]
            bootstrap_expect = {expect}
            spool_groups = {SPOOL_GROUPS}
            [admin]
            listen = "{admin}"
            [http]
            listen = "{http}"
            "#,
            data = self.data_dir(number).display(),
            address = member.address,
            peers = self.peers(),
            admin = member.admin,
            http = member.config.http,
        );
        Ok(std::fs::write(self.config_path(&name), config)?)
    }

    fn configure_sender(&self, member: &Member, number: usize) -> Result<()> {
        let config = format!(
            r#"
            role = "sender"
            data_dir = "{data}"
            [cluster]
            peers = [{peers}]
            name = "s{number}"
            [smtp]
            hostname = "s{number}.skein.test"
            relay_networks = ["127.0.0.0/8"]
            [[smtp.listener]]
            address = "{smtp}"
            [http]
            listen = "{http}"
            [delivery]
            smarthost = "{sink}"
            [delivery.retry]
            first = "200ms"
            cap = "1s"
            "#,
            data = self.folder.path().join(format!("s{number}")).display(),
            peers = self.peers(),
            smtp = member.smtp,
            http = member.config.http,
            sink = self.sink.address(),
        );
        Ok(std::fs::write(
            self.config_path(&format!("s{number}")),
            config,
        )?)
    }

    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("c{}", number + 1))
    }

    /// Runs `skeinctl` against a control node.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn skeinctl(&self, number: usize, args: &[&str]) -> Result<Output> {
        let server = format!("http://{}", self.control[number].admin);
        let mut command = Command::new(binary("SKEINCTL_BIN")?);
        Ok(command.args(["--server", &server]).args(args).output()?)
    }

    /// What `skeinctl --json` says.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn ask(&self, number: usize, args: &[&str]) -> Result<Value> {
        let output = self.skeinctl(number, &[args, &["--json"]].concat())?;
        if output.stdout.is_empty() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Asks until the answer is as it should be.
    ///
    /// # Errors
    /// It is not in time; with the last answer.
    pub async fn until(
        &self,
        number: usize,
        args: &[&str],
        within: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let until = Instant::now() + within;
        loop {
            let answer = self.ask(number, args);
            if let Ok(answer) = &answer
                && is_so(answer)
            {
                return Ok(answer.clone());
            }
            if Instant::now() > until {
                bail!("{args:?} still answers {answer:#?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
