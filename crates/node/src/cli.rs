//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Config;

#[derive(Debug, Parser)]
#[command(name = "skein", version, about = "A clustered mail delivery system")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run this node until SIGTERM or SIGINT.
    Serve {
        /// A TOML file; without one the node listens on loopback with safe defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Look at a configuration without running it.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read a file and say what is wrong with it.
    Check { file: PathBuf },
    /// Print all settings, with the defaults that a file leaves.
    Print { file: Option<PathBuf> },
}

pub fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            Config::load(Some(file))?;
            println!("{}: no errors", file.display());
        }
        ConfigCommand::Print { file } => print!("{}", Config::load(file.as_deref())?.to_toml()?),
    }
    Ok(())
}
