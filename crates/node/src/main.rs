//! The daemon `skein`: configuration, wiring, drain.

mod automation_events;
mod cli;
mod config;
mod dev_ca;
mod dkim_key;
mod escape;
mod events;
#[cfg(feature = "failpoints")]
mod failpoints;
mod health;
mod http;
mod links;
mod lockouts;
mod meta_events;
mod open_files;
mod own_files;
mod policy;
mod serve;
mod telemetry;
mod tls;

use std::process::ExitCode;

use clap::Parser;

/// For RocksDB as well, by its unprefixed names: many threads allocate and free one another's buffers, and what they
/// free goes back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Serve {
            config,
            overrides,
            skip_entries,
        } => serve::run(config.as_deref(), &overrides, &skip_entries),
        cli::Command::Config { command } => cli::config(&command),
        cli::Command::DevCa(wanted) => dev_ca::run(&wanted),
        cli::Command::DkimKey { file } => dkim_key::run(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein: {error:#}");
            ExitCode::FAILURE
        }
    }
}
