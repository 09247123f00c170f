use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use skein_wire::v1::{
    AddNodeRequest, Cluster, ClusterNode, GetClusterRequest, GroupRole, Health, MoveLeaderRequest,
    NodeGroup, NodeState, RemoveNodeRequest,
};

use crate::admin::Admin;
use crate::{node, show};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// How the cluster does: its nodes, who leads what, how far replicas are behind. Ends with status 1 if it is not healthy.
    Status,
    /// Let a control node join that comes from this address.
    Add {
        /// host:port at which the other nodes reach it.
        address: String,
    },
    /// Take a control node out for good, or take back that one may join.
    Remove {
        /// Its id or its address.
        node: String,
        /// Do it: its id and its data can never be used again.
        #[arg(long)]
        yes: bool,
    },
    /// Leaders of Raft groups.
    Leader {
        #[command(subcommand)]
        command: LeaderCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum LeaderCommand {
    /// Hand a group over to another node, which must be up to date.
    Move {
        /// `meta`, or the number of a spool group.
        group: String,
        /// A node's id or address.
        node: String,
    },
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Status => status(admin, json).await,
        Command::Add { address } => add(admin, address, json).await.map(done),
        Command::Remove { node, yes } => remove(admin, node, yes, json).await.map(done),
        Command::Leader {
            command: LeaderCommand::Move { group, node },
        } => move_leader(admin, &group, node, json).await.map(done),
    }
}

/// Ends with 1 unless the cluster is healthy.
async fn status(mut admin: Admin, json: bool) -> anyhow::Result<ExitCode> {
    let cluster = admin.get_cluster(GetClusterRequest {}).await?.into_inner();
    match json {
        true => show::json(&cluster)?,
        false => print_status(&cluster),
    }
    Ok(match cluster.health() {
        Health::Healthy => ExitCode::SUCCESS,
        Health::Degraded | Health::Unspecified => ExitCode::FAILURE,
    })
}

fn print_status(cluster: &Cluster) {
    let of = match (cluster.cluster_id.as_str(), cluster.missing.is_empty()) {
        ("", true) => "A node that is alone".to_owned(),
        ("", false) => "No cluster yet".to_owned(),
        (id, _) => format!("Cluster {id}"),
    };
    println!("{of}, as node {} sees it", cluster.asked_node_id);
    println!("{}", cluster.verdict);
    println!();
    let mut table = show::table(&[
        "CONTROL NODE",
        "ADDRESS",
        "VERSION",
        "STATE",
        "LEADS",
        "VOTES IN",
        "BEHIND",
        "BODIES MISSING",
    ]);
    for node in &cluster.nodes {
        table.add_row(row(node));
    }
    show::print(&table);
    println!();
    node::print_senders(cluster.senders.clone());
    if !cluster.missing.is_empty() {
        println!();
        println!("Missing: {}", cluster.missing.join(", "));
    }
    print_invited(cluster);
}

fn row(node: &ClusterNode) -> [String; 8] {
    let groups = node.groups.iter();
    let leads = groups
        .clone()
        .filter(|group| group.role() == GroupRole::Leader);
    let leads: Vec<String> = leads.map(|group| show::group(group.group)).collect();
    let votes = |group: &&NodeGroup| matches!(group.role(), GroupRole::Leader | GroupRole::Voter);
    let answers = !node.version.is_empty();
    let known = |number: u64| match answers {
        true => number.to_string(),
        false => "?".to_owned(),
    };
    [
        node.node_id.clone(),
        show::or_dash(node.address.clone()),
        show::or_dash(node.version.clone()),
        show::word::<NodeState>(node.state),
        show::or_dash(leads.join(", ")),
        format!(
            "{} of {}",
            groups.clone().filter(votes).count(),
            node.groups.len()
        ),
        known(groups.clone().map(|group| group.behind).max().unwrap_or(0)),
        known(groups.map(|group| group.bodies_missing).sum()),
    ]
}

fn print_invited(cluster: &Cluster) {
    if !cluster.invited.is_empty() {
        println!();
        println!("May join, and has not yet: {}", cluster.invited.join(", "));
    }
}

async fn add(mut admin: Admin, address: String, json: bool) -> anyhow::Result<()> {
    let request = AddNodeRequest {
        address: address.clone(),
    };
    let added = admin.add_node(request).await?.into_inner();
    if json {
        return show::json(&added);
    }
    println!(
        "A control node may join from {address}. Start skein there, with an empty data directory and:"
    );
    println!();
    let port = address.rsplit_once(':').map_or("7000", |(_, port)| port);
    let peers: Vec<String> = added.peers.iter().map(|peer| format!("{peer:?}")).collect();
    println!("  role = \"control\"");
    println!("  [cluster]");
    println!("  listen = \"0.0.0.0:{port}\"");
    println!("  address = {address:?}");
    println!("  peers = [{}]", peers.join(", "));
    println!("  bootstrap_expect = 0");
    println!("  spool_groups = {}", added.spool_groups);
    println!();
    println!(
        "It votes when it has caught up, see `skeinctl cluster status`. Add its address to cluster.peers of the others."
    );
    Ok(())
}

async fn remove(mut admin: Admin, node: String, yes: bool, json: bool) -> anyhow::Result<()> {
    if !yes {
        bail!(
            "this takes {node} out for good: its id and its data can never be used again; add --yes to do it"
        );
    }
    let request = RemoveNodeRequest { node };
    let removed = admin.remove_node(request).await?.into_inner();
    if json {
        return show::json(&removed);
    }
    let address = &removed.address;
    if removed.node_id.is_empty() {
        println!("No node may join from {address} any more.");
        return Ok(());
    }
    println!(
        "{address} (node {}) is no member any more; {} control nodes are left.",
        removed.node_id, removed.left
    );
    println!(
        "The groups go on without it within seconds, and its process stops when it hears of it."
    );
    println!(
        "Take its address out of cluster.peers of the others, or a new node that starts there asks in vain."
    );
    if removed.left % 2 == 0 {
        println!(
            "{} nodes survive the loss of no more than {}: another one makes that more.",
            removed.left,
            (removed.left - 1) / 2
        );
    }
    Ok(())
}

async fn move_leader(
    mut admin: Admin,
    group: &str,
    node: String,
    json: bool,
) -> anyhow::Result<()> {
    let number = group_number(group)?;
    let request = MoveLeaderRequest {
        group: number,
        node,
    };
    let moved = admin.move_leader(request).await?.into_inner();
    if json {
        return show::json(&moved);
    }
    println!("{} leads {} now.", moved.address, show::group(number));
    Ok(())
}

/// `meta`, `3`, `spool 3` or `spool-3`.
fn group_number(text: &str) -> anyhow::Result<u32> {
    if text == "meta" {
        return Ok(0);
    }
    let spool = text.strip_prefix("spool");
    let number = spool.map_or(text, |number| number.trim_start_matches([' ', '-']));
    number.parse().with_context(|| {
        format!(
            "group {text:?} is neither `meta` nor a number; list them with `skeinctl group list`"
        )
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn groups_are_named_as_they_are_shown() {
        for (text, number) in [
            ("meta", 0),
            ("0", 0),
            ("3", 3),
            ("spool 3", 3),
            ("spool-12", 12),
        ] {
            assert_eq!(group_number(text).unwrap(), number, "{text}");
        }
        for text in ["", "spools", "x", "-1", "spool"] {
            assert!(group_number(text).is_err(), "{text}");
        }
    }
}
