//! The command line, and the way to the server.

use clap::{Parser, Subcommand};
use skein_wire::v1::admin_client::AdminClient;
use tonic::{Code, Status};

use crate::connect::{self, Server};
use crate::{backup, group, message, node, queue, slot, status, tenant};

pub type Admin = AdminClient<skein_client::Channel>;

#[derive(Debug, Parser)]
#[command(name = "skeinctl", version, about = "Manages a Skein cluster")]
pub struct Cli {
    #[command(flatten)]
    server: Server,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the cluster holds and how its groups do.
    Status,
    /// Queues: the tasks of one domain, tenant and pool.
    Queue {
        #[command(subcommand)]
        command: queue::Command,
    },
    /// Control nodes and senders.
    Node {
        #[command(subcommand)]
        command: node::Command,
    },
    /// Slots: shards of queues, each owned by one sender.
    Slot {
        #[command(subcommand)]
        command: slot::Command,
    },
    /// Tenants and their shares.
    Tenant {
        #[command(subcommand)]
        command: tenant::Command,
    },
    /// Raft groups.
    Group {
        #[command(subcommand)]
        command: group::Command,
    },
    /// The whole state as a file, for when all is lost.
    Backup {
        #[command(subcommand)]
        command: backup::Command,
    },
    /// One message.
    Message {
        #[command(subcommand)]
        command: message::Command,
    },
}

pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let channel = connect::channel(&cli.server)?;
    let admin = AdminClient::new(channel.clone());
    let result = match cli.command {
        Command::Status => status::run(admin, cli.json).await,
        Command::Queue { command } => queue::run(admin, command, cli.json).await,
        Command::Node { command } => node::run(admin, command, cli.json).await,
        Command::Slot { command } => slot::run(admin, command, cli.json).await,
        Command::Tenant { command } => tenant::run(admin, command, cli.json).await,
        Command::Group { command } => group::run(admin, command, cli.json).await,
        Command::Backup { command } => backup::run(channel, command, cli.json).await,
        Command::Message { command } => message::run(admin, command, cli.json).await,
    };
    result.map_err(|error| match error.downcast::<Status>() {
        Ok(status) => explain(&cli.server.server, &status),
        Err(error) => error,
    })
}

/// The server's words, and what to do next where that is not in them.
fn explain(server: &str, status: &Status) -> anyhow::Error {
    match status.code() {
        Code::Unavailable if status.message().starts_with("TLS: ") => {
            anyhow::anyhow!("{server}: {}", connect::advice(status.message()))
        }
        Code::Unavailable => anyhow::anyhow!(
            "no answer from {server}: {}; is the node running, is this its admin.listen address, and is it http or https?",
            status.message()
        ),
        _ => anyhow::anyhow!("{}", status.message()),
    }
}
