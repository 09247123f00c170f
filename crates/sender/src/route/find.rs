//! Where a task goes: the hosts of its route, or those of its domain.

use std::sync::Arc;

use skein_client::LeasedTask;
use skein_dns::{Plan, PlanKind, ResolveError, Resolver};
use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_policy::{Destination, Policy};
use skein_tls::{SenderWish, TaskTls, TlsPolicy};

use crate::config::Config;
use crate::config::rule::HopPolicy;
use crate::host::Host;
use crate::route::named::named_hosts;
use crate::route::tls::{self, RouteTls, StsPolicies};
use crate::route::{hosted, sites};

#[derive(Debug, Clone)]
pub struct Route {
    /// Tasks with the same key share connections.
    pub key: String,
    /// The site that limits count as one destination; others may have hosts of it, and it may have others.
    pub site: String,
    /// In the order in which they are tried.
    pub hosts: Vec<Host>,
    pub policy: Arc<HopPolicy>,
    /// What hosts must prove.
    pub tls: Arc<RouteTls>,
    /// The operator named the hosts.
    pub is_named: bool,
    /// For domains that the cluster hosts: where the mail goes. The node's own address is what it goes from.
    pub hosted: Option<Arc<Destination>>,
}

/// Hosts of one destination that an attempt tries, so that a long list of dead hosts does not hold a task for an hour.
const HOSTS_TRIED: usize = 8;

pub async fn find(
    config: &Config,
    resolver: &Resolver,
    policy: &Policy,
    sts: &impl StsPolicies,
    task: &LeasedTask,
) -> Result<Route, (Verdict, Reply)> {
    let domain = task.task.domain.as_str();
    if !config.routes.names(domain)
        && let Some(found) = hosted::find(config, resolver, policy, task).await
    {
        return found.map(|found| found.route(task));
    }
    let choice = config.routes.choose(domain);
    let of_task = tls::of_task(task, &choice);
    // Attempts begin at different hosts of equal preference.
    let seed = task.id.message.entropy() ^ u64::from(task.task.attempts);
    let (of_hosts, site, mut hosts, tls) = match choice.hosts.first() {
        Some(first) => {
            let hosts = named_hosts(&choice.hosts, resolver, seed).await;
            let hosts = hosts.map_err(|reply| (Verdict::Deferred, reply))?;
            let tls = RouteTls::of_named(of_task);
            (
                first.to_string(),
                sites::of_route(&choice.hosts),
                hosts,
                tls,
            )
        }
        None => {
            let plan = resolver.mx_plan(domain).await.map_err(refused)?;
            let site = sites::of_plan(policy, domain, &plan);
            let hosts = mx_hosts(config, &plan, seed);
            let tls = mx_tls(sts, of_task, &plan, &hosts).await?;
            (plan.site.clone(), site, hosts, tls)
        }
    };
    tls.bound(&mut hosts, HOSTS_TRIED);
    let label = tls.label(&hosts);
    Ok(Route {
        key: format!("{of_hosts}{}{label}", choice.label),
        site: site.unwrap_or_else(|| domain.to_owned()),
        hosts,
        policy: choice.policy,
        tls: Arc::new(tls),
        is_named: !choice.hosts.is_empty(),
        hosted: None,
    })
}

/// What a domain's MX hosts must prove. Before MTA-STS keeps mail from all of them its policy is looked at again: the hosts may have
/// moved since it was fetched (RFC 8461 5).
async fn mx_tls(
    sts: &impl StsPolicies,
    mut task: TaskTls,
    plan: &Plan,
    hosts: &[Host],
) -> Result<RouteTls, (Verdict, Reply)> {
    task.mx = plan.security;
    let is_asked = task.route.is_none()
        && task.node != TlsPolicy::Disable
        && task.wish != SenderWish::NotRequired
        && plan.kind != PlanKind::Literal;
    if !is_asked {
        return Ok(RouteTls::of_plan(task, plan));
    }
    let look = async |again| {
        let found = sts.sts_policy(&plan.domain, again).await;
        found.map_err(|error| {
            let text = format!(
                "whether {} has an MTA-STS policy is not known: {error}",
                plan.domain
            );
            (Verdict::Deferred, Reply::ours((4, 7, 5), text))
        })
    };
    task.sts = look(false).await?;
    let mut tls = RouteTls::of_plan(task, plan);
    if tls.leaves_none(hosts) {
        tls.task.sts = look(true).await?;
    }
    Ok(tls)
}

impl hosted::Found {
    fn route(self, task: &LeasedTask) -> Route {
        let is_forwarded = matches!(*self.destination, Destination::Smtp(_));
        let of_task = TaskTls {
            domain: task.task.domain.as_str().to_owned(),
            route: Some(self.policy.tls),
            is_named: true,
            // What is delivered for good need not go over TLS (RFC 8689 5).
            wish: match is_forwarded {
                true => tls::wish(&task.message.envelope),
                false => SenderWish::None,
            },
            ..TaskTls::default()
        };
        let tls = RouteTls::of_named(of_task);
        Route {
            key: format!("{}{}", self.key, tls.label(&self.hosts)),
            site: self.site,
            hosts: self.hosts,
            policy: self.policy,
            tls: Arc::new(tls),
            is_named: true,
            hosted: Some(self.destination),
        }
    }
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
