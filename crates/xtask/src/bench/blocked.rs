//! A million tasks for a site that takes no connection: what they cost, what mail for another site feels of them beside the
//! same on a node that has none, and what happens when the site is back.

use std::time::{Duration, Instant};

use super::node::{self, Ports, Spawned};
use super::process::{self, Scratch};
use super::relay::{MESSAGE_BYTES, SESSIONS, measure};
use super::tools::{Load, Sink};
use super::{Options, median};
use crate::run::Result;

const TASKS: u64 = 1_000_000;
/// One task for each.
const RECIPIENTS: u64 = 500;
/// To the other site, before and after.
const MESSAGES: u64 = 20_000;
/// The first failures are over, and the tasks that were out are back.
const SETTLED: Duration = Duration::from_secs(30);
const WATCHED: Duration = Duration::from_secs(60);
/// The longest pause of a site, and some more.
const BACK_WITHIN: Duration = Duration::from_secs(330);

pub fn run(options: &Options) -> Result {
    let tasks = options.messages.unwrap_or(TASKS);
    let mut other = Sink::start()?;
    let dead = process::free_port()?;
    let scratches = [
        Scratch::new("bench-blocked")?,
        Scratch::new("bench-not-blocked")?,
    ];
    let node = start(&scratches[0], other.port, dead)?;
    let baseline = start(&scratches[1], other.port, dead)?;

    // Connections, caches and files are as they are after a while.
    for one in [&node, &baseline] {
        measure(one.ports.smtp, &mut other, MESSAGES)?;
    }
    let began = Instant::now();
    let load = Load {
        port: node.ports.smtp,
        messages: tasks.div_ceil(RECIPIENTS),
        message_bytes: MESSAGE_BYTES,
        sessions: SESSIONS,
        recipient: "someone@blocked.test",
        recipients: RECIPIENTS,
    };
    load.send()?;
    println!(
        "{tasks} tasks for a blocked site after {:.0} s",
        began.elapsed().as_secs_f64()
    );

    std::thread::sleep(SETTLED);
    println!(
        "processor while nothing else happens: {:.1} % of a core",
        used(&node, WATCHED)
    );
    let mut ratios = Vec::new();
    for _ in 0..options.runs {
        let without = measure(baseline.ports.smtp, &mut other, MESSAGES)?.delivered_per_s;
        let beside = measure(node.ports.smtp, &mut other, MESSAGES)?.delivered_per_s;
        let ratio = beside / without;
        println!(
            "another site: {beside:.0} delivered/s beside them, {without:.0} by a node without them: {ratio:.2}"
        );
        ratios.push(ratio);
    }
    println!("median ratio: {:.2}", median(ratios));

    let began = Instant::now();
    let mut back = Sink::start_at(dead)?;
    back.wait_for(1, BACK_WITHIN)?;
    println!(
        "the first one goes {:.0} s after the site is back",
        began.elapsed().as_secs_f64()
    );
    for _ in 0..6 {
        let before = back.received();
        let processor = used(&node, Duration::from_secs(5));
        println!(
            "  {:.0} delivered/s, {processor:.0} % of a core",
            (back.received() - before) as f64 / 5.0
        );
    }
    Ok(())
}

/// A node for which a site is blocked, while it takes mail for another.
fn start(scratch: &Scratch, other: u16, dead: u16) -> Result<Spawned> {
    let ports = Ports::free()?;
    let config = node::config(scratch.path(), &ports, other, SESSIONS, "");
    let config = config.replace("[log]", "recipients_per_transaction = 1\n[log]");
    let route = format!(
        "[[delivery.route]]\ndomains = [\"blocked.test\"]\nhosts = [\"127.0.0.1:{dead}\"]\n"
    );
    let mut node = Spawned::start(scratch.path(), ports, &(config + &route))?;
    node.ready()?;
    Ok(node)
}

/// What the node uses of a core during a time, in percent.
fn used(node: &Spawned, during: Duration) -> f64 {
    let (began, before) = (Instant::now(), node.process.processor_time());
    std::thread::sleep(during);
    let used = node.process.processor_time().saturating_sub(before);
    100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64()
}
