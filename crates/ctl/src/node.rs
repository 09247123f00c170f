use clap::Subcommand;
use skein_wire::v1::{DrainNodeRequest, ListNodesRequest};

use crate::cli::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Control nodes and senders.
    List,
    /// Take a sender out of service: it takes no mail in, and its slots go to others.
    Drain { name: String },
    /// Put a sender back into service.
    Resume { name: String },
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
            println!("{name} is back in service.");
            Ok(())
        }
    }
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let nodes = admin.list_nodes(ListNodesRequest {}).await?.into_inner();
    if json {
        return show::json(&nodes);
    }
    let mut table = show::table(&["CONTROL NODE", "ADDRESS", "VERSION", "LEADS"]);
    for node in nodes.control_nodes {
        let leads = node.leads.into_iter().map(show::group);
        table.add_row([
            node.node_id,
            show::or_dash(node.address),
            match node.version.as_str() {
                "" => "no answer".into(),
                version => version.to_owned(),
            },
            show::or_dash(leads.collect::<Vec<_>>().join(", ")),
        ]);
    }
    show::print(&table);
    println!();
    let mut table = show::table(&["SENDER", "STATE", "SLOTS", "LEAVING", "SINCE"]);
    for sender in nodes.senders {
        table.add_row([
            sender.name,
            sender.state,
            sender.slots.to_string(),
            sender.leaving.to_string(),
            show::time(sender.opened_at_ms),
        ]);
    }
    show::print(&table);
    Ok(())
}
