//! Why mail goes as it goes.

use clap::Subcommand;
use skein_wire::v1::ExplainLimitsRequest;

use crate::cli::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every limit that mail to a domain meets, and which rule each comes from.
    Limits {
        domain: String,
        /// The tenant's own pool, unless given.
        #[arg(long, default_value = "")]
        pool: String,
        /// All of the pool, unless given.
        #[arg(long, default_value = "")]
        ip: String,
        #[arg(long, default_value = "")]
        tenant: String,
    },
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let Command::Limits {
        domain,
        pool,
        ip,
        tenant,
    } = command;
    let request = ExplainLimitsRequest {
        domain,
        pool,
        ip,
        tenant,
    };
    let answer = admin.explain_limits(request).await?.into_inner();
    if json {
        return show::json(&answer);
    }
    let hosts = match answer.mx_hosts.is_empty() {
        true => format!("not known: {}", show::or_dash(answer.unresolved)),
        false => answer.mx_hosts.join(", "),
    };
    println!(
        "site       {}, by the figures of provider {}",
        answer.site, answer.provider
    );
    println!("MX hosts   {hosts}");
    println!(
        "mail of    tenant {}, through pool {}",
        answer.tenant, answer.pool
    );
    println!("TLS        {}", answer.tls);
    if answer.messages_per_connection > 0 {
        println!(
            "messages   {} to a connection",
            answer.messages_per_connection
        );
    }
    if answer.recipients_per_message > 0 {
        println!("recipients {} to a message", answer.recipients_per_message);
    }
    println!();
    let mut table = show::table(&["IP", "COUNTED BY", "LIMIT", "RULE"]);
    for ip in answer.ips {
        for limit in ip.limits {
            let built_in = if limit.built_in { ", built in" } else { "" };
            table.add_row([
                show::or_dash(ip.ip.clone()),
                limit.scope,
                limit.value,
                format!("{}{built_in}", limit.rule),
            ]);
        }
    }
    show::print(&table);
    Ok(())
}
