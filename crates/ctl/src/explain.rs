//! Why mail goes as it goes.

use clap::Subcommand;
use skein_wire::v1::explain_request::About;
use skein_wire::v1::{ExplainLimitsRequest, ExplainRequest, LimitScope, ReasonKind, TlsPolicy};

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every limit that mail to a domain meets, and which rule each comes from.
    Limits {
        /// Of recipients.
        domain: String,
        /// The tenant's own pool, unless given.
        #[arg(long, default_value = "", hide_default_value = true)]
        pool: String,
        /// All of the pool, unless given.
        #[arg(long, default_value = "", hide_default_value = true)]
        ip: String,
        /// Whose mail; the default tenant's, unless given.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
    },
    /// Why a message waits, for each of its recipients.
    Message {
        /// Its id.
        message: String,
    },
    /// Why a queue waits.
    Queue {
        /// The queue's id, or a domain.
        queue: String,
    },
    /// Who sends to a site, and what holds its mail up.
    Site {
        /// A provider, a set of MX hosts or a domain, as `queue list` shows it.
        site: String,
    },
    /// Where a source IP is, and what holds its mail up.
    Ip {
        /// The IP's name, as `ip list` shows it.
        name: String,
    },
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let about = match command {
        Command::Limits {
            domain,
            pool,
            ip,
            tenant,
        } => {
            let request = ExplainLimitsRequest {
                domain,
                pool,
                ip,
                tenant,
            };
            return limits(admin, request, json).await;
        }
        Command::Message { message } => About::Message(message),
        Command::Queue { queue } => About::Queue(queue),
        Command::Site { site } => About::Site(site),
        Command::Ip { name } => About::Ip(name),
    };
    waits(admin, about, json).await
}

async fn waits(mut admin: Admin, about: About, json: bool) -> anyhow::Result<()> {
    let request = ExplainRequest { about: Some(about) };
    let answer = admin.explain(request).await?.into_inner();
    if json {
        return show::json(&answer.parts);
    }
    for part in answer.parts {
        println!("{}", part.subject);
        let mut table = show::table(&["WAITS FOR", "UNTIL", "WHY"]);
        for reason in part.reasons {
            table.add_row([
                show::word::<ReasonKind>(reason.kind),
                show::until(reason.until_ms),
                reason.text,
            ]);
        }
        show::print(&table);
        println!();
    }
    Ok(())
}

async fn limits(mut admin: Admin, request: ExplainLimitsRequest, json: bool) -> anyhow::Result<()> {
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
    println!("TLS        {}", show::word::<TlsPolicy>(answer.tls));
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
                show::word::<LimitScope>(limit.scope),
                limit.value,
                format!("{}{built_in}", limit.rule),
            ]);
        }
    }
    show::print(&table);
    Ok(())
}
