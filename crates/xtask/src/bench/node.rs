//! Nodes of the release build, each with one listener and a smarthost.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{self, Process};
use crate::run::{Result, target_dir};

/// Where a node listens.
pub struct Ports {
    pub smtp: u16,
    admin: u16,
    http: u16,
}

impl Ports {
    pub fn free() -> Result<Self> {
        Ok(Self {
            smtp: process::free_port()?,
            admin: process::free_port()?,
            http: process::free_port()?,
        })
    }
}

/// A configuration with one listener and a smarthost; `top` goes before all sections.
pub fn config(
    dir: &Path,
    ports: &Ports,
    smarthost_port: u16,
    connections: u32,
    top: &str,
) -> String {
    let Ports { smtp, admin, http } = ports;
    format!(
        "{top}data_dir = \"{}\"\n\
         [smtp]\nhostname = \"mx.skein.test\"\nrelay_networks = [\"127.0.0.0/8\"]\n\
         [[smtp.listener]]\naddress = \"127.0.0.1:{smtp}\"\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [http]\nlisten = \"127.0.0.1:{http}\"\n\
         [delivery]\nsmarthost = \"127.0.0.1:{smarthost_port}\"\n\
         connections_per_destination = {connections}\n\
         [log]\nlevel = \"warn\"\n",
        dir.join("data").display()
    )
}

/// `skein` of the release build.
pub fn release() -> Result<PathBuf> {
    Ok(target_dir()?.join("release/skein"))
}

/// A process of the release build.
pub struct Spawned {
    pub ports: Ports,
    pub process: Process,
    began: Instant,
}

impl Spawned {
    pub fn start(dir: &Path, ports: Ports, config: &str) -> Result<Self> {
        Self::start_of(&release()?, dir, ports, config)
    }

    /// A process of another build.
    fn start_of(binary: &Path, dir: &Path, ports: Ports, config: &str) -> Result<Self> {
        let path = dir.join("skein.toml");
        std::fs::write(&path, config).map_err(|error| format!("{}: {error}", path.display()))?;
        // Beside the table that the benchmark prints, it would be in the way.
        let log = dir.join("skein.log");
        let log = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&path).stderr(log);
        let began = Instant::now();
        Ok(Self {
            ports,
            process: Process::start("skein", &mut command)?,
            began,
        })
    }

    /// Waits until it says that it is ready, and returns how long that took from its start.
    pub fn ready(&mut self) -> Result<Duration> {
        process::wait_until("the node's start", Duration::from_secs(120), || {
            self.process.check_running()?;
            Ok(get(self.ports.http, "/readyz")
                .is_some_and(|answer| answer.starts_with("HTTP/1.1 200")))
        })?;
        Ok(self.began.elapsed())
    }
}

pub struct Node {
    pub smtp_port: u16,
    /// With implicit TLS; 0: there is none.
    pub tls_port: u16,
    spawned: Spawned,
    /// From the start of the process to the first answer that says ready.
    pub ready_after: Duration,
}

impl Node {
    /// Starts on `dir`, which may hold the data of an earlier node.
    pub fn start(dir: &Path, smarthost_port: u16, connections: u32) -> Result<Self> {
        Self::start_of(&release()?, dir, smarthost_port, connections)
    }

    /// One of another build.
    pub fn start_of(
        binary: &Path,
        dir: &Path,
        smarthost_port: u16,
        connections: u32,
    ) -> Result<Self> {
        Self::start_with(binary, dir, smarthost_port, connections, "")
    }

    /// One of any build, whose configuration has more sections.
    pub fn start_with(
        binary: &Path,
        dir: &Path,
        smarthost_port: u16,
        connections: u32,
        sections: &str,
    ) -> Result<Self> {
        let ports = Ports::free()?;
        let config = config(dir, &ports, smarthost_port, connections, "") + sections;
        let mut spawned = Spawned::start_of(binary, dir, ports, &config)?;
        Ok(Self {
            smtp_port: spawned.ports.smtp,
            tls_port: 0,
            ready_after: spawned.ready()?,
            spawned,
        })
    }

    /// One with a certificate and a listener of its own for TLS.
    pub fn start_with_tls(dir: &Path, smarthost_port: u16) -> Result<Self> {
        let mut made = Command::new(release()?);
        made.arg("dev-ca")
            .arg(dir.join("ca"))
            .args(["--host", "mx.skein.test"]);
        made.stdout(std::process::Stdio::null());
        process::finish("skein dev-ca", &mut made)?;
        let (ports, tls_port) = (Ports::free()?, process::free_port()?);
        let file = |name: &str| dir.join("ca").join(name).display().to_string();
        let config = format!(
            "{}[smtp.tls]\ncertificate = {:?}\nkey = {:?}\n\
             [[smtp.listener]]\naddress = \"127.0.0.1:{tls_port}\"\ntls = \"implicit\"\n",
            config(dir, &ports, smarthost_port, 10, ""),
            file("mx.skein.test.pem"),
            file("mx.skein.test-key.pem"),
        );
        let mut spawned = Spawned::start(dir, ports, &config)?;
        Ok(Self {
            smtp_port: spawned.ports.smtp,
            tls_port,
            ready_after: spawned.ready()?,
            spawned,
        })
    }

    /// Makes a credential of this name; its secret.
    pub fn credential(&self, name: &str) -> Result<String> {
        let output = (self.skeinctl()?)
            .args(["--json", "credential", "create", name])
            .args(["--tenant", "bench", "--wait"])
            .output()
            .map_err(|error| format!("skeinctl: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let secret = said.split('"').find(|part| part.starts_with("skn_smtp_"));
        let secret = secret.map(str::to_owned);
        secret.ok_or_else(|| format!("skeinctl: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What the process has used of processors.
    pub fn processor_time(&self) -> Duration {
        self.spawned.process.processor_time()
    }

    /// Applies policy as an operator does; `dir` takes its file.
    pub fn apply(&self, dir: &Path, policy: &str) -> Result {
        let path = dir.join("policy.yaml");
        std::fs::write(&path, policy).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = self.skeinctl()?;
        command.args(["apply", "-f"]).arg(&path);
        // What it did is not part of the table.
        command.stdout(std::process::Stdio::null());
        process::finish("skeinctl", &mut command)
    }

    /// An operator at this node.
    pub fn skeinctl(&self) -> Result<Command> {
        let server = format!("http://127.0.0.1:{}", self.spawned.ports.admin);
        let mut command = Command::new(target_dir()?.join("release/skeinctl"));
        command.args(["--server", &server]);
        Ok(command)
    }

    pub fn resident_bytes(&self) -> u64 {
        self.spawned.process.resident_bytes()
    }

    /// A gauge or counter of the node: the sum of its series.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let answer = get(self.spawned.ports.http, "/metrics")?;
        let values = answer.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let is_it = series.split('{').next() == Some(name);
            is_it.then(|| value.parse::<u64>().ok())?
        });
        values.reduce(|sum, value| sum + value)
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
