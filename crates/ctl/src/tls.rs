//! TLS with the hosts of other domains: what mail must find there, and the reports to them.

use clap::Subcommand;
use skein_wire::v1::{
    ExplainTlsRequest, ExplainTlsResponse, FlushTlsPolicyRequest, GetTlsPolicyRequest,
    ListTlsPoliciesRequest, ListTlsReportsRequest, SendTlsReportsRequest, TlsPolicyEntry,
    TlsReport,
};

use crate::admin::Admin;
use crate::show;

const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What mail to a domain must find at each of its hosts, and who says so: DANE, MTA-STS, the provider.
    Explain {
        /// The domain of recipients.
        domain: String,
    },
    /// MTA-STS policies of other domains, which the cluster keeps once it has seen them.
    Policy {
        #[command(subcommand)]
        command: Policy,
    },
    /// Reports on TLS to other domains (RFC 8460).
    Report {
        #[command(subcommand)]
        command: Report,
    },
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// All that are kept.
    List,
    /// One, with its hosts.
    Show {
        /// The domain of recipients.
        domain: String,
    },
    /// Forget one: it is fetched again when mail goes there next. For a domain that has moved without a new id.
    Flush {
        /// The domain of recipients.
        domain: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Report {
    /// What is counted and not sent yet, and what was sent in the last days.
    List,
    /// Send the reports of a day before their time. What is counted of it afterwards is in no report.
    Send {
        /// In UTC, such as 2026-11-30: today or one of the last three days.
        #[arg(long)]
        day: String,
    },
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Explain { domain } => explain(admin, domain, json).await,
        Command::Policy { command } => policy(admin, command, json).await,
        Command::Report { command } => report(admin, command, json).await,
    }
}

async fn explain(mut admin: Admin, domain: String, json: bool) -> anyhow::Result<()> {
    let request = ExplainTlsRequest { domain };
    let told = admin.explain_tls(request).await?.into_inner();
    if json {
        return show::json(&told);
    }
    println!("domain      {}", told.domain);
    println!("MX records  {}", mx(&told));
    println!("MTA-STS     {}", told.announced);
    match &told.policy {
        Some(policy) => show_policy(policy),
        None => println!("            no policy is kept"),
    }
    for note in &told.notes {
        println!("- {note}");
    }
    for host in &told.hosts {
        println!("\n{}", host.name);
        println!("  {} ({})", host.demand, host.decided_by);
        for record in &host.tlsa {
            println!("  TLSA {record}");
        }
        if !host.no_tlsa.is_empty() {
            println!("  {}", host.no_tlsa);
        }
    }
    Ok(())
}

fn mx(told: &ExplainTlsResponse) -> String {
    match (told.unresolved.as_str(), told.is_mx_secure) {
        ("", true) => format!("{} hosts, validated by DNSSEC", told.hosts.len()),
        ("", false) => format!("{} hosts, not validated by DNSSEC", told.hosts.len()),
        (why, _) => format!("not known: {why}"),
    }
}

fn show_policy(policy: &TlsPolicyEntry) {
    println!(
        "policy      {}, id {}, fetched {} ago, kept until {}",
        policy.mode,
        policy.id,
        show::age(policy.fetched_at_ms),
        show::time(policy.ends_at_ms)
    );
    println!("source      {}", policy.source);
    println!("hosts       {}", show::or_dash(policy.mx.join(", ")));
    if !policy.fault.is_empty() {
        println!("fault       {}", policy.fault);
    }
}

async fn policy(mut admin: Admin, command: Policy, json: bool) -> anyhow::Result<()> {
    match command {
        Policy::List => list(admin, json).await,
        Policy::Show { domain } => {
            let request = GetTlsPolicyRequest { domain };
            let found = admin.get_tls_policy(request).await?.into_inner();
            if json {
                return show::json(&found);
            }
            println!("domain      {}", found.domain);
            show_policy(&found);
            println!(
                "max_age     {}",
                show::span(found.max_age_s.saturating_mul(1000))
            );
            println!("next look   {}", show::until(found.next_look_at_ms));
            Ok(())
        }
        Policy::Flush { domain } => {
            let request = FlushTlsPolicyRequest {
                domain: domain.clone(),
            };
            let flushed = admin.flush_tls_policy(request).await?.into_inner();
            if json {
                return show::json(&flushed);
            }
            match flushed.was_kept {
                true => println!(
                    "The policy of {domain} is forgotten; senders ask for it anew within seconds."
                ),
                false => println!(
                    "No policy of {domain} was kept; senders ask for it anew within seconds."
                ),
            }
            Ok(())
        }
    }
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let (mut policies, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListTlsPoliciesRequest { after, limit: PAGE };
        let page = admin.list_tls_policies(request).await?.into_inner();
        policies.extend(page.policies);
        match policies.last() {
            Some(last) if page.has_more => after = last.domain.clone(),
            _ => break,
        }
    }
    if json {
        return show::json(&policies);
    }
    let mut table = show::table(&["DOMAIN", "MODE", "ID", "AGE", "UNTIL", "SOURCE", "FAULT"]);
    for policy in policies {
        table.add_row([
            policy.domain,
            policy.mode,
            policy.id,
            show::age(policy.fetched_at_ms),
            show::time(policy.ends_at_ms),
            policy.source,
            show::or_dash(policy.fault),
        ]);
    }
    show::print(&table);
    Ok(())
}

async fn report(mut admin: Admin, command: Report, json: bool) -> anyhow::Result<()> {
    match command {
        Report::List => {
            let request = ListTlsReportsRequest { limit: PAGE };
            let found = admin.list_tls_reports(request).await?.into_inner();
            if json {
                return show::json(&found);
            }
            let mut table = show::table(&["DAY", "DOMAIN", "SESSIONS", "FAILED", "SENT", "TO"]);
            let rows = found.counted.into_iter().map(|report| (false, report));
            let sent = found.sent.into_iter().map(|report| (true, report));
            for (is_sent, report) in rows.chain(sent) {
                let when = match is_sent {
                    true => show::time(report.at_ms),
                    false => show::until(report.at_ms),
                };
                let places = places(&report, is_sent);
                table.add_row([
                    report.day,
                    report.domain,
                    report.sessions.to_string(),
                    report.failed.to_string(),
                    when,
                    places,
                ]);
            }
            show::print(&table);
            if found.lost_sessions > 0 {
                println!("{} sessions are in no report.", found.lost_sessions);
            }
            Ok(())
        }
        Report::Send { day } => {
            let request = SendTlsReportsRequest { day: day.clone() };
            let sent = admin.send_tls_reports(request).await?.into_inner();
            if json {
                return show::json(&sent);
            }
            println!(
                "Reports of {day} to {} domains are on their way; `skeinctl tls report list` shows what becomes of them.",
                sent.domains
            );
            Ok(())
        }
    }
}

fn places(report: &TlsReport, is_sent: bool) -> String {
    let places = report
        .places
        .iter()
        .map(|place| match place.fault.as_str() {
            "" => place.place.clone(),
            fault => format!("{} given up: {fault}", place.place),
        });
    let places: Vec<String> = places.collect();
    match (places.is_empty(), is_sent) {
        (true, true) => "not asked for any more".to_owned(),
        _ => show::or_dash(places.join(", ")),
    }
}
