//! The command line.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::config::Config;
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
    },
    /// Look at a configuration without running it.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make a CA, and certificates of it for nodes. A folder that has a CA already keeps it.
    DevCa {
        /// Where the files go.
        folder: PathBuf,
        /// What other nodes call this one: a host name or an IP address. May be given several times.
        #[arg(long = "host", value_name = "NAME_OR_IP", required = true)]
        hosts: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read a file and say what is wrong with it. Certificates are read as well, and places to write to are tried.
    Check {
        file: PathBuf,
        /// End with status 1 where there are warnings, too.
        #[arg(long)]
        strict: bool,
    },
    /// Print all settings, with the defaults that a file leaves.
    Print { file: Option<PathBuf> },
}

pub fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file, strict } => check(file, *strict)?,
        ConfigCommand::Print { file } => print!("{}", Config::load(file.as_deref())?.to_toml()?),
    }
    Ok(())
}

fn check(file: &Path, is_strict: bool) -> anyhow::Result<()> {
    let (config, mut warnings) = Config::read(Some(file))?;
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
