//! A whole cluster of real processes with a world around it, and a nemesis that breaks it.
//!
//! Each node has a network namespace of its own, where the machine allows it, so that links between nodes can be cut.
//! Names of sites lead to sinks; an injector plays the clients. Whatever a run draws comes from its seed.

mod clock;
mod ctl;
mod disk;
mod history;
mod host;
mod judge;
mod namespaces;
mod nemesis;
mod net;
mod nodes;
mod outpost;
mod pace;
mod processors;
mod report;
mod run;
mod stage;
mod times;
mod traffic;
mod world;

use std::io;

pub use host::Host;
pub use nemesis::{Cut, Fault, Step, Who, soak};
pub use report::Report;
pub use run::{Binaries, Scenario, run};

use crate::process::ProcessError;

/// The harness itself could not do something.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
    #[error("{command}: {stderr}")]
    Command { command: String, stderr: String },
    #[error("node {host}: {source}")]
    Node { host: Host, source: ProcessError },
    #[error("{0}")]
    NotSo(String),
}

type Result<T> = std::result::Result<T, ClusterError>;

fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let doing = doing.into();
    move |source| ClusterError::Io { doing, source }
}

/// Runs a program of the system to its end.
fn system(program: &str, args: &[&str]) -> Result<String> {
    let command = || format!("{program} {}", args.join(" "));
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .map_err(io_error(command()))?;
    if !output.status.success() {
        return Err(ClusterError::Command {
            command: command(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
