//! Brings together what the placement of a task depends on, and takes what it needs.

use std::sync::Arc;

use skein_model::UnixMs;
use skein_policy::Policy;
use tokio::sync::watch;

use crate::automation::active_actions::{ActionsHere, Going};
use crate::config::current::CurrentConfig;
use crate::destination::placement::{Placement, Problem, Units};
use crate::limits::path_policy::{EgressPath, PathPolicies, PathPolicy};
use crate::result::ending::Ending;
use crate::route::find::Route;
use crate::source_ip::budgets::{Budgets, Taken};
use crate::source_ip::pool_choice::PoolState;
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::source::Source;
use crate::source_ip::sources::{Restraints, Sources};
use crate::task::delivery::{DeliveryTask, Routed};

pub struct Placer {
    /// The latest that is known here.
    pub policy: watch::Receiver<Arc<Policy>>,
    pub sources: Sources,
    pub router: Arc<SourceIpRouter>,
    pub budgets: Arc<Budgets<Routed>>,
    pub actions: Arc<ActionsHere>,
    pub path_policies: PathPolicies,
    /// For how long mail is tried.
    pub config: CurrentConfig,
}

impl Placer {
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.borrow().clone()
    }

    /// The group's time.
    pub fn now(&self) -> UnixMs {
        self.actions.now()
    }

    /// Places a task, with the units that it takes on its way. Units that it had taken for another place go back.
    pub fn place(&self, route: &Route, delivery: &mut DeliveryTask) -> Placement {
        let policy = self.policy();
        let suspended = self.actions.suspended(&delivery.task);
        let pool = match &suspended {
            Some(_) => PoolState::Unknown,
            None => {
                delivery.spend = None;
                self.look(&policy, route, delivery)
            }
        };
        let awaited = delivery.awaited.take();
        let problem = Problem {
            suspended,
            filed_site: delivery.task.task.site(),
            site: &route.site,
            route_key: &route.key,
            pool_name: delivery.task.task.pool(&delivery.task.message.envelope),
            pool,
            awaited,
            now: self.budgets.now(),
            expires: delivery.task.task.created + self.config.get().retry.max_age,
        };
        let source = match problem.source() {
            Ok(source) => source,
            Err(ending) => {
                self.tell_if_away(&ending, delivery);
                return Placement::Ended(ending);
            }
        };
        let (ip, units) = (source.0.as_deref(), delivery.units());
        let (units, spend) = match self.budgets.take(&policy, ip, &route.site, units) {
            Taken::Free => (Units::Ready, None),
            Taken::Units(spend) => (Units::Ready, Some(spend)),
            Taken::Ask(target) => (Units::Awaited(target), None),
        };
        let awaited = match &units {
            Units::Ready => None,
            Units::Awaited(target) => Some(target.clone()),
        };
        let path_policy = self.path_policy(route, &source, delivery);
        let placement = problem.place(source, units, &path_policy.label);
        (delivery.spend, delivery.awaited) = (spend, awaited);
        placement
    }

    /// What is known of the IPs that a task may go from.
    fn look(&self, policy: &Policy, route: &Route, delivery: &DeliveryTask) -> PoolState {
        let (going, units) = (delivery.going(&route.site), delivery.units());
        let restraints = Restraints {
            rules: &|ip| self.actions.restraint(ip, going),
            open: &|ip| self.budgets.open(policy, ip, &route.site, units),
        };
        let Going { site, pool, .. } = going;
        if route.hosted.is_some() {
            return self.sources.own_address(site, &restraints);
        }
        let router = &self.router;
        self.sources
            .look(policy, router, pool, site, &route.hosts, &restraints)
    }

    /// The group of a task whose site is left alone keeps the others, too.
    fn tell_if_away(&self, ending: &Ending, delivery: &DeliveryTask) {
        if let Ending::Settled { attempt, .. } = ending
            && let (Some(ip), Some(left)) = (&attempt.away_from, attempt.away_for)
        {
            let health = &self.sources.health;
            health.tell(&attempt.site, ip, delivery.filed(), left.into());
        }
    }

    /// The path policy that holds for a task now.
    pub fn path_policy(
        &self,
        route: &Route,
        source: &Source,
        delivery: &DeliveryTask,
    ) -> Arc<PathPolicy> {
        let path = path(route, source, delivery);
        let policy = self.policy();
        let path_policy = self.path_policies.of(&policy, path);
        self.actions.lowered(path_policy, &policy, path)
    }
}

/// Where a task goes, as policy sees it.
pub fn path<'a>(
    route: &'a Route,
    source: &'a Source,
    delivery: &'a DeliveryTask,
) -> EgressPath<'a> {
    let envelope = &delivery.task.message.envelope;
    EgressPath {
        pool: delivery.task.task.pool(envelope),
        ip: source.name(),
        site: &route.site,
        tenant: &envelope.tenant,
        is_named: route.is_named,
    }
}
