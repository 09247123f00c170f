//! The daemon `skein`: configuration, wiring, drain.

mod cli;
mod config;
mod events;
mod http;
mod serve;
mod telemetry;
mod tls;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Serve { config } => serve::run(config.as_deref()),
        cli::Command::Config { command } => cli::config(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein: {error:#}");
            ExitCode::FAILURE
        }
    }
}
