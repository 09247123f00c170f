//! Source IPs.

use anyhow::bail;
use clap::Subcommand;
use skein_wire::v1::{IpCheck, ListIpsRequest, SourceIp, SourceIpState};

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Source IPs and the nodes that have them.
    List,
    /// How fit an IP is to send: what its node found when it last looked.
    Check {
        /// The IP's name, as `ip list` shows it.
        name: String,
    },
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let ips = admin.list_ips(ListIpsRequest {}).await?.into_inner().ips;
    match command {
        Command::List if json => show::json(&ips),
        Command::List => {
            list(ips);
            Ok(())
        }
        Command::Check { name } => {
            let Some(ip) = ips.into_iter().find(|ip| ip.name == name) else {
                bail!("there is no ip {name:?}; `skeinctl ip list` shows all");
            };
            match json {
                true => show::json(&ip),
                false => {
                    check(&ip);
                    Ok(())
                }
            }
        }
    }
}

fn list(ips: Vec<SourceIp>) {
    let header = [
        "IP", "BIND", "PUBLIC", "EHLO", "STATE", "NODE", "EPOCH", "FIT", "POOLS",
    ];
    let mut table = show::table(&header);
    for ip in ips {
        let (state, fit) = (shown(&ip), fit(&ip));
        let node = match ip.is_at_egress_node {
            true => format!("{} (egress)", ip.node),
            false => ip.node,
        };
        table.add_row([
            ip.name,
            ip.bind,
            ip.public,
            ip.ehlo,
            state,
            show::or_dash(node),
            ip.epoch.to_string(),
            fit,
            show::or_dash(ip.pools.join(", ")),
        ]);
    }
    show::print(&table);
}

/// No mail goes from an IP that no node has.
fn shown(ip: &SourceIp) -> String {
    match ip.state() {
        SourceIpState::Unplaced => "UNPLACED".to_owned(),
        _ => show::word::<SourceIpState>(ip.state),
    }
}

fn fit(ip: &SourceIp) -> String {
    let faults = ip.faults.iter();
    let mut checks: Vec<String> = faults
        .map(|fault| show::word::<IpCheck>(fault.check))
        .collect();
    checks.dedup();
    match ip.checked_at {
        0 => "-".to_owned(),
        _ if checks.is_empty() => "yes".to_owned(),
        _ => format!("no: {}", checks.join(", ")),
    }
}

fn check(ip: &SourceIp) {
    println!(
        "ip      {}, bound as {}, seen as {}",
        ip.name, ip.bind, ip.public
    );
    println!("EHLO    {}", ip.ehlo);
    let at = match (ip.is_behind_proxy, ip.node.as_str()) {
        (true, _) => "a proxy".to_owned(),
        (false, "") => "no node; nothing is sent from it".to_owned(),
        (false, node) if ip.is_at_egress_node => {
            format!("egress node {node}, epoch {}", ip.epoch)
        }
        (false, node) => format!("node {node}, epoch {}", ip.epoch),
    };
    println!("at      {at}");
    println!("state   {}", shown(ip));
    println!("checked {}", show::time(ip.checked_at));
    if ip.checked_at == 0 {
        println!(
            "\nNobody has looked yet: its node does so when it gets it, and every ten minutes."
        );
        return;
    }
    if ip.faults.is_empty() {
        println!("\nFit to send.");
        return;
    }
    println!();
    let mut table = show::table(&["CHECK", "FAULT"]);
    for fault in &ip.faults {
        table.add_row([show::word::<IpCheck>(fault.check), fault.text.clone()]);
    }
    show::print(&table);
}
