//! Control nodes that replicate and senders beside them, on one machine: messages per second, and bytes on each disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Options;
use super::node::{Ports, Spawned, config};
use super::process::{self, Process, Scratch};
use super::tools::{Load, Sink};
use crate::run::Result;

const MESSAGES: u64 = 5_000;
/// The sizes of `bench relay`, and of a usual newsletter.
const MESSAGE_BYTES: [u64; 2] = [10 << 10, 50 << 10];
const VOTERS: [usize; 2] = [1, 3];
const SENDERS: [usize; 3] = [1, 2, 4];
/// Each has a domain of its own, because smtp-source knows one recipient: several slots are busy, and all senders with them.
const SOURCES: u64 = 8;
const SESSIONS: u32 = 48;
const CONNECTIONS: u32 = 50;
const LIMIT: Duration = Duration::from_secs(600);
/// What waits in memory when the last message is delivered is on its way to the disk by then.
const DISK_SETTLES: Duration = Duration::from_secs(5);

struct Figures {
    accepted_per_s: f64,
    delivered_per_s: f64,
    /// Bytes that each control node gave to its disk for each byte of mail, the mean of all.
    written: f64,
}

pub fn run(options: &Options) -> Result {
    let messages = options.messages.unwrap_or(MESSAGES);
    println!("{messages} messages, {SESSIONS} sessions, fsync on; all processes share the machine");
    for bytes in MESSAGE_BYTES {
        println!(
            "\n{:>8}{:>8}{:>9}{:>13}{:>14}{:>10}{:>26}",
            "bytes",
            "voters",
            "senders",
            "accepted/s",
            "delivered/s",
            "to 1+1",
            "written/byte and replica"
        );
        let mut alone = None;
        for (voters, senders) in VOTERS.iter().flat_map(|v| SENDERS.map(|s| (*v, s))) {
            let figures = measure(voters, senders, bytes, messages)?;
            let alone = *alone.get_or_insert(figures.delivered_per_s);
            println!(
                "{bytes:>8}{voters:>8}{senders:>9}{:>13.0}{:>14.0}{:>10.2}{:>26.2}",
                figures.accepted_per_s,
                figures.delivered_per_s,
                figures.delivered_per_s / alone,
                figures.written
            );
        }
    }
    Ok(())
}

fn measure(voters: usize, senders: usize, bytes: u64, messages: u64) -> Result<Figures> {
    let scratch = Scratch::new("bench-cluster")?;
    let mut sink = Sink::start()?;
    let cluster = Cluster::start(scratch.path(), voters, senders, sink.port)?;
    let before = cluster.written_bytes();
    let began = Instant::now();
    let per_source = (messages / SOURCES).max(1);
    cluster.load(bytes, per_source)?;
    let accepted = began.elapsed();
    let messages = per_source * SOURCES;
    sink.wait_for(messages, LIMIT)?;
    let delivered = began.elapsed();
    std::thread::sleep(DISK_SETTLES);
    let written = cluster.written_bytes() - before;
    let per_s = |time: Duration| messages as f64 / time.as_secs_f64();
    Ok(Figures {
        accepted_per_s: per_s(accepted),
        delivered_per_s: per_s(delivered),
        written: written as f64 / (messages * bytes) as f64 / voters as f64,
    })
}

/// Processes of the release build, ready to take mail.
struct Cluster {
    controls: Vec<Spawned>,
    senders: Vec<Spawned>,
}

impl Cluster {
    fn start(dir: &Path, voters: usize, senders: usize, smarthost_port: u16) -> Result<Self> {
        let internal = (0..voters)
            .map(|_| process::free_port())
            .collect::<Result<Vec<u16>>>()?;
        let peers: Vec<String> = internal
            .iter()
            .map(|port| format!("\"127.0.0.1:{port}\""))
            .collect();
        let peers = peers.join(", ");
        let spawn = |name: String, top: String, cluster: String| {
            let dir = dir.join(name);
            fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let ports = Ports::free()?;
            let config = config(&dir, &ports, smarthost_port, CONNECTIONS, &top);
            let config = format!("{config}[cluster]\npeers = [{peers}]\n{cluster}");
            Spawned::start(&dir, ports, &config)
        };
        let controls = internal.iter().enumerate().map(|(n, port)| {
            let listen = format!("listen = \"127.0.0.1:{port}\"\n");
            spawn(
                format!("control-{n}"),
                "role = \"control\"\n".into(),
                listen,
            )
        });
        let mut controls = controls.collect::<Result<Vec<_>>>()?;
        let senders = (0..senders).map(|n| {
            let name = format!("name = \"sender-{n}\"\n");
            spawn(format!("sender-{n}"), "role = \"sender\"\n".into(), name)
        });
        let mut senders = senders.collect::<Result<Vec<_>>>()?;
        for node in controls.iter_mut().chain(&mut senders) {
            node.ready()?;
        }
        Ok(Self { controls, senders })
    }

    fn written_bytes(&self) -> u64 {
        let nodes = self.controls.iter();
        nodes.map(|node| node.process.written_bytes()).sum()
    }

    /// Returns when the last message is acknowledged.
    fn load(&self, message_bytes: u64, messages: u64) -> Result {
        let mut sources = Vec::new();
        let nodes = self.senders.iter().cycle();
        for (number, node) in (0..SOURCES).zip(nodes) {
            let recipient = format!("someone@domain-{number}.test");
            let load = Load {
                port: node.ports.smtp,
                messages,
                message_bytes,
                sessions: SESSIONS / SOURCES as u32,
                recipient: &recipient,
                recipients: 1,
            };
            sources.push(Process::start("smtp-source", &mut load.command())?);
        }
        sources.iter_mut().try_for_each(Process::finish)
    }
}
