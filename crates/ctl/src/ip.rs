use clap::Subcommand;
use skein_wire::v1::ListIpsRequest;

use crate::cli::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Source IPs and the nodes that have them.
    List,
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let Command::List = command;
    let ips = admin.list_ips(ListIpsRequest {}).await?.into_inner().ips;
    if json {
        return show::json(&ips);
    }
    let header = [
        "IP", "BIND", "PUBLIC", "EHLO", "STATE", "NODE", "EPOCH", "POOLS",
    ];
    let mut table = show::table(&header);
    for ip in ips {
        table.add_row([
            ip.name,
            ip.bind,
            ip.public,
            ip.ehlo,
            ip.state,
            show::or_dash(ip.node),
            ip.epoch.to_string(),
            show::or_dash(ip.pools.join(", ")),
        ]);
    }
    show::print(&table);
    Ok(())
}
