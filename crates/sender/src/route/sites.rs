//! Which site a domain is of: what is throttled as one destination.

use std::sync::Arc;
use std::time::Duration;

use skein_client::{LeasedTask, Spool};
use skein_dns::{Plan, Resolver};
use skein_model::is_site_name;
use skein_model::spool::{MOVES_MAX, Refile, TaskRow};
use skein_policy::Policy;
use tokio::sync::watch;

use crate::config::current::CurrentConfig;
use crate::config::rule::RouteHost;

/// The maker of a message waits this long for the site of a domain, and no longer.
const SOON: Duration = Duration::from_secs(1);

/// Looks sites up. Clones share what the resolver knows.
#[derive(Clone)]
pub struct Sites {
    config: CurrentConfig,
    resolver: Arc<Resolver>,
    policy: watch::Receiver<Arc<Policy>>,
}

impl std::fmt::Debug for Sites {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sites").finish_non_exhaustive()
    }
}

impl Sites {
    pub(crate) fn new(
        config: CurrentConfig,
        resolver: Arc<Resolver>,
        policy: watch::Receiver<Arc<Policy>>,
    ) -> Self {
        Self {
            config,
            resolver,
            policy,
        }
    }

    /// The site of a domain in lower-case A-labels. None: its MX hosts are not known now.
    pub async fn site_of(&self, domain: &str) -> Option<String> {
        let config = self.config.get();
        let choice = config.routes.choose(domain);
        if !choice.hosts.is_empty() {
            return of_route(&choice.hosts);
        }
        let policy = self.policy.borrow().clone();
        if let Some(provider) = policy.site_of(domain, &[]).name {
            return Some(provider.to_string());
        }
        let plan = self.resolver.mx_plan(domain).await.ok()?;
        of_plan(&policy, domain, &plan)
    }

    /// The same, if it is known soon.
    pub async fn soon(&self, domain: &str) -> Option<String> {
        let found = tokio::time::timeout(SOON, self.site_of(domain)).await;
        found.ok().flatten()
    }
}

/// The hosts that an operator named are one site, whatever is sent there.
pub(crate) fn of_route(hosts: &[RouteHost]) -> Option<String> {
    let site = hosts.first()?.to_string();
    is_site_name(&site).then_some(site)
}

/// The provider, else the set of MX hosts.
pub(crate) fn of_plan(policy: &Policy, domain: &str, plan: &Plan) -> Option<String> {
    let hosts: Vec<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    let site = match policy.site_of(domain, &hosts).name {
        Some(provider) => provider.to_string(),
        None => plan.site.clone(),
    };
    is_site_name(&site).then_some(site)
}

/// Whether a task belongs under the site that it turns out to be of, and not under the one that it is filed under.
///
/// One that is filed under a set of MX hosts stays when the set changes: it does so whenever a host does not resolve.
pub(crate) fn is_elsewhere(policy: &Policy, task: &TaskRow, site: &str) -> bool {
    let is_of_hosts = task.site.is_some() && policy.provider(task.site()).is_none();
    let may_move = !is_of_hosts || policy.provider(site).is_some();
    task.site() != site && may_move && task.moves < MOVES_MAX
}

/// The wish to have a task filed under this site.
pub(crate) fn refile(task: &LeasedTask, spool: &Spool, site: &str) -> Refile {
    let domain = task.task.domain.as_str();
    Refile {
        task: task.id,
        session: task.session,
        epoch: task.epoch,
        site: (site != domain).then(|| site.to_owned()),
        slot: spool.slot(site, task.id.message),
        moves: task.task.moves,
    }
}

#[cfg(test)]
#[path = "sites_tests.rs"]
mod tests;
