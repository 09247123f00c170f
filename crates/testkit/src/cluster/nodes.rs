//! The processes: configured, started where they belong, and ended in any manner.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::clock::{Shim, WallClock};
use super::disk::Disk;
use super::host::{ADMIN_PORT, DNS_PORT, HTTP_PORT, Host, INTERNAL_PORT, SMTP_PORT};
use super::net::Net;
use super::run::Binaries;
use super::{ClusterError, Result, io_error};
use crate::process::{Node, NodeConfig, ProcessError};

/// A busy machine takes this long at most to start a node.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// What the operator is called in its certificate.
const OPERATOR: &str = "operator";
/// A drain waits up to 120 s for replies to final dots; sinks take less than one.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    fn section(&self, name: &str) -> String {
        let Self {
            ca,
            certificate,
            key,
        } = self;
        format!("[{name}]\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }
}

/// Files and running processes of all nodes.
#[derive(Debug)]
pub struct Nodes {
    net: Arc<Net>,
    running: BTreeMap<Host, Node>,
    /// Data directories with a size of their own.
    disks: BTreeMap<Host, Disk>,
    /// Wall clocks of their own.
    clocks: BTreeMap<Host, WallClock>,
    binary: PathBuf,
    /// What nodes that have not started yet run.
    before: BTreeMap<Host, PathBuf>,
    dir: TempDir,
}

impl Nodes {
    /// `disk_bytes` gives each control node a small disk; with `has_clocks` each node has a wall clock of its own.
    pub fn new(
        net: Arc<Net>,
        binaries: &Binaries,
        disk_bytes: Option<u64>,
        has_clocks: bool,
    ) -> Result<Self> {
        Disk::remove_leftovers();
        let prefix = format!("{}{}-", super::disk::PREFIX, std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir();
        let before = binaries.before.iter();
        let before = before.flat_map(|older| Host::nodes().map(|host| (host, older.clone())));
        let mut nodes = Self {
            net,
            running: BTreeMap::new(),
            disks: BTreeMap::new(),
            clocks: BTreeMap::new(),
            binary: binaries.skein.clone(),
            before: before.collect(),
            dir: dir.map_err(io_error("a folder"))?,
        };
        nodes.make_certificates()?;
        if has_clocks {
            let shim = Shim::new(nodes.dir.path())?;
            for host in Host::nodes() {
                let clock = WallClock::new(shim.clone(), nodes.file(host, "clock"))?;
                nodes.clocks.insert(host, clock);
            }
        }
        for host in Host::nodes() {
            let file = nodes.file(host, "toml");
            let doing = format!("writing {}", file.display());
            let small_disk = disk_bytes.filter(|_| host.is_control());
            let marks = small_disk.map_or("", |_| "[storage]\nsoft_mark = 80\n");
            fs::write(&file, nodes.config(host) + marks).map_err(io_error(doing))?;
            if let Some(bytes) = small_disk {
                let disk = Disk::mount(&nodes.data_dir(host), bytes)?;
                nodes.disks.insert(host, disk);
            }
        }
        Ok(nodes)
    }

    /// A file that lasts as long as the nodes.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(name);
        let doing = format!("writing {}", file.display());
        fs::write(&file, text).map_err(io_error(doing))?;
        Ok(file)
    }

    /// One CA, and a certificate for each node and for the operator.
    fn make_certificates(&self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("dev-ca").arg(self.certificates());
        command.args(["--operator", OPERATOR]);
        for host in Host::nodes() {
            let address = self.net.addresses.of(host).to_string();
            command.args(["--host", &address]);
        }
        let made = command.output().map_err(io_error("skein dev-ca"))?;
        match made.status.success() {
            true => Ok(()),
            false => Err(ClusterError::Command {
                command: "skein dev-ca".to_owned(),
                stderr: String::from_utf8_lossy(&made.stderr).trim().to_owned(),
            }),
        }
    }

    fn certificates(&self) -> PathBuf {
        self.dir.path().join("tls")
    }

