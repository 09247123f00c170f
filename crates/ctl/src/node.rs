use clap::Subcommand;
use skein_wire::v1::{
    DrainNodeRequest, ListNodesRequest, RemoveSenderRequest, SenderNode, SenderState,
};

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Control nodes and senders.
    List,
    /// Take a sender out of service: it takes no mail in, and its slots go to others.
    Drain {
        /// The sender's name, as `node list` shows it.
        name: String,
    },
    /// Put a sender back into service.
    Resume {
        /// The sender's name, as `node list` shows it.
        name: String,
    },
    /// Forget a sender that is gone. Its slots go to others when its lease has ended.
    Remove {
        /// The sender's name, as `node list` shows it.
        name: String,
        /// Its process has surely ended: do not wait for the lease. If it has not, mail may go out twice.
        #[arg(long)]
        force: bool,
    },
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List => list(admin, json).await,
        Command::Drain { name } => {
            let resume = false;
            let request = DrainNodeRequest {
                name: name.clone(),
                resume,
            };
            admin.drain_node(request).await?;
            if json {
                return show::json(&serde_json::json!({ "name": name, "drained": true }));
            }
            println!("{name} takes no mail in, and its slots are on their way to others.");
            Ok(())
        }
        Command::Resume { name } => {
            let resume = true;
            let request = DrainNodeRequest {
                name: name.clone(),
                resume,
            };
            admin.drain_node(request).await?;
            if json {
                return show::json(&serde_json::json!({ "name": name, "drained": false }));
            }
            println!("{name} is back in service.");
            Ok(())
        }
        Command::Remove { name, force } => {
            let request = RemoveSenderRequest {
                name: name.clone(),
                is_dead: force,
            };
            let removed = admin.remove_sender(request).await?.into_inner();
            if json {
                return show::json(&removed);
            }
            println!(
                "{name} is forgotten; {} slots went to others.",
                removed.slots
            );
            Ok(())
        }
    }
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let nodes = admin.list_nodes(ListNodesRequest {}).await?.into_inner();
    if json {
        return show::json(&nodes);
    }
    let mut table = show::table(&["CONTROL NODE", "ADDRESS", "VERSION", "POLICY", "LEADS"]);
    for node in nodes.control_nodes {
        let leads = node.leads.into_iter().map(show::group);
        table.add_row([
            node.node_id,
            show::or_dash(node.address),
            match node.version.as_str() {
                "" => "no answer".into(),
                version => version.to_owned(),
            },
            version(node.policy_version, node.is_behind),
            show::or_dash(leads.collect::<Vec<_>>().join(", ")),
        ]);
    }
    show::print(&table);
    println!();
    let mut table = show::table(&["SENDER", "STATE", "POLICY", "SLOTS", "LEAVING", "SINCE"]);
    let (lending, senders) = apart(nodes.senders);
    for sender in senders {
        table.add_row([
            sender.name,
            show::word::<SenderState>(sender.state),
            version(sender.policy_version, sender.is_behind),
            sender.slots.to_string(),
            sender.leaving.to_string(),
            show::time(sender.opened_at_ms),
        ]);
    }
    show::print(&table);
    print_egress(lending);
    println!();
    println!("The policy has version {}.", nodes.policy_version);
    Ok(())
}

fn version(policy: Option<u64>, is_behind: bool) -> String {
    match policy {
        Some(version) if is_behind => format!("{version} (behind)"),
        Some(version) => version.to_string(),
        None => "unknown".to_owned(),
    }
}

/// Nodes that only lend their source IPs, and senders.
fn apart(all: Vec<SenderNode>) -> (Vec<SenderNode>, Vec<SenderNode>) {
    all.into_iter().partition(|node| node.is_egress)
}

/// Nothing where there are none.
fn print_egress(nodes: Vec<SenderNode>) {
    if nodes.is_empty() {
        return;
    }
    println!();
    let mut table = show::table(&["EGRESS NODE", "STATE", "POLICY", "SINCE"]);
    for node in nodes {
        table.add_row([
            node.name,
            show::word::<SenderState>(node.state),
            version(node.policy_version, node.is_behind),
            show::time(node.opened_at_ms),
        ]);
    }
    show::print(&table);
}

pub fn print_senders(senders: Vec<SenderNode>) {
    let mut table = show::table(&["SENDER", "STATE", "SLOTS", "LEAVING", "SINCE"]);
    let (lending, senders) = apart(senders);
    for sender in senders {
        table.add_row([
            sender.name,
            show::word::<SenderState>(sender.state),
            sender.slots.to_string(),
            sender.leaving.to_string(),
            show::time(sender.opened_at_ms),
        ]);
    }
    show::print(&table);
    print_egress(lending);
}
