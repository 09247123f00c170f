//! A node's process: started, asked whether it is ready, killed in any manner.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How often a condition of the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// One HTTP exchange with the node.
const HTTP_WAIT: Duration = Duration::from_secs(5);
/// An HTTP answer; metrics of a large node are about one MiB.
const HTTP_BYTES_MAX: u64 = 16 << 20;

/// Something about the process went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("starting {binary}")]
    Start { binary: PathBuf, source: io::Error },
    #[error("the process ended with {status} before it was ready; end of its log:\n{log}")]
    Died { status: ExitStatus, log: String },
    #[error("not ready after {waited:?}; end of its log:\n{log}")]
    NotReady { waited: Duration, log: String },
    #[error("still running after {waited:?}")]
    StillRunning { waited: Duration },
    #[error("handling the process")]
    Io(#[from] io::Error),
}

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub binary: PathBuf,
    /// All arguments, such as `serve --config FILE`.
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// The node takes mail however full the disk of this machine is: what a test finds does not depend on that.
    pub any_room: bool,
    /// Standard output and error are appended here.
    pub log: PathBuf,
    /// Where `/readyz` is served.
    pub http: SocketAddr,
    /// A test plants a panic. Any other node that has one fails its test, when it is dropped.
    pub may_panic: bool,
}

impl NodeConfig {
    /// `BINARY serve --config FILE`, with the log beside the config file.
    pub fn serve(binary: &Path, config: &Path, http: SocketAddr) -> Self {
        Self {
            binary: binary.to_owned(),
            args: vec!["serve".into(), "--config".into(), config.into()],
            env: Vec::new(),
            any_room: takes_any_room(config),
            log: config.with_extension("log"),
            http,
            may_panic: false,
        }
    }
}

/// Marks that the disk of a machine where tests are built never passes, and a ballast of which dozens of nodes take little.
pub const ANY_ROOM: [(&str, &str); 3] = [
    ("SKEIN_STORAGE__SOFT_MARK", "98"),
    ("SKEIN_STORAGE__HARD_MARK", "99"),
    ("SKEIN_STORAGE__BALLAST_BYTES", "8388608"),
];

/// Whether a node with this file keeps mail, and its test says nothing of the disk.
fn takes_any_room(config: &Path) -> bool {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let says = |part: &str| text.contains(part);
    let keeps_mail = says("role = \"all\"") || says("role = \"control\"") || !says("role");
    keeps_mail && !says("[storage]")
}

/// Of a log that is shown when something goes wrong.
const LOG_END: usize = 12 << 10;
/// What the standard library writes of every panic.
const PANIC: &str = "panicked at";

/// A running node. It is killed when dropped, by its own process id.
#[derive(Debug)]
pub struct Node {
    child: Child,
    config: NodeConfig,
}

impl Node {
    /// Starts the process without waiting for anything.
    ///
    /// # Errors
    /// The log cannot be opened or the binary cannot be run.
    pub fn start(config: NodeConfig) -> Result<Self, ProcessError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&config.log)?;
        let room = ANY_ROOM.iter().filter(|_| config.any_room).copied();
        let child = Command::new(&config.binary)
            .args(&config.args)
            .envs(room)
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|source| ProcessError::Start {
                binary: config.binary.clone(),
                source,
            })?;
        Ok(Self { child, config })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Waits until `GET /readyz` says 200.
    ///
    /// # Errors
    /// The process ends, or is not ready in time; both bring the end of its log.
    pub async fn ready(&mut self, wait: Duration) -> Result<(), ProcessError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(ProcessError::Died {
                    status,
                    log: self.log_end(),
                });
            }
            if matches!(http_get(self.config.http, "/readyz").await, Ok((200, _))) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(ProcessError::NotReady {
                    waited: wait,
                    log: self.log_end(),
                });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn kill9(&mut self) -> Result<ExitStatus, ProcessError> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// SIGTERM. See [`Node::wait`] for the end.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn term(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// SIGHUP.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn hang_up(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::HUP)
    }

    /// All of the log.
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.config.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// SIGSTOP: nothing of the process runs until [`Node::go_on`].
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn pause(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn go_on(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        // Only a child that has not been waited for still owns its process id.
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// It still runs after the wait.
    pub async fn wait(&mut self, wait: Duration) -> Result<ExitStatus, ProcessError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(ProcessError::StillRunning { waited: wait });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the process still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory in bytes, from `/proc`.
    ///
    /// # Errors
    /// The process has ended.
    pub fn rss_bytes(&self) -> Result<u64, ProcessError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let kilobytes =
            kilobytes.ok_or_else(|| io::Error::other("no VmRSS: the process has ended"))?;
        Ok(kilobytes * 1024)
    }

    /// The first panic that the log tells of, and what follows it.
    pub fn panic_in_log(&self) -> Option<String> {
        let log = std::fs::read(&self.config.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let at = log.find(PANIC)?;
        let line = log[..at].rfind('\n').map_or(0, |end| end + 1);
        Some(log[line..].lines().take(4).collect::<Vec<_>>().join("\n"))
    }

    /// The last of the log.
    pub fn log_end(&self) -> String {
        let log = std::fs::read(&self.config.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_END)..]).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // Why a test failed is often only known here.
            println!("end of {}:\n{}", self.config.log.display(), self.log_end());
            return;
        }
        if self.config.may_panic {
            return;
        }
        if let Some(panic) = self.panic_in_log() {
            panic!(
                "a node panicked, see {}:\n{panic}",
                self.config.log.display()
            );
        }
    }
}

/// Below the ports that systems give to outgoing connections, of which one could take a port before it is listened at.
const PORTS: Range<u32> = 10_000..32_000;

/// A loopback port that nothing listens at. None is given twice, until all were; another process begins elsewhere.
///
/// # Errors
/// All are in use.
pub fn free_port() -> io::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let all = PORTS.end - PORTS.start;
    let begin = std::process::id().wrapping_mul(101);
    let places = (0..all).map(|_| GIVEN.fetch_add(1, Ordering::Relaxed));
    let mut ports = places.filter_map(|given| {
        let port = PORTS.start + begin.wrapping_add(given) % all;
        u16::try_from(port).ok()
    });
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}

/// The wanted address if its port is free, else the same address with a free port.
///
/// # Errors
/// No port can be bound.
pub fn free_address(wanted: SocketAddr) -> io::Result<SocketAddr> {
    let bound = TcpListener::bind(wanted);
    let bound = bound.or_else(|_| TcpListener::bind(SocketAddr::new(wanted.ip(), 0)))?;
    bound.local_addr()
}

/// `GET path` by hand: status and body.
///
/// # Errors
/// No connection, no answer within 5 s, or no HTTP.
pub async fn http_get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    timeout(HTTP_WAIT, async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(HTTP_BYTES_MAX).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status =
            status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    })
    .await?
}
