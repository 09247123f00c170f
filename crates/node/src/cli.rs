//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use clap::{Parser, Subcommand};
use skein_model::GroupId;

use crate::config::Config;
use crate::dev_ca::Wanted;
use crate::tls;

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
        /// Pass over what cannot be applied of one entry of a Raft log, which ended this process before: the number of the
        /// group (0 is meta) and that of the entry, as the process said. Give it to every control node of the cluster, or
        /// their states will differ. May be given several times.
        #[arg(long = "skip-entry", value_name = "GROUP:INDEX")]
        skip_entries: Vec<SkipEntry>,
    },
    /// Look at a configuration without running it.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make a CA, and certificates of it for nodes and operators. A folder that has a CA already keeps it.
    DevCa(Wanted),
}

/// An entry of a group's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipEntry {
    pub group: GroupId,
    pub index: u64,
}

impl FromStr for SkipEntry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':');
        let read = parts.and_then(|(group, index)| {
            Some(Self {
                group: GroupId(group.parse().ok()?),
                index: index.parse().ok()?,
            })
        });
        read.ok_or("it is like GROUP:INDEX, two numbers, such as 0:1234")
    }
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read a file and say what is wrong with it.
    Check { file: PathBuf },
    /// Print all settings, with the defaults that a file leaves.
    Print {
        file: Option<PathBuf>,
        /// With passwords, for which *** stands otherwise.
        #[arg(long)]
        secrets: bool,
    },
}

pub fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            let config = Config::load(Some(file))?;
            let found = tls::check(&config)?;
            for warning in found.warnings {
                println!("warning: {warning}");
            }
            if !found.errors.is_empty() {
                bail!("in {}: {}", file.display(), found.errors.join("\n"));
            }
            println!("{}: no errors", file.display());
        }
        ConfigCommand::Print { file, secrets } => {
            print!("{}", Config::load(file.as_deref())?.to_toml(*secrets)?);
        }
    }
    Ok(())
}
