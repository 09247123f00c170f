//! A million messages that wait: memory, accept rate, time to start again.
//!
//! They wait for a host that accepts connections and says nothing, spread over many domains.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::Options;
use super::node::Node;
use super::process::{Process, Scratch};
use super::tools::Load;
use crate::run::Result;

const MESSAGES: u64 = 1_000_000;
const MESSAGE_BYTES: u64 = 2 << 10;
const DOMAINS: u64 = 200;
/// smtp-source knows one recipient, so several run at once.
const SOURCES: u64 = 4;
const SESSIONS: u32 = 12;

pub fn run(options: &Options) -> Result {
    let messages = options.messages.unwrap_or(MESSAGES);
    let per_load = (messages / DOMAINS).max(1);
    let scratch = Scratch::new("bench-queue")?;
    let mute = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = mute.local_addr().map_err(|error| error.to_string())?.port();
    std::thread::spawn(move || {
        // Held, so that the node waits for a greeting on each.
        let _open: Vec<_> = mute.incoming().collect();
    });
    println!(
        "{messages} messages of {MESSAGE_BYTES} bytes to {DOMAINS} domains that do not answer\n"
    );
    println!(
        "{:>12}{:>14}{:>16}",
        "waiting", "accepted/s", "resident MiB"
    );
    let node = Node::start(scratch.path(), port, 20)?;
    let mut rates = Vec::new();
    for first in (0..DOMAINS).step_by((DOMAINS / 10) as usize) {
        let began = Instant::now();
        let last = (first + DOMAINS / 10).min(DOMAINS);
        fill(node.smtp_port, first..last, per_load)?;
        let rate = ((last - first) * per_load) as f64 / began.elapsed().as_secs_f64();
        rates.push(rate);
        let waiting = node.metric("skein_spool_messages").unwrap_or(0);
        println!(
            "{waiting:>12}{rate:>14.0}{:>16}",
            node.resident_bytes() >> 20
        );
    }
    println!(
        "\naccept rate of the last tenth to the first: {:.2}",
        rates[rates.len() - 1] / rates[0]
    );
    let resident = node.resident_bytes() >> 20;
    drop(node);
    let node = Node::start(scratch.path(), port, 20)?;
    println!("resident with the full queue: {resident} MiB");
    println!("start to ready: {:.2} s", node.ready_after.as_secs_f64());
    let waiting = node.metric("skein_spool_messages").unwrap_or(0);
    println!("waiting after the restart: {waiting}");
    if waiting != DOMAINS * per_load {
        return Err(format!("{} messages were accepted", DOMAINS * per_load));
    }
    std::thread::sleep(Duration::from_secs(10));
    println!(
        "resident 10 s after the restart: {} MiB",
        node.resident_bytes() >> 20
    );
    Ok(())
}

/// Fills the queues of some domains, a few at once.
fn fill(port: u16, domains: std::ops::Range<u64>, messages: u64) -> Result {
    let domains: Vec<u64> = domains.collect();
    for some in domains.chunks(SOURCES as usize) {
        let mut sources = Vec::new();
        for domain in some {
            let recipient = format!("someone@domain-{domain}.test");
            let load = Load {
                port,
                messages,
                message_bytes: MESSAGE_BYTES,
                sessions: SESSIONS,
                recipient: &recipient,
                recipients: 1,
            };
            sources.push(Process::start("smtp-source", &mut load.command())?);
        }
        sources.iter_mut().try_for_each(Process::finish)?;
    }
    Ok(())
}
