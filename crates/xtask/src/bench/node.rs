//! A node of the release build, with one listener and a smarthost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{self, Process};
use crate::run::{Result, target_dir};

pub struct Node {
    pub smtp_port: u16,
    http_port: u16,
    process: Process,
    /// From the start of the process to the first answer that says ready.
    pub ready_after: Duration,
}

impl Node {
    /// Starts on `dir`, which may hold the data of an earlier node.
    pub fn start(dir: &Path, smarthost_port: u16, connections: u32) -> Result<Self> {
        let (smtp_port, admin_port, http_port) = (
            process::free_port()?,
            process::free_port()?,
            process::free_port()?,
        );
        let config = format!(
            "data_dir = \"{}\"\n\
             [smtp]\nhostname = \"mx.skein.test\"\nrelay_networks = [\"127.0.0.0/8\"]\n\
             [[smtp.listener]]\naddress = \"127.0.0.1:{smtp_port}\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin_port}\"\n\
             [http]\nlisten = \"127.0.0.1:{http_port}\"\n\
             [delivery]\nsmarthost = \"127.0.0.1:{smarthost_port}\"\n\
             connections_per_destination = {connections}\n\
             [log]\nlevel = \"warn\"\n",
            dir.join("data").display()
        );
        let path = dir.join("skein.toml");
        std::fs::write(&path, config).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut command = Command::new(target_dir()?.join("release/skein"));
        command.arg("serve").arg("--config").arg(&path);
        let began = Instant::now();
        let mut node = Self {
            smtp_port,
            http_port,
            process: Process::start("skein", &mut command)?,
            ready_after: Duration::ZERO,
        };
        process::wait_until("the node's start", Duration::from_secs(120), || {
            node.process.check_running()?;
            Ok(get(node.http_port, "/readyz")
                .is_some_and(|answer| answer.starts_with("HTTP/1.1 200")))
        })?;
        node.ready_after = began.elapsed();
        Ok(node)
    }

    pub fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// A gauge or counter of the node, by its whole name with labels.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let answer = get(self.http_port, "/metrics")?;
        answer.lines().find_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            (key == name).then(|| value.parse().ok())?
        })
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
