//! What traces cost: the load of `relay` at defaults, without a collector and with one.

use std::process::{Command, Stdio};

use super::node::{self, Node};
use super::process::{self, Process, Scratch};
use super::tools::Sink;
use super::{Options, median, relay};
use crate::run::{Result, target_dir};

pub fn run(options: &Options) -> Result {
    let messages = options.messages.unwrap_or(relay::MESSAGES);
    println!(
        "{messages} messages of {} bytes, {} sessions, {} runs, fsync on\n",
        relay::MESSAGE_BYTES,
        relay::SESSIONS,
        options.runs
    );
    println!(
        "{:<6}{:<14}{:>14}{:>14}{:>14}",
        "run", "", "accepted/s", "delivered/s", "CPU us/mail"
    );
    let port = process::free_port()?;
    let mut command = Command::new(target_dir()?.join("release/skein-demo"));
    command.args(["--collector", &format!("127.0.0.1:{port}")]);
    let _collector = Process::start("skein-demo", command.stdout(Stdio::null()))?;
    let section = format!("[telemetry]\notlp_endpoint = \"http://127.0.0.1:{port}\"\n");
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        // In turn which is first: what came before may be to be written still.
        let mut order = [("no collector", ""), ("collector", section.as_str())];
        if run % 2 == 0 {
            order.reverse();
        }
        let mut of = [(0.0, 0.0); 2];
        for (name, sections) in order {
            let (figures, micros) = relay_traced(sections, messages)?;
            println!(
                "{run:<6}{name:<14}{:>14.0}{:>14.0}{micros:>14.0}",
                figures.accepted_per_s, figures.delivered_per_s
            );
            of[usize::from(!sections.is_empty())] = (figures.delivered_per_s, micros);
        }
        rates.push(of[1].0 / of[0].0);
        costs.push(of[1].1 / of[0].1);
    }
    println!(
        "\nmedian with a collector to without: deliveries {:.3}, processor time {:.3}",
        median(rates),
        median(costs)
    );
    Ok(())
}

/// Also microseconds of the node's processor time a message.
fn relay_traced(sections: &str, messages: u64) -> Result<(relay::Figures, f64)> {
    let scratch = Scratch::new("bench-telemetry")?;
    let mut sink = Sink::start()?;
    let (binary, dir) = (node::release()?, scratch.path());
    let node = Node::start_with(&binary, dir, sink.port, relay::SESSIONS, sections)?;
    relay::measure_node(&node, &mut sink, messages)
}
