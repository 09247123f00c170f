//! Walks the mail hosts of a domain, and says what a delivery would meet there. Nothing is sent.

mod look;
mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use skein_dns::{Plan, PlanKind, ResolveError, Resolver};

use crate::connect::Server;
use crate::smtp::{self, tls};
use crate::{duration, show};
use look::{Manner, Seen};

/// Hosts that are looked at, the most preferred ones: the largest honest sets have about ten.
const HOSTS_MAX: usize = 10;
/// Addresses of one host that are looked at: one that has more has them for its load.
const ADDRESSES_MAX: usize = 4;
const DNS_PORT: u16 = 53;

#[derive(Debug, Args)]
pub struct Options {
    /// A domain, an address in it, or an address literal such as [192.0.2.1].
    domain: String,
    /// The port of its hosts.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// A name server to ask instead of those of /etc/resolv.conf; may be given again.
    #[arg(long, value_name = "IP[:PORT]", value_parser = name_server)]
    name_server: Vec<SocketAddr>,
    /// Look at IPv4 addresses alone.
    #[arg(long)]
    ipv4: bool,
    /// Look at private addresses too, as senders do with delivery.allow_private_addresses.
    #[arg(long)]
    allow_private: bool,
    /// The name that is said at EHLO: this machine's, unless given.
    #[arg(long, value_name = "NAME", value_parser = smtp::ehlo_name)]
    ehlo: Option<String>,
    /// A CA that senders trust too (delivery.tls_ca), a PEM file; beside those of the web and --ca.
    #[arg(long, env = "SKEINCTL_SMTP_CA", value_name = "FILE")]
    smtp_ca: Option<PathBuf>,
    /// How long each step may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    step_timeout: Duration,
    /// How long all of it may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration::parse)]
    timeout: Duration,
}

fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>();
    let bare = || {
        text.parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, DNS_PORT))
    };
    address
        .or_else(|_| bare())
        .map_err(|_| "is like 192.0.2.53, 127.0.0.1:5353 or [2001:db8::53]:53".to_owned())
}

/// With `--json`.
#[derive(Debug, Serialize)]
struct Report {
    domain: String,
    /// Where its hosts come from: `mx`, `implicit` or `literal`; empty without a plan.
    kind: &'static str,
    hosts: Vec<Seen>,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// Ends with 0 if a delivery would find a host that opens a session.
pub async fn run(server: &Server, options: Options, json: bool) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + options.timeout;
    let given = options.domain.trim();
    let domain = given.rsplit_once('@').map_or(given, |(_, domain)| domain);
    let mut files: Vec<(&str, &Path)> = Vec::new();
    files.extend(server.ca.as_deref().map(|file| ("--ca", file)));
    files.extend(options.smtp_ca.as_deref().map(|file| ("--smtp-ca", file)));
    let manner = Manner {
        ehlo: options.ehlo.clone().unwrap_or_else(smtp::hostname),
        connector: tls::trusting(),
        roots: tls::roots(&files)?,
        step: options.step_timeout,
        until,
        prints: !json,
    };
    let resolver = Resolver::new(skein_dns::Config {
        servers: options.name_server.clone(),
        allow_private: options.allow_private,
        port: options.port,
        use_ipv6: !options.ipv4,
        ..skein_dns::Config::default()
    })?;
    let plan = tokio::time::timeout(options.timeout, resolver.mx_plan(domain)).await;
    let plan = match plan {
        Ok(Ok(plan)) => plan,
        Ok(Err(error)) => return end(no_plan(domain, &error, &options), false, json),
        Err(_) => {
            anyhow::bail!("{domain}: the name servers did not answer in time; try --name-server")
        }
    };
    if !json {
        println!("{}", origin(&plan));
    }
    let (hosts, missed) = walk(&plan, options.port, &manner).await;
    let (verdict, is_open) = verdict::verdict(domain, &hosts, missed);
    let todo = verdict::todo(&hosts).map(str::to_owned);
    let report = Report {
        domain: domain.to_owned(),
        kind: kind(plan.kind),
        hosts,
        verdict,
        todo,
    };
    end(report, is_open, json)
}

