//! Where a task goes: the hosts of its route, or those of its domain.

use std::sync::Arc;

use futures::future::join_all;
use skein_client::LeasedTask;
use skein_dns::{Plan, ResolveError, Resolver};
use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_policy::Policy;

use crate::config::Config;
use crate::config::rule::{HopPolicy, RouteHost};
use crate::host::Host;
use crate::route::sites;
use crate::smtp::outgoing::requires_tls;

#[derive(Debug, Clone)]
pub struct Route {
    /// Tasks with the same key share connections.
    pub key: String,
    /// The site that limits count as one destination; others may have hosts of it, and it may have others.
    pub site: String,
    /// In the order in which they are tried.
    pub hosts: Vec<Host>,
    pub policy: Arc<HopPolicy>,
    /// The sender asked for TLS (RFC 8689): a message that cannot have it fails.
    pub requires_tls: bool,
    /// The operator decided about the domain.
    pub has_rule: bool,
    /// The operator named the hosts.
    pub is_named: bool,
}

/// Hosts of one destination that an attempt tries, so that a long list of dead hosts does not hold a task for an hour.
const HOSTS_TRIED: usize = 8;

pub async fn find(
    config: &Config,
    resolver: &Resolver,
    policy: &Policy,
    task: &LeasedTask,
) -> Result<Route, (Verdict, Reply)> {
    let domain = task.task.domain.as_str();
    let requires_tls = requires_tls(&task.message.envelope);
    let choice = config.routes.choose(domain, requires_tls);
    // Attempts begin at different hosts of equal preference.
    let seed = task.id.message.entropy() ^ u64::from(task.task.attempts);
    let (of_hosts, site, mut hosts) = match choice.hosts.first() {
        Some(first) => {
            let hosts = named_hosts(&choice.hosts, resolver, seed).await;
            let hosts = hosts.map_err(|reply| (Verdict::Deferred, reply))?;
            (first.to_string(), sites::of_route(&choice.hosts), hosts)
        }
        None => {
            let plan = resolver.mx_plan(domain).await.map_err(refused)?;
            let site = sites::of_plan(policy, domain, &plan);
            (plan.site.clone(), site, mx_hosts(config, &plan, seed))
        }
    };
    hosts.truncate(HOSTS_TRIED);
    Ok(Route {
        key: format!("{of_hosts}{}", choice.label),
        site: site.unwrap_or_else(|| domain.to_owned()),
        hosts,
        policy: choice.policy,
        requires_tls,
        has_rule: choice.is_rule,
        is_named: !choice.hosts.is_empty(),
    })
}

fn mx_hosts(config: &Config, plan: &Plan, seed: u64) -> Vec<Host> {
    let ordered = skein_dns::order(plan, seed).into_iter();
    let hosts = ordered.map(|(name, address)| Host {
        name,
        address,
        port: config.port,
    });
    hosts.collect()
}

/// The addresses of the hosts that an operator named. Whatever is wrong with the names, the mail waits:
/// the operator's mistake must not bounce it.
async fn named_hosts(
    names: &[RouteHost],
    resolver: &Resolver,
    seed: u64,
) -> Result<Vec<Host>, Reply> {
    let answers = join_all(names.iter().map(|host| resolver.addresses(&host.name))).await;
    let own = resolver.own_addresses();
    let mut hosts = Vec::new();
    let mut failure = Reply::ours((4, 4, 4), "the route has no host");
    for (host, answer) in names.iter().zip(answers) {
        match answer {
            Ok(addresses) => {
                let (ours, others): (Vec<_>, Vec<_>) = addresses
                    .into_iter()
                    .partition(|address| own.is_listener(*address, host.port));
                if !ours.is_empty() {
                    let text = format!("route to {host}: it leads back to this host");
                    failure = Reply::ours((4, 4, 6), text);
                }
                let ordered = skein_dns::order_addresses(&others, seed);
                hosts.extend(ordered.into_iter().map(|address| Host {
                    name: host.name.clone(),
                    address,
                    port: host.port,
                }));
            }
            Err(error) if error.is_permanent() => {
                failure = Reply::ours((4, 4, 4), format!("route to {host}: {error}"));
            }
            Err(error) => failure = Reply::ours(error.enhanced(), error.text()),
        }
    }
    match hosts.is_empty() {
        true => Err(failure),
        false => Ok(hosts),
    }
}

fn refused(error: ResolveError) -> (Verdict, Reply) {
    let verdict = if error.is_permanent() {
        Verdict::Failed
    } else {
        Verdict::Deferred
    };
    (verdict, Reply::ours(error.enhanced(), error.text()))
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
