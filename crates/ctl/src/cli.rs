//! The command line, and the way to the server.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tonic::Status;

use crate::admin::{self, Admin};
use crate::connect::{self, Server};
use crate::{
    audit, automation, backup, bounce, cluster, credential, doctor, domain, explain, group, ip,
    message, node, policy, probe, queue, send, site, slot, status, suspend, tenant, tls, transport,
    warmup,
};

const STATUSES: &str = "\
Exit status:
  0    done
  1    refused, failed, or no answer; of doctor, cluster status and domain check: something is wrong; of policy
       diff: something would change
  2    the command line is wrong; of policy diff: what would change is not known
  3    of --wait: the change is made, and not every node goes by it yet
  141  who reads the output has closed it";

#[derive(Debug, Parser)]
#[command(name = "skeinctl", version, about = "Manages a Skein cluster", after_help = STATUSES)]
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
    /// The control nodes and senders as a whole: who belongs to it, and who leads.
    Cluster {
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Look for what is wrong, and say what to do. Ends with status 1 if something is.
    Doctor(doctor::Doctor),
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
    /// Sites: providers, sets of MX hosts, and domains, as mail is queued for them.
    Site {
        #[command(subcommand)]
        command: site::Command,
    },
    /// Tenants and their shares.
    Tenant {
        #[command(subcommand)]
        command: tenant::Command,
    },
    /// Credentials: what lets clients hand in mail, and whose mail that is.
    Credential {
        #[command(subcommand)]
        command: credential::Command,
    },
    /// Domains that mail is sent for: keys, and records to publish.
    Domain {
        #[command(subcommand)]
        command: domain::Command,
    },
    /// TLS with the hosts of other domains: what mail must find there, and reports to them.
    Tls {
        #[command(subcommand)]
        command: tls::Command,
    },
    /// Take resources over from YAML files: all of them, or none if one is wrong.
    Apply(policy::Apply),
    /// The resources that were applied.
    Policy {
        #[command(subcommand)]
        command: policy::Command,
    },
    /// JSON Schema of a kind of resource, for editors. No cluster is asked.
    Schema {
        #[arg(help = policy::one_kind())]
        kind: String,
    },
    /// Providers: limits and rules of those who host many domains.
    Provider {
        #[command(subcommand)]
        command: policy::ProviderCommand,
    },
    /// Hold mail back for a time; without a word about which mail, list what is held back.
    Suspend(suspend::Suspend),
    /// Let mail go that was held back.
    Resume(suspend::Resume),
    /// Who has changed what, and who has tried; the latest last.
    Audit(audit::Audit),
    /// What rules on hosts' replies did by themselves.
    Automation {
        #[command(subcommand)]
        command: automation::Command,
    },
    /// Warm-ups: new source IPs that send a little more each day.
    Warmup {
        #[command(subcommand)]
        command: warmup::Command,
    },
    /// Source IPs.
    Ip {
        #[command(subcommand)]
        command: ip::Command,
    },
    /// Why mail goes as it goes.
    Explain {
        #[command(subcommand)]
        command: explain::Command,
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
    /// What replies and messages that come back are about. No cluster is asked.
    Bounce {
        #[command(subcommand)]
        command: bounce::Command,
    },
    /// One message.
    Message {
        #[command(subcommand)]
        command: message::Command,
    },
    /// Hand a message in as a mail client does, and look what becomes of it.
    Send(Box<send::Options>),
    /// What a delivery to a domain would meet at its mail hosts. Nothing is sent.
    Probe(probe::Options),
}

pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let failure = match &cli.command {
        Command::Policy { command } => command.failure(),
        _ => ExitCode::FAILURE,
    };
    let result = match cli.command {
        Command::Schema { kind } => policy::print_schema(&kind).map(|()| ExitCode::SUCCESS),
        Command::Bounce { command } => bounce::run(command, cli.json).map(|()| ExitCode::SUCCESS),
        // Of these, one asks the admin API only when it is told to, and the other never.
        Command::Send(options) => send::run(&cli.server, *options, cli.json).await,
        Command::Probe(options) => return probe::run(&cli.server, options, cli.json).await,
        command => ask(&cli.server, command, cli.json).await,
    };
    match result {
        Ok(code) => Ok(code),
        Err(error) => {
            let told = explained(&cli.server.server, error).await;
            eprintln!("skeinctl: {told:#}");
            Ok(failure)
        }
    }
}

/// What a node answers.
async fn ask(server: &Server, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    transport::Target::parse(&server.server).map_err(anyhow::Error::msg)?;
    let channel = connect::channel(server)?;
    run_one(admin::client(&channel), channel, command, json).await
}

/// Says what to do about a status, in its place among what else is said of the error.
async fn explained(server: &str, error: anyhow::Error) -> anyhow::Error {
    let Some(status) = error.downcast_ref::<Status>() else {
        return error;
    };
    let told = transport::explain(server, status).await;
    let around = error.chain().take_while(|one| !one.is::<Status>());
    let mut lines: Vec<String> = around.map(ToString::to_string).collect();
    lines.push(told);
    anyhow::anyhow!("{}", lines.join(": "))
}

async fn run_one(
    admin: Admin,
    channel: connect::Channel,
    command: Command,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Status => status::run(admin, json).await.map(done),
        Command::Cluster { command } => cluster::run(admin, command, json).await,
        Command::Doctor(doctor) => doctor::run(admin, doctor, json).await,
        Command::Queue { command } => queue::run(admin, command, json).await.map(done),
        Command::Node { command } => node::run(admin, command, json).await.map(done),
        Command::Slot { command } => slot::run(admin, command, json).await.map(done),
        Command::Site { command } => site::run(admin, command, json).await.map(done),
        Command::Tenant { command } => tenant::run(admin, command, json).await.map(done),
        Command::Credential { command } => credential::run(admin, command, json).await,
        Command::Domain { command } => domain::run(admin, command, json).await,
        Command::Tls { command } => tls::run(admin, command, json).await.map(done),
        Command::Apply(apply) => policy::apply(admin, apply, json).await,
        Command::Policy { command } => policy::run(admin, command, json).await,
        Command::Audit(wanted) => audit::run(admin, wanted, json).await.map(done),
        Command::Provider { command } => policy::provider(admin, command, json).await.map(done),
        Command::Suspend(suspend) => suspend::suspend(admin, suspend, json).await.map(done),
        Command::Resume(resume) => suspend::resume(admin, resume, json).await.map(done),
        Command::Automation { command } => automation::run(admin, command, json).await.map(done),
        Command::Warmup { command } => warmup::run(admin, command, json).await.map(done),
        Command::Ip { command } => ip::run(admin, command, json).await.map(done),
        Command::Explain { command } => explain::run(admin, command, json).await.map(done),
        Command::Group { command } => group::run(admin, command, json).await.map(done),
        Command::Backup { command } => backup::run(admin, channel, command, json).await.map(done),
        Command::Message { command } => message::run(admin, command, json).await.map(done),
        Command::Send(_) | Command::Probe(_) | Command::Schema { .. } | Command::Bounce { .. } => {
            unreachable!("`run` takes these")
        }
    }
}
