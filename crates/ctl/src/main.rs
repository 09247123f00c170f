//! `skeinctl`: looks at a cluster and tells it what to do.

mod automation;
mod backup;
mod cli;
mod cluster;
mod connect;
mod doctor;
mod explain;
mod group;
mod ip;
mod message;
mod node;
mod policy;
mod queue;
mod show;
mod slot;
mod status;
mod suspend;
mod tenant;
mod warmup;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // `skeinctl queue list | head` ends quietly.
    sigpipe::reset();
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("skeinctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}
