//! Child processes that end with the benchmark.

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::machine;
use crate::run::Result;

/// A process that is asked to end, and is waited for, when this is dropped.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("starting {name}: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        machine::field(&path, "VmRSS")
            .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
            .map_or(0, |kib| kib << 10)
    }

    /// What the process has used of processors.
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        // The name, in parentheses, may have spaces; user and system time are fields 14 and 15 (proc(5)), in ticks of 10 ms.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// What the process gave to the disk so far, as the kernel counts it: pages that were written to a file.
    pub fn written_bytes(&self) -> u64 {
        machine::field(&format!("/proc/{}/io", self.child.id()), "write_bytes")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Waits for it to end well.
    pub fn finish(&mut self) -> Result {
        let status = self.child.wait().map_err(|error| error.to_string())?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("{} failed: {status}", self.name)),
        }
    }

    pub fn check_running(&mut self) -> Result {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended early: {status}", self.name)),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let id = self.child.id().to_string();
        let asked = Command::new("kill").arg(id).status();
        if let Err(error) = asked.and_then(|_| self.child.wait()) {
            eprintln!("{}: {error}", self.name);
        }
    }
}

/// Waits for a command to end well.
pub fn finish(name: &str, command: &mut Command) -> Result {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("starting {name}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name} failed: {status}"))
    }
}

pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result {
    let began = Instant::now();
    while !done()? {
        if began.elapsed() > limit {
            return Err(format!(
                "{what} did not happen within {} s",
                limit.as_secs()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Below the ports that systems give to outgoing connections, of which one could take a port before it is listened at.
const PORTS: Range<u16> = 10_000..32_000;

/// A port of the loopback interface that nobody uses. None is given twice, until all were.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let all = PORTS.end - PORTS.start;
    let mut ports = (0..all).map(|_| PORTS.start + GIVEN.fetch_add(1, Ordering::Relaxed) % all);
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| "all ports of the loopback interface are in use".into())
}

/// A folder that is removed with its content.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("skein-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