fn end(report: Report, is_open: bool, json: bool) -> anyhow::Result<ExitCode> {
    let told = match &report.todo {
        Some(todo) => format!("{}; {todo}", report.verdict),
        None => report.verdict.clone(),
    };
    if json {
        show::json(&report)?;
    } else if is_open {
        println!("\n{told}");
    }
    match is_open {
        true => Ok(ExitCode::SUCCESS),
        false => Err(anyhow::Error::msg(told)),
    }
}

/// In the order in which a delivery takes hosts, but that it draws among those of one preference.
async fn walk(plan: &Arc<Plan>, port: u16, manner: &Manner) -> (Vec<Seen>, usize) {
    let mut seen = Vec::new();
    let mut missed = 0;
    for (nth, host) in plan.hosts.iter().enumerate() {
        for (number, ip) in host.addrs.iter().enumerate() {
            let is_beyond = nth >= HOSTS_MAX || number >= ADDRESSES_MAX;
            if is_beyond || Instant::now() >= manner.until {
                missed += 1;
                continue;
            }
            let address = SocketAddr::new(*ip, port);
            if manner.prints {
                println!("\n{} {} [{ip}]:{port}", host.preference, host.name);
            }
            let one = look::look(&host.name, host.preference, address, manner).await;
            if manner.prints {
                println!("  {}", one.meets.words());
            }
            seen.push(one);
        }
    }
    (seen, missed)
}

fn kind(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Mx => "mx",
        PlanKind::Implicit => "implicit",
        PlanKind::Literal => "literal",
    }
}

fn origin(plan: &Plan) -> String {
    let domain = &plan.domain;
    match (plan.kind, plan.hosts.len()) {
        (PlanKind::Mx, 1) => format!("{domain} has MX records: 1 host"),
        (PlanKind::Mx, count) => format!("{domain} has MX records: {count} hosts"),
        (PlanKind::Implicit, _) => format!("{domain} has no MX records: it is its own mail host"),
        (PlanKind::Literal, _) => format!("{domain} is an address, and asks no name server"),
    }
}

/// What a delivery does that finds no plan.
fn no_plan(domain: &str, error: &ResolveError, options: &Options) -> Report {
    let (class, subject, detail) = error.enhanced();
    let consequence = match error.is_permanent() {
        true => "mail to it bounces at once",
        false => "mail to it waits, and is tried again",
    };
    let todo = match (error.enhanced(), options.allow_private) {
        ((5, 1, 10), _) => "the domain says so itself (RFC 7505); there is nothing to repair here",
        ((5, 1, 2), _) => "look for a slip in the domain",
        ((5, 4, 4), false) => {
            "if its hosts are in your own network, --allow-private looks at them too (senders: \
             delivery.allow_private_addresses)"
        }
        ((4, ..), _) => {
            "try --name-server with another one, and `skeinctl doctor` for those of the senders"
        }
        _ => "its records must be repaired",
    };
    Report {
        domain: domain.to_owned(),
        kind: "",
        hosts: Vec::new(),
        verdict: format!(
            "{}: {consequence} with {class}.{subject}.{detail}",
            error.text()
        ),
        todo: Some(todo.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_have_a_port_or_the_usual_one() {
        for (text, expected) in [
            ("192.0.2.53", Some("192.0.2.53:53")),
            ("127.0.0.1:5353", Some("127.0.0.1:5353")),
            ("2001:db8::53", Some("[2001:db8::53]:53")),
            ("[2001:db8::53]:54", Some("[2001:db8::53]:54")),
            ("ns.example.test", None),
            ("", None),
        ] {
            let found = name_server(text).ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
