//! What DKIM signatures cost: on one core by themselves, and of the rate of a node that relays.

use std::path::Path;
use std::process::{Command, Stdio};

use super::node::{self, Node};
use super::process::{self, Process, Scratch};
use super::tools::Sink;
use super::{Options, median, relay};
use crate::run::{Result, cargo, target_dir};

/// Of the sender of the load, whose tenant is that of clients in the relay networks.
const OWN: &[&str] = &["sender.test", "--tenant", "default"];
/// The operator's, which signs all mail.
const OPERATOR: &[&str] = &["esp.test", "--tenant", "esp", "--operator"];
/// As many signatures as the domains.
const SIGNED_WITH: &[(&str, &[&[&str]])] = &[
    ("unsigned", &[]),
    ("one RSA-2048", &[OWN]),
    ("two RSA-2048", &[OWN, OPERATOR]),
];

pub fn run(options: &Options) -> Result {
    let package = ["-p", "skein-dkim", "--example", "sign_rate"];
    cargo(
        &[&["run", "--release", "--locked"][..], &package].concat(),
        &[],
    )?;
    let messages = options.messages.unwrap_or(relay::MESSAGES);
    println!(
        "\n{messages} messages of {} bytes, {} sessions, {} runs, fsync on\n",
        relay::MESSAGE_BYTES,
        relay::SESSIONS,
        options.runs
    );
    println!(
        "{:<6}{:<14}{:>14}{:>14}{:>14}{:>13}",
        "run", "", "accepted/s", "delivered/s", "CPU us/mail", "to unsigned"
    );
    let mut ratios = vec![Vec::new(); SIGNED_WITH.len()];
    for run in 1..=options.runs {
        let mut unsigned = 0.0;
        for ((name, domains), ratios) in SIGNED_WITH.iter().zip(&mut ratios) {
            let (figures, micros) = relay_signed(domains, messages)?;
            if domains.is_empty() {
                unsigned = figures.delivered_per_s;
            }
            let ratio = figures.delivered_per_s / unsigned;
            println!(
                "{run:<6}{name:<14}{:>14.0}{:>14.0}{micros:>14.0}{ratio:>13.2}",
                figures.accepted_per_s, figures.delivered_per_s
            );
            ratios.push(ratio);
        }
    }
    println!();
    for ((name, _), ratios) in SIGNED_WITH.iter().zip(ratios).skip(1) {
        println!(
            "{name}: median of deliveries to unsigned {:.3}",
            median(ratios)
        );
    }
    Ok(())
}

/// The load of `relay` through a node that signs with a key of each domain; also microseconds of processor time a message.
fn relay_signed(domains: &[&[&str]], messages: u64) -> Result<(relay::Figures, f64)> {
    let scratch = Scratch::new("bench-sign")?;
    let dir = scratch.path();
    let mut sink = Sink::start()?;
    let name_server = process::free_port()?;
    let sections = match domains {
        [] => String::new(),
        _ => sections(dir, name_server)?,
    };
    let node = Node::start_with(
        &node::release()?,
        dir,
        sink.port,
        relay::SESSIONS,
        &sections,
    )?;
    let _dns = match domains {
        [] => None,
        _ => Some(publish(&node, domains, dir, name_server)?),
    };
    let measured = relay::measure_node(&node, &mut sink, messages)?;
    let signed = node.metric("skein_dkim_signatures_total").unwrap_or(0);
    let due = messages * domains.len() as u64;
    if signed < due {
        return Err(format!("{signed} signatures were made, and {due} were due"));
    }
    Ok(measured)
}

/// Of a node that may make keys, and that uses one two seconds after it was seen.
fn sections(dir: &Path, name_server: u16) -> Result<String> {
    let key = dir.join("dkim.key");
    let mut command = Command::new(node::release()?);
    command.arg("dkim-key").arg(&key).stdout(Stdio::null());
    process::finish("skein dkim-key", &mut command)?;
    Ok(format!(
        "[dns]\nservers = [\"127.0.0.1:{name_server}\"]\n\
         [dkim]\nkey_file = {key:?}\nttl = \"1s\"\n\
         authoritative_servers = [\"127.0.0.1:{name_server}\"]\n"
    ))
}

/// Adds the domains, publishes their records, and returns when their keys are in use.
fn publish(node: &Node, domains: &[&[&str]], dir: &Path, port: u16) -> Result<Process> {
    let mut records = String::new();
    for domain in domains {
        let mut command = node.skeinctl()?;
        command.args(["domain", "add"]).args(*domain);
        command.args(["--format", "zone"]);
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        records.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    let path = dir.join("records.zone");
    std::fs::write(&path, records).map_err(|error| error.to_string())?;
    let mut command = Command::new(target_dir()?.join("release/skein-demo"));
    command
        .args(["--dns", &format!("127.0.0.1:{port}")])
        .args(["--mx", "127.0.0.1", "--records"])
        .arg(&path)
        .stdout(Stdio::null());
    let dns = Process::start("skein-demo", &mut command)?;
    for domain in domains {
        let mut command = node.skeinctl()?;
        command.args(["domain", "check", domain[0], "--wait"]);
        command.stdout(Stdio::null());
        process::finish("skeinctl domain check", &mut command)?;
    }
    Ok(dns)
}
