//! The command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use clap::{Parser, Subcommand};
use skein_model::GroupId;

use crate::config::{self, Config, Overrides, Read};
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
        /// A TOML file; without one the node listens on loopback with safe defaults. Variables of the environment such as
        /// SKEIN_CLUSTER__ADDRESS go before it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        overrides: Overrides,
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
    /// Read a file and say what is wrong with it, in the environment of this command: `POD_NAME=skein-0 skein config check
    /// FILE` for a file that refers to it. Certificates are read as well, and places to write to are tried.
    Check {
        file: PathBuf,
        #[command(flatten)]
        overrides: Overrides,
        /// End with status 1 where there are warnings, too.
        #[arg(long)]
        strict: bool,
    },
    /// List all keys, and what a running node does about each that has changed when it gets SIGHUP.
    Keys,
    /// Print all settings, with the defaults that a file leaves.
    Print {
        file: Option<PathBuf>,
        #[command(flatten)]
        overrides: Overrides,
        /// One line for each key, with where its value comes from.
        #[arg(long)]
        origin: bool,
        /// With passwords, for which *** stands otherwise.
        #[arg(long)]
        secrets: bool,
    },
}

pub fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check {
            file,
            overrides,
            strict,
        } => check(file, overrides, *strict)?,
        ConfigCommand::Keys => print!("{}", config::list_of_keys()),
        ConfigCommand::Print {
            file,
            overrides,
            origin,
            secrets,
        } => {
            let Read {
                config, settings, ..
            } = Config::read(file.as_deref(), overrides)?;
            let shown = match origin {
                true => config.with_origins(&settings, *secrets),
                false => config.to_toml(*secrets),
            };
            print!("{}", shown?);
        }
    }
    Ok(())
}

fn check(file: &Path, overrides: &Overrides, is_strict: bool) -> anyhow::Result<()> {
    let Read {
        config,
        mut warnings,
        ..
    } = Config::read(Some(file), overrides)?;
    let tls::Found {
        mut errors,
        warnings: of_certificates,
    } = tls::check(&config)?;
    let (unwritable, doubtful) = config.check_paths();
    errors.extend(unwritable);
    if config.role.sends()
        && let Err(error) = config.delivery.check_files()
    {
        errors.push(format!("{error:#}"));
    }
    if let Err(error) = config.dkim.keks() {
        errors.push(format!("{error:#}"));
    }
    warnings.extend(of_certificates);
    warnings.extend(doubtful);
    let name = file.display();
    for warning in &warnings {
        println!("warning: {name}: {warning}");
    }
    if !errors.is_empty() {
        bail!("in {name}: {}", errors.join("\n"));
    }
    match warnings.len() {
        0 => println!("{name}: no errors"),
        1 => println!("{name}: no errors, 1 warning"),
        count => println!("{name}: no errors, {count} warnings"),
    }
    if is_strict && !warnings.is_empty() {
        bail!("{name}: warnings count as errors with --strict");
    }
    Ok(())
}
