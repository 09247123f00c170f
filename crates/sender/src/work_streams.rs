//! Tasks of the work streams on their way to their destinations.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use skein_client::{
    Cluster, KeptSession, Lease, LeasedTask, Reporter, Spool, Spools, TlsPolicies, Work,
};
use skein_dns::Resolver;
use skein_model::GroupId;
use skein_runtime::watched;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::claim::Slots;
use crate::config::current::CurrentConfig;
use crate::destination::destinations::Destinations;
use crate::result::ending::Ending;
use crate::result::recovered::Recovered;
use crate::route::find;
use crate::route::sites;
use crate::task::delivery::{DeliveryTask, TaskGuard};

/// Finds the route of each task that arrives.
pub struct TaskRouter {
    pub config: CurrentConfig,
    pub resolver: Arc<Resolver>,
    /// What domains publish of TLS.
    pub tls_policies: TlsPolicies,
    /// From the journal of the process before this one.
    pub recovered: Recovered,
    pub destinations: Arc<Destinations>,
}

/// The work streams of all spool groups under one session. They end with this.
pub struct WorkStreams {
    pub session: Arc<KeptSession>,
    pub slots: Arc<Slots>,
    /// How far each stream has followed the changes of the session's slots.
    pub reached: Arc<Mutex<Vec<watch::Receiver<u64>>>>,
    router: Arc<TaskRouter>,
    reporters: BTreeMap<GroupId, Reporter>,
    streams: JoinSet<()>,
}

/// The tasks of one spool group.
struct WorkStream {
    router: Arc<TaskRouter>,
    spool: Spool,
    lease: Lease,
    slots: Arc<Slots>,
}

impl WorkStreams {
    pub fn new(router: Arc<TaskRouter>, session: Arc<KeptSession>, slots: Arc<Slots>) -> Self {
        Self {
            session,
            slots,
            reached: Arc::default(),
            router,
            reporters: BTreeMap::new(),
            streams: JoinSet::new(),
        }
    }

    /// Opens the streams of groups that have none. The window is for all groups together; each gets all of it while there is
    /// one.
    pub fn open(&mut self, spools: &Spools, window: u32) {
        let groups = spool_groups(spools.cluster());
        let count = u32::try_from(groups.len()).unwrap_or(1);
        let window = (window / count.max(1)).max(1);
        for group in groups {
            let Entry::Vacant(entry) = self.reporters.entry(group) else {
                continue;
            };
            let spool = spools.get(group);
            let work = spool.work(self.session.session.clone(), window);
            entry.insert(work.reporter());
            self.reached.lock().push(work.applied_change());
            let stream = WorkStream {
                router: self.router.clone(),
                spool,
                lease: self.session.lease.clone(),
                slots: self.slots.clone(),
            };
            self.streams.spawn(watched("take-tasks", stream.take(work)));
        }
    }

    /// Groups whose tasks do not come now.
    pub fn unreachable(&self) -> BTreeSet<GroupId> {
        let all = self.reporters.iter();
        let unreachable = all.filter(|(_, reporter)| !reporter.is_open());
        unreachable.map(|(group, _)| *group).collect()
    }
}

fn spool_groups(cluster: &Cluster) -> Vec<GroupId> {
    let view = cluster.view();
    let groups = view.keys().filter(|group| **group != GroupId::META);
    groups.copied().collect()
}

impl WorkStream {
    /// Takes tasks for as long as some come.
    async fn take(self, mut work: Work) {
        while let Some(tasks) = work.next().await {
            for task in tasks {
                let delivery = self.delivery(task, work.reporter());
                let router = self.router.clone();
                tokio::spawn(async move { router.route(delivery).await });
            }
        }
    }

    fn delivery(&self, task: LeasedTask, reporter: Reporter) -> DeliveryTask {
        let held = &self.router.destinations.outbound.metrics.held;
        DeliveryTask {
            claim: self.slots.claim(task.task.slot, task.epoch),
            held: TaskGuard::new(held.clone(), reporter.clone(), &task),
            spend: None,
            content: OnceLock::new(),
            awaited: None,
            was_cut: false,
            trace: None,
            task,
            reporter,
            spool: self.spool.clone(),
            lease: self.lease.clone(),
        }
    }
}

impl TaskRouter {
    /// Finds the route of one task, and has it placed.
    async fn route(&self, delivery: DeliveryTask) {
        let is_done = tokio::select! {
            is_done = self.recovered.contradicts(&delivery.task) => is_done,
            () = delivery.claim.stop.cancelled() => true,
        };
        if is_done {
            return;
        }
        let (placer, results) = (&self.destinations.placer, &self.destinations.results);
        if let Some(ending) = self.ending(&delivery.task) {
            return results.end(delivery, ending);
        }
        let policy = placer.policy();
        let config = self.config.get();
        let found = tokio::select! {
            found = find::find(&config, &self.resolver, &policy, &self.tls_policies, &delivery.task) => found,
            () = delivery.claim.stop.cancelled() => return,
        };
        match found {
            Ok(route) if sites::is_elsewhere(&policy, &delivery.task.task, &route.site) => {
                results.refile(delivery, &route.site);
            }
            Ok(route) if route.hosted.is_some() => self.destinations.push(route, delivery),
            Ok(route) => {
                let pool = delivery.task.task.pool(&delivery.task.message.envelope);
                tokio::select! {
                    () = placer.router.wait_until_placed(&policy, pool) => {}
                    () = delivery.claim.stop.cancelled() => return,
                }
                self.destinations.push(route, delivery);
            }
            Err((verdict, reply)) => {
                let ending = Ending::at(delivery.task.task.domain.as_str(), verdict, reply);
                results.end(delivery, ending);
            }
        }
    }

    /// How a task ends before its route is looked for, if it does.
    fn ending(&self, task: &LeasedTask) -> Option<Ending> {
        let actions = &self.destinations.placer.actions;
        Ending::of_age(&self.config.get().retry, task, actions.now()).or_else(|| {
            let suspended = actions.suspended(task)?;
            Some(Ending::of_suspended(suspended, task.task.site()))
        })
    }
}
