//! Postfix's load tools: smtp-source and smtp-sink.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::process::{self, Process};
use crate::run::Result;

/// A receiver that counts and forgets.
pub struct Sink {
    pub port: u16,
    received: Arc<AtomicU64>,
    process: Process,
}

impl Sink {
    pub fn start() -> Result<Self> {
        Self::start_at(process::free_port()?)
    }

    pub fn start_at(port: u16) -> Result<Self> {
        let mut command = Command::new("smtp-sink");
        if super::tools::is_root() {
            command.args(["-u", "nobody"]);
        }
        command
            .args(["-c", &format!("127.0.0.1:{port}"), "1000"])
            .stdout(Stdio::piped());
        let mut process = Process::start("smtp-sink", &mut command)?;
        let mut output = process
            .child()
            .stdout
            .take()
            .ok_or("smtp-sink has no output")?;
        let received = Arc::new(AtomicU64::new(0));
        let counter = received.clone();
        std::thread::spawn(move || {
            let mut tail = String::new();
            let mut bytes = [0; 8192];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                tail.push_str(&String::from_utf8_lossy(&bytes[..count]));
                if let Some(number) = last_count(&tail) {
                    counter.store(number, Ordering::Relaxed);
                }
                let keep = tail.len().saturating_sub(100);
                tail.drain(..keep);
            }
        });
        process::wait_until("smtp-sink's start", Duration::from_secs(10), || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(Self {
            port,
            received,
            process,
        })
    }

    pub fn wait_for(&mut self, messages: u64, limit: Duration) -> Result {
        process::wait_until("the last delivery", limit, || {
            self.process.check_running()?;
            Ok(self.received() >= messages)
        })
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// The number in the last complete `mesg=N` of the output, which a carriage return ends.
fn last_count(text: &str) -> Option<u64> {
    text.rsplit("mesg=").find_map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit())?;
        part[..end].parse().ok()
    })
}

pub fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n")
}

/// What smtp-source sends.
pub struct Load<'a> {
    pub port: u16,
    pub messages: u64,
    pub message_bytes: u64,
    pub sessions: u32,
    pub recipient: &'a str,
    /// Of each message, told apart by numbers.
    pub recipients: u64,
}

impl Load<'_> {
    /// Returns when the last message was acknowledged.
    pub fn send(&self) -> Result {
        process::finish("smtp-source", &mut self.command())
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("smtp-source");
        command
            .args(["-s", &self.sessions.to_string()])
            .args(["-m", &self.messages.to_string()])
            .args(["-r", &self.recipients.to_string()])
            .args(["-l", &self.message_bytes.to_string()])
            .args(["-f", "load@sender.test", "-t", self.recipient])
            .arg(format!("127.0.0.1:{}", self.port));
        command
    }
}