    /// What a host shows to others, and what it believes.
    pub fn identity(&self, host: Host) -> Identity {
        let folder = self.certificates();
        let name = match host {
            Host::Clients => OPERATOR.to_owned(),
            node => self.net.addresses.of(node).to_string(),
        };
        Identity {
            ca: folder.join("ca.pem"),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}-key.pem")),
        }
    }

    fn file(&self, host: Host, extension: &str) -> PathBuf {
        self.dir.path().join(format!("{host}.{extension}"))
    }

    fn data_dir(&self, host: Host) -> PathBuf {
        self.dir.path().join(host.to_string())
    }

    fn at(&self, host: Host, port: u16) -> SocketAddr {
        self.net.addresses.at(host, port)
    }

    fn config(&self, host: Host) -> String {
        let quoted = |at: SocketAddr| format!("\"{at}\"");
        let peers = Host::controls().map(|control| quoted(self.at(control, INTERNAL_PORT)));
        let peers = peers.collect::<Vec<_>>().join(", ");
        let http = quoted(self.at(host, HTTP_PORT));
        let tls = self.identity(host).section("cluster.tls");
        let data = self.data_dir(host);
        if host.is_control() {
            return format!(
                "role = \"control\"\ndata_dir = {data:?}\n\
                 [cluster]\nlisten = {internal}\npeers = [{peers}]\n{tls}\
                 [admin]\nlisten = {admin}\n[admin.tls]\n[http]\nlisten = {http}\n",
                internal = quoted(self.at(host, INTERNAL_PORT)),
                admin = quoted(self.at(host, ADMIN_PORT)),
            );
        }
        format!(
            "role = \"sender\"\ndata_dir = {data:?}\n\
             [cluster]\nname = \"{host}\"\npeers = [{peers}]\n{tls}[http]\nlisten = {http}\n\
             [smtp]\nhostname = \"{host}.skein.test\"\nrelay_networks = {networks:?}\n\
             [[smtp.listener]]\naddress = {smtp}\n\
             [delivery]\nport = {SMTP_PORT}\nallow_private_addresses = true\n\
             source_address = \"{own}\"\n\
             [delivery.retry]\nfirst = \"500ms\"\ncap = \"2s\"\n\
             [dns]\nservers = [{dns}]\n",
            networks = self.net.addresses.networks(),
            smtp = quoted(self.at(host, SMTP_PORT)),
            own = self.net.addresses.of(host),
            dns = quoted(self.at(Host::Sinks, DNS_PORT)),
        )
    }

    pub fn start(&mut self, host: Host) -> Result<()> {
        let http = self.at(host, HTTP_PORT);
        let binary = self
            .before
            .remove(&host)
            .unwrap_or_else(|| self.binary.clone());
        let mut config = NodeConfig::serve(&binary, &self.file(host, "toml"), http);
        if let Some(clock) = self.clocks.get(&host) {
            config.env = clock.environment();
        }
        let started = self.net.inside(host, || Node::start(config))?;
        let node = started.map_err(of(host))?;
        self.running.insert(host, node);
        Ok(())
    }

    fn node(&mut self, host: Host) -> Result<&mut Node> {
        let node = self.running.get_mut(&host);
        node.ok_or_else(|| ClusterError::NotSo(format!("{host} does not run")))
    }

    /// Nodes whose process ended by itself, with the end of their logs.
    pub fn dead(&mut self) -> Vec<(Host, String)> {
        let running = self.running.iter_mut();
        let dead =
            running.filter_map(|(host, node)| (!node.running()).then(|| (*host, node.log_end())));
        dead.collect()
    }

    pub async fn ready(&mut self, host: Host) -> Result<()> {
        let node = self.node(host)?;
        node.ready(READY_WITHIN).await.map_err(of(host))
    }

    pub fn kill(&mut self, host: Host) -> Result<()> {
        self.node(host)?.kill9().map_err(of(host))?;
        self.running.remove(&host);
        Ok(())
    }

    pub fn pause(&mut self, host: Host) -> Result<()> {
        self.node(host)?.pause().map_err(of(host))
    }

    pub fn go_on(&mut self, host: Host) -> Result<()> {
        self.node(host)?.go_on().map_err(of(host))
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, host: Host) -> Result<()> {
        self.node(host)?.term().map_err(of(host))?;
        let status = self.ended(host).await?;
        match status.success() {
            true => Ok(()),
            false => Err(ClusterError::NotSo(format!("{host} stopped with {status}"))),
        }
    }

    /// Waits until its process has ended by itself.
    pub async fn ended(&mut self, host: Host) -> Result<ExitStatus> {
        let status = self.node(host)?.wait(STOPPED_WITHIN).await;
        let status = status.map_err(of(host))?;
        self.running.remove(&host);
        Ok(status)
    }

    /// Everything that a stopped node had on its disk is gone.
    pub fn wipe(&self, host: Host) -> Result<()> {
        let dir = self.data_dir(host);
        fs::remove_dir_all(&dir).map_err(io_error(format!("wiping {}", dir.display())))
    }

    pub fn fill_disk(&self, host: Host) -> Result<()> {
        self.disk(host)?.fill()
    }

    pub fn free_disk(&self, host: Host) -> Result<()> {
        self.disk(host)?.free()
    }

    pub fn set_clock(&self, host: Host, ahead_s: i64) -> Result<()> {
        let clock = self.clocks.get(&host);
        let clock =
            clock.ok_or_else(|| ClusterError::NotSo(format!("{host} has no clock of its own")))?;
        clock.set(ahead_s)
    }

    fn disk(&self, host: Host) -> Result<&Disk> {
        let disk = self.disks.get(&host);
        disk.ok_or_else(|| ClusterError::NotSo(format!("{host} has no disk of its own")))
    }

    /// Bytes of the longest log.
    pub fn longest_log(&self) -> u64 {
        let sizes = Host::nodes().map(|host| fs::metadata(self.file(host, "log")));
        sizes.flatten().map(|meta| meta.len()).max().unwrap_or(0)
    }

    /// Ends all nodes and keeps configurations and logs for a look into a failure.
    pub fn keep_logs(mut self) -> PathBuf {
        self.running.clear();
        self.disks.clear();
        for host in Host::nodes() {
            // Not every node has one.
            let _ = fs::remove_dir_all(self.data_dir(host));
        }
        // Without it, the next run takes the folder for one of a run that died.
        let _ = fs::write(self.dir.path().join("kept"), "");
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }
}

fn of(host: Host) -> impl FnOnce(ProcessError) -> ClusterError {
    move |source| ClusterError::Node { host, source }
}
