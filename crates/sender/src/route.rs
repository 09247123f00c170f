//! Where a task goes: the smarthost, or the hosts of its domain.

use skein_client::Assigned;
use skein_dns::{ResolveError, Resolver};
use skein_model::Reply;
use skein_model::spool::Verdict;

use crate::config::Config;
use crate::connect::Host;

#[derive(Debug, Clone)]
pub struct Route {
    /// Tasks with the same key share connections.
    pub key: String,
    pub site: String,
    /// In the order in which they are tried.
    pub hosts: Vec<Host>,
}

/// Hosts of one destination that an attempt tries, so that a long list of dead hosts does not hold a task for an hour.
const HOSTS_TRIED: usize = 8;

pub async fn find(
    config: &Config,
    resolver: &Resolver,
    task: &Assigned,
) -> Result<Route, (Verdict, Reply)> {
    if let Some(smarthost) = &config.smarthost {
        let addresses = resolver
            .addresses(&smarthost.host)
            .await
            .map_err(|error| refused(&error))?;
        let hosts = addresses
            .into_iter()
            .take(HOSTS_TRIED)
            .map(|address| Host {
                name: smarthost.host.clone(),
                address,
                port: smarthost.port,
            })
            .collect();
        let key = format!("{}:{}", smarthost.host, smarthost.port);
        return Ok(Route {
            site: key.clone(),
            key,
            hosts,
        });
    }
    let domain = task.task.domain.as_str();
    let plan = resolver
        .mx_plan(domain)
        .await
        .map_err(|error| refused(&error))?;
    let seed = task.id.message.entropy() ^ u64::from(task.task.attempts);
    let hosts = skein_dns::order(&plan, seed)
        .into_iter()
        .take(HOSTS_TRIED)
        .map(|(name, address)| Host {
            name,
            address,
            port: config.port,
        })
        .collect();
    Ok(Route {
        key: plan.site.clone(),
        site: plan.site.clone(),
        hosts,
    })
}

fn refused(error: &ResolveError) -> (Verdict, Reply) {
    let verdict = if error.is_permanent() {
        Verdict::Failed
    } else {
        Verdict::Deferred
    };
    (verdict, Reply::ours(error.enhanced(), error.text()))
}
