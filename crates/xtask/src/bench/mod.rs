//! Benchmarks over real processes. Each prints its figures with the machine's size and compares within one run.

mod auth;
mod blocked;
mod cluster;
mod machine;
mod node;
mod postfix;
mod process;
mod queue;
mod relay;
mod sign;
mod telemetry;
mod throttle;
mod tools;

use std::path::PathBuf;

use crate::run::{Result, cargo};
use crate::setup;

const USAGE: &str = "cargo xtask bench WHAT [--messages N] [--runs N] [--against BINARY]

  relay    messages through a node to a smarthost, beside Postfix in the same run, or with --against beside another build
           of skein
  cluster  1 and 3 control nodes with 1, 2 and 4 senders: messages per second, bytes on disk
  throttle the load of relay with limits that bind nobody, beside none in the same run
  blocked  a million tasks for a site that takes no connection, beside mail for another
  auth     logins by our own secrets over SMTP sessions with TLS: how many one core takes, and what of it is the session
  queue    a queue of a million messages: memory, accept rate, time to start again
  sign     DKIM signatures of messages of 10 kB on one core, and what of the time is hashing; then the load of relay unsigned,
           with one RSA-2048 signature and with two
  telemetry  the load of relay at defaults, without a collector of traces and with one
";

/// What the command line may change.
pub struct Options {
    pub messages: Option<u64>,
    pub runs: usize,
    pub against: Option<PathBuf>,
}

pub fn run(args: &[String]) -> Result {
    let options = parse(args.get(1..).unwrap_or_default())?;
    let bench: fn(&Options) -> Result = match args.first().map(String::as_str) {
        Some("auth") => auth::run,
        Some("blocked") => blocked::run,
        Some("cluster") => cluster::run,
        Some("relay") => relay::run,
        Some("queue") => queue::run,
        Some("sign") => sign::run,
        Some("telemetry") => telemetry::run,
        Some("throttle") => throttle::run,
        _ => return Err(USAGE.to_owned()),
    };
    setup::for_tests()?;
    cargo(
        &[
            "build",
            "--release",
            "--locked",
            "-p",
            "skein-node",
            "-p",
            "skein-ctl",
            "-p",
            "skein-testkit",
        ],
        &[],
    )?;
    machine::print();
    bench(&options)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        messages: None,
        runs: 3,
        against: None,
    };
    for pair in args.chunks(2) {
        let number = pair.get(1).and_then(|text| text.parse::<u64>().ok());
        match (pair[0].as_str(), number) {
            ("--against", _) if pair.len() == 2 => options.against = Some(PathBuf::from(&pair[1])),
            ("--messages", Some(count)) if count > 0 => options.messages = Some(count),
            ("--runs", Some(count)) if count > 0 => {
                options.runs = usize::try_from(count).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("{} needs a number above zero\n\n{USAGE}", pair[0])),
        }
    }
    Ok(options)
}

/// Of one or more figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
