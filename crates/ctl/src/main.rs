//! `skeinctl`: looks at a cluster and tells it what to do.

#[macro_use]
mod out;

mod admin;
mod audit;
mod automation;
mod backup;
mod bounce;
mod cli;
mod cluster;
mod connect;
mod credential;
mod doctor;
mod domain;
mod duration;
mod explain;
mod group;
mod ip;
mod message;
mod node;
mod policy;
mod probe;
mod queue;
mod send;
mod show;
mod site;
mod slot;
mod smtp;
mod status;
mod suspend;
mod tenant;
mod tls;
mod transport;
mod warmup;

#[cfg(test)]
mod help_tests;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(cli::run(cli));
            // A thread may still wait for a line of the standard input.
            runtime.shutdown_background();
            result
        }
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
