//! Logins by secrets that we made, over real SMTP sessions with TLS: how many one core of the node takes, and what of its time is the
//! login and what the session around it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::node::Node;
use super::process::Scratch;
use super::tools::Sink;
use super::{Options, median};
use crate::run::{Result, cargo, target_dir};

const SECONDS: u64 = 10;
/// Of one core, without the sessions around them.
const WANTED: f64 = 5000.0;
/// Before it is measured, handshakes are to be resumed, and caches warm.
const WARM_UP_SECONDS: u64 = 1;

struct Figures {
    per_s: f64,
    /// What one session took of the node's processors.
    each_us: f64,
}

pub fn run(options: &Options) -> Result {
    cargo(
        &[
            "build",
            "--release",
            "--locked",
            "-p",
            "skein-testkit",
            "--example",
            "auth_rate",
        ],
        &[],
    )?;
    let scratch = Scratch::new("bench-auth")?;
    let sink = Sink::start()?;
    let node = Node::start_with_tls(scratch.path(), sink.port)?;
    let secret = node.credential("bench")?;
    println!(
        "TLS 1.3 resumed, AUTH PLAIN, {SECONDS} s each, {} runs\n\n{:<6}{:>10}{:>14}{:>18}{:>16}",
        options.runs, "run", "", "sessions/s", "us of a core each", "per core and s"
    );
    let mut logins = Vec::new();
    for number in 1..=options.runs {
        let none = measure(&node, None)?;
        print(number, "no login", &none);
        let some = measure(&node, Some(&secret))?;
        print(number, "login", &some);
        logins.push(some.each_us - none.each_us);
    }
    let login_us = median(logins).max(0.1);
    let per_core = 1e6 / login_us;
    println!(
        "\na login takes {login_us:.0} us beside its session: {per_core:.0} AUTH/s on one core, {WANTED:.0} are wanted"
    );
    Ok(())
}

fn print(run: usize, name: &str, figures: &Figures) {
    let Figures { per_s, each_us } = figures;
    println!(
        "{run:<6}{name:>10}{per_s:>14.0}{each_us:>18.0}{:>16.0}",
        1e6 / each_us
    );
}

fn measure(node: &Node, secret: Option<&str>) -> Result<Figures> {
    let load = target_dir()?.join("release/examples/auth_rate");
    sessions(&load, node.tls_port, WARM_UP_SECONDS, secret)?;
    let before = node.processor_time();
    let count = sessions(&load, node.tls_port, SECONDS, secret)?;
    let used = node.processor_time().saturating_sub(before);
    Ok(Figures {
        per_s: count as f64 / Duration::from_secs(SECONDS).as_secs_f64(),
        each_us: used.as_secs_f64() * 1e6 / (count.max(1) as f64),
    })
}

fn sessions(load: &Path, port: u16, seconds: u64, secret: Option<&str>) -> Result<u64> {
    let mut command = Command::new(load);
    command.args([format!("127.0.0.1:{port}"), seconds.to_string()]);
    if let Some(secret) = secret {
        command.args(["bench", secret]);
    }
    let output = command
        .output()
        .map_err(|error| format!("auth_rate: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let count = said.trim().parse().ok().filter(|_| output.status.success());
    count.ok_or_else(|| format!("auth_rate: {}", String::from_utf8_lossy(&output.stderr)))
}
