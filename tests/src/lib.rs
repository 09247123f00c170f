//! A node with its sink, as the tests over real processes start them.

pub mod apart;
pub mod corpus;
pub mod fleet;
pub mod helm;
pub mod operator;
pub mod replays;
pub mod small_disk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use skein_testkit::load::Injected;
use skein_testkit::oracle::{self, Reconciliation};
use skein_testkit::process::{Node, NodeConfig, free_port};
use skein_testkit::sink::{Sink, SinkConfig};
use tempfile::TempDir;

/// How long a node may take to start on a busy machine.
pub const READY: Duration = Duration::from_secs(60);

/// The daemon that `cargo xtask test` built.
pub fn skein() -> Result<PathBuf> {
    binary("SKEIN_BIN")
}

fn binary(variable: &str) -> Result<PathBuf> {
    let path = std::env::var(variable).context("run these tests with `cargo xtask test`")?;
    Ok(path.into())
}

/// The folder `tests` of the checkout whose tests run, which need not be the one that they were compiled in.
pub fn manifest_dir() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR");
    told.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// An address with a port that is free.
///
/// # Errors
/// None is.
pub fn loopback() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

/// What a test wants beyond the usual, as lines of the configuration file.
#[derive(Debug, Default)]
pub struct Extra {
    pub smtp: String,
    /// Instead of all of loopback: an array.
    pub relay_networks: Option<String>,
    /// Instead of the sink.
    pub smarthost: Option<SocketAddr>,
    pub delivery: String,
    /// Further sections.
    pub sections: String,
}

/// The section that gives a node a certificate of its own, which nobody trusts.
pub fn self_signed(folder: &Path) -> Result<String> {
    let certified = rcgen::generate_simple_self_signed(["mx.skein.test".to_owned()])?;
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, certified.cert.pem())?;
    std::fs::write(&key, certified.signing_key.serialize_pem())?;
    Ok(format!(
        r#"
        [smtp.tls]
        certificate = "{}"
        key = "{}"
        "#,
        certificate.display(),
        key.display(),
    ))
}

/// Makes a CA in the folder, and certificates for these hosts. Returns what `skein dev-ca` says.
pub fn dev_ca(folder: &Path, hosts: &[String]) -> Result<String> {
    let mut command = Command::new(skein()?);
    command.arg("dev-ca").arg(folder);
    for host in hosts {
        command.args(["--host", host]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A node whose smarthost is a sink.
#[derive(Debug)]
pub struct Bench {
    pub sink: Sink,
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    folder: TempDir,
}

impl Bench {
    pub async fn new() -> Result<Self> {
        Self::with(|_| Ok(Extra::default())).await
    }

    /// `extra` is given the folder of the test, for the files that it needs.
    pub async fn with(extra: impl FnOnce(&Path) -> Result<Extra>) -> Result<Self> {
        let sink = Sink::start(SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        let bench = Self {
            sink,
            smtp: loopback()?,
            http: loopback()?,
            admin: loopback()?,
            folder: TempDir::new()?,
        };
        let extra = extra(bench.folder.path())?;
        let config = format!(
            r#"
            role = "all"
            data_dir = "{data}"
            [smtp]
            hostname = "mx.skein.test"
            relay_networks = {relay_networks}
            {more}
            [[smtp.listener]]
            address = "{smtp}"
            [admin]
            listen = "{admin}"
            [http]
            listen = "{http}"
            [delivery]
            smarthost = "{sink}"
            {delivery}
            [delivery.retry]
            first = "200ms"
            cap = "1s"
            {sections}
            "#,
            relay_networks = extra
                .relay_networks
                .as_deref()
                .unwrap_or("[\"127.0.0.0/8\"]"),
            more = extra.smtp,
            delivery = extra.delivery,
            sections = extra.sections,
            data = bench.data().display(),
            smtp = bench.smtp,
            admin = bench.admin,
            http = bench.http,
            sink = extra.smarthost.unwrap_or(bench.sink.address()),
        );
        std::fs::write(bench.config(), config)?;
        Ok(bench)
    }

    /// Where the node keeps its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its file is.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("skein.toml")
    }

    /// Starts the node that `cargo xtask test` built.
    pub async fn start(&self) -> Result<Node> {
        self.start_with(Vec::new()).await
    }

    /// Starts it so that it dies when it passes a failpoint for the `count`th time.
    pub async fn start_to_die(&self, failpoint: &str, count: u32) -> Result<Node> {
        self.start_with(vec![(
            "SKEIN_KILL_AT".into(),
            format!("{failpoint}:{count}"),
        )])
        .await
    }

    /// Starts it so that what a failpoint stands for fails when it is passed for the `count`th time.
    pub async fn start_to_fail(&self, failpoint: &str, count: u32) -> Result<Node> {
        self.start_with(vec![(
            "SKEIN_FAIL_AT".into(),
            format!("{failpoint}:{count}"),
        )])
        .await
    }

    async fn start_with(&self, env: Vec<(String, String)>) -> Result<Node> {
        let mut node = self.launch(env)?;
        node.ready(READY).await?;
        Ok(node)
    }

    /// Starts the process, whatever comes of it.
    pub fn launch(&self, env: Vec<(String, String)>) -> Result<Node> {
        let mut config = NodeConfig::serve(&skein()?, &self.config(), self.http);
        config.env = env;
        Ok(Node::start(config)?)
    }

    /// Waits until everything that was acknowledged has arrived, and judges.
    pub async fn settle(&self, injected: &[Injected], within: Duration) -> Reconciliation {
        settle(&self.sink, injected, within).await
    }
}

/// Waits until everything that was acknowledged has arrived, and judges.
pub async fn settle(sink: &Sink, injected: &[Injected], within: Duration) -> Reconciliation {
    let until = tokio::time::Instant::now() + within;
    loop {
        let verdict = oracle::judge(injected, &sink.records());
        if verdict.lost.is_empty() || tokio::time::Instant::now() > until {
            return verdict;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Looks every so often until there is something.
///
/// # Errors
/// There is nothing in time.
pub async fn until<T>(
    what: &str,
    within: Duration,
    every: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let until = tokio::time::Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if tokio::time::Instant::now() > until {
            bail!("waited in vain for {what}");
        }
        tokio::time::sleep(every).await;
    }
}
