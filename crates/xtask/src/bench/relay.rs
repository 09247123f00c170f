//! smtp-source to an MTA to smtp-sink: messages per second from the first connection to the last delivery.

use std::path::Path;
use std::time::{Duration, Instant};

use super::node::{self, Node};
use super::postfix::Postfix;
use super::process::Scratch;
use super::tools::{Load, Sink};
use super::{Options, median};
use crate::run::Result;

pub const MESSAGES: u64 = 20_000;
pub const MESSAGE_BYTES: u64 = 10 << 10;
pub const SESSIONS: u32 = 50;
const LIMIT: Duration = Duration::from_secs(600);

pub struct Figures {
    pub accepted_per_s: f64,
    pub delivered_per_s: f64,
}

pub fn run(options: &Options) -> Result {
    let messages = options.messages.unwrap_or(MESSAGES);
    println!(
        "{messages} messages of {MESSAGE_BYTES} bytes, {SESSIONS} sessions, {} runs, fsync on\n",
        options.runs
    );
    let peer = match &options.against {
        Some(_) => "other",
        None => "Postfix",
    };
    println!(
        "{:<6}{:>10}{:>14}{:>14}{:>16}",
        "run",
        "",
        "accepted/s",
        "delivered/s",
        format!("to {peer}")
    );
    let skein = node::release()?;
    let mut ratios = Vec::new();
    for number in 1..=options.runs {
        let of_peer = match &options.against {
            Some(other) => of_skein(other, messages)?,
            None => of_postfix(messages)?,
        };
        print(number, peer, &of_peer, None);
        let figures = of_skein(&skein, messages)?;
        let ratio = figures.delivered_per_s / of_peer.delivered_per_s;
        print(number, "Skein", &figures, Some(ratio));
        ratios.push(ratio);
    }
    println!("\nmedian ratio of deliveries: {:.3}", median(ratios));
    Ok(())
}

fn print(run: usize, name: &str, figures: &Figures, ratio: Option<f64>) {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!(
        "{run:<6}{name:>10}{:>14.0}{:>14.0}{ratio:>16}",
        figures.accepted_per_s, figures.delivered_per_s
    );
}

fn of_postfix(messages: u64) -> Result<Figures> {
    let scratch = Scratch::new("bench-postfix")?;
    let mut sink = Sink::start()?;
    let postfix = Postfix::start(scratch.path(), sink.port, SESSIONS)?;
    measure(postfix.smtp_port, &mut sink, messages)
}

fn of_skein(binary: &Path, messages: u64) -> Result<Figures> {
    let scratch = Scratch::new("bench-skein")?;
    let mut sink = Sink::start()?;
    let node = Node::start_of(binary, scratch.path(), sink.port, SESSIONS)?;
    measure(node.smtp_port, &mut sink, messages)
}

/// Also microseconds of the node's processor time a message.
pub fn measure_node(node: &Node, sink: &mut Sink, messages: u64) -> Result<(Figures, f64)> {
    let before = node.processor_time();
    let figures = measure(node.smtp_port, sink, messages)?;
    let used = node.processor_time() - before;
    Ok((figures, used.as_secs_f64() * 1e6 / messages as f64))
}

pub fn measure(port: u16, sink: &mut Sink, messages: u64) -> Result<Figures> {
    let load = Load {
        port,
        messages,
        message_bytes: MESSAGE_BYTES,
        sessions: SESSIONS,
        recipient: "someone@recipient.test",
        recipients: 1,
    };
    let (began, before) = (Instant::now(), sink.received());
    load.send()?;
    let accepted = began.elapsed();
    sink.wait_for(before + messages, LIMIT)?;
    let delivered = began.elapsed();
    let per_s = |time: Duration| messages as f64 / time.as_secs_f64();
    Ok(Figures {
        accepted_per_s: per_s(accepted),
        delivered_per_s: per_s(delivered),
    })
}
