//! What limits cost that bind nobody: the load of `relay` with a source IP and limits of every scope that holds for a
//! smarthost, beside none.

use super::node::Node;
use super::process::Scratch;
use super::relay::{Figures, MESSAGE_BYTES, MESSAGES, SESSIONS, measure};
use super::tools::Sink;
use super::{Options, median};
use crate::run::Result;

/// Five rates for each message and four limits for each connection.
const POLICY: &str = "\
kind: ip
name: a1
bind: 127.0.0.1
ehlo: mx.skein.test
limits: {connections: 1000, connection_rate: 100000/s, message_rate: [100000/s, 100000000/h]}
---
kind: pool
name: default
members: [{ip: a1}]
limits: {connections: 1000, message_rate: [100000/s, 100000000/h]}
---
kind: tenant
name: default
limits: {connections: 1000, message_rate: 100000/s}
";
/// Policy is read by then.
const KNOWN: std::time::Duration = std::time::Duration::from_secs(3);

pub fn run(options: &Options) -> Result {
    let messages = options.messages.unwrap_or(MESSAGES);
    println!(
        "{messages} messages of {MESSAGE_BYTES} bytes, {SESSIONS} sessions, {} runs, fsync on\n",
        options.runs
    );
    println!(
        "{:<6}{:>12}{:>14}{:>10}",
        "run", "limits", "delivered/s", "ratio"
    );
    let mut ratios = Vec::new();
    for number in 1..=options.runs {
        let none = relay(messages, None)?.delivered_per_s;
        println!("{number:<6}{:>12}{none:>14.0}", "none");
        let some = relay(messages, Some(POLICY))?.delivered_per_s;
        let ratio = some / none;
        println!("{number:<6}{:>12}{some:>14.0}{ratio:>10.2}", "nine");
        ratios.push(ratio);
    }
    println!("\nmedian ratio: {:.2}", median(ratios));
    Ok(())
}

fn relay(messages: u64, policy: Option<&str>) -> Result<Figures> {
    let scratch = Scratch::new("bench-throttle")?;
    let mut sink = Sink::start()?;
    let node = Node::start(scratch.path(), sink.port, SESSIONS)?;
    if let Some(policy) = policy {
        node.apply(scratch.path(), policy)?;
    }
    std::thread::sleep(KNOWN);
    measure(node.smtp_port, &mut sink, messages)
}
