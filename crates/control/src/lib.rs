//! The control function of a node: its Raft groups, the sessions of senders, dispensing, and the admin API.

mod access;
mod admin;
mod backup;
mod clock;
mod cluster;
mod config;
mod disk;
mod domains;
mod events;
mod https;
mod metrics;
mod peer_service;
mod policy;
mod raft;
mod senders;
mod spool;
mod tls_policies;
mod tls_reports;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use access::Router;
pub use clock::now;
pub use cluster::{CertificateEnds, Expelled, OwnHealth};
pub use config::{Config, DomainSettings, FindMx, MxHosts};
pub use events::{AutomationEvents, EventReader, MetaEvents};
use futures::future::join_all;
pub use https::Https;
use skein_client::{Channels, Spools};
use skein_model::doctor::group_name;
use skein_model::{GroupId, NodeId, meta};
pub use skein_store::Options as StoreOptions;
use skein_store::{Hooks, MetaMachine, Reader, Store};
use skein_wire::internal::peer_server::PeerServer;
use skein_wire::internal::sessions_server::SessionsServer;
use skein_wire::internal::spool_server::SpoolServer;
pub use skein_wire::v1::NodeRole;
use skein_wire::v1::admin_server::AdminServer;
pub use tls_policies::TlsPolicySettings;
pub use tls_reports::{Reporter, TlsReportSettings};
use tokio::sync::{Mutex, watch};
use tonic::transport::server::Server;

use crate::cluster::{Members, Misfit, Standing, node_id};
use crate::disk::Relief;
use crate::domains::Domains;
use crate::metrics::Surveys;
use crate::peer_service::PeerService;
use crate::raft::{Forward, Group, GroupError, VersionGate, start_group};
use crate::senders::SessionsService;
use crate::spool::byte_rate::ByteRate;
use crate::spool::{LOOK_FOR_LEADER, SpoolGroup, SpoolService, dispatch_feed, start_spool};
use crate::tls_policies::TlsPolicies;
use crate::tls_reports::TlsReports;

/// A frame of the internal protocol: up to 1 MiB of items and one item of 1 MiB, or a batch of tasks with bodies.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Calls at a time on one connection of an operator: `skeinctl` has one or two, and each that never ends holds memory.
const ADMIN_STREAMS_MAX: u32 = 32;
const MEET_AGAIN: Duration = Duration::from_millis(300);
/// A group's core that takes longer to say how it is waits for a disk that does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("data_dir: opening {}", dir.display())]
    NodeId {
        dir: PathBuf,
        source: std::io::Error,
    },
    #[error("opening the store")]
    Store(#[from] skein_store::OpenError),
    #[error(transparent)]
    Expelled(#[from] Expelled),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error(transparent)]
    Raft(#[from] GroupError),
}

/// A running control function.
pub struct Control {
    config: Config,
    node: NodeId,
    started_at: skein_model::UnixMs,
    store: Arc<Store>,
    groups: Arc<BTreeMap<GroupId, Arc<Group>>>,
    meta_reader: Reader,
    meta_applied: watch::Receiver<()>,
    sessions: SessionsService,
    spools: Arc<BTreeMap<GroupId, SpoolGroup>>,
    peers: Channels,
    versions: VersionGate,
    refusals: access::Refusals,
    is_stopping: Arc<AtomicBool>,
    own_health: Arc<OwnHealth>,
    in_force: policy::InForce,
    admission: Arc<Mutex<()>>,
    surveys: Surveys,
    byte_rate: Arc<ByteRate>,
    domains: Domains,
    tls_policies: TlsPolicies,
    tls_reports: TlsReports,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// How many spool groups the node has: as many as its directory, or as the cluster that it is to join, or as it was told.
async fn spool_groups(
    store: &Store,
    peers: &Channels,
    node: NodeId,
    config: &Config,
) -> Result<u16, StartError> {
    let founded = meta::cluster(&store.reader(GroupId::META)).map(|row| row.spool_groups);
    let standing = Standing {
        members: store.members(GroupId::META)?,
        spool_groups: founded.unwrap_or_else(|| store.spool_groups()),
    };
    let own = standing.check(node, config)?;
    if !standing.members.is_empty() || !config.spool_groups_by_default {
        return Ok(own);
    }
    let theirs = cluster::spool_groups_of_cluster(peers, config).await;
    Ok(theirs.unwrap_or(own))
}

/// Begins what keeps the meta group in step with its policy, and its time, while this node leads it.
fn follow_policy(
    meta: &Arc<Group>,
    reader: &Reader,
    in_force: &policy::InForce,
    full: &policy::FullTenants,
    spools: Vec<Reader>,
) {
    let pass_time = policy::pass_time(meta.clone(), reader.clone());
    skein_runtime::task("pass-time", pass_time);
    let keep_plans = policy::keep_plans(meta.clone(), reader.clone(), in_force.clone());
    skein_runtime::task("warmup-plans", keep_plans);
    let keep_rules = policy::keep_rules(meta.clone(), reader.clone(), in_force.clone());
    skein_runtime::task("automation-rules", keep_rules);
    let quotas = policy::count_quotas(meta.clone(), reader.clone(), spools.clone(), full.clone());
    skein_runtime::task("quotas", quotas);
    let site_spread = policy::spread_sites(meta.clone(), reader.clone(), spools);
    skein_runtime::task("site-spread", site_spread);
}

/// Begins what keeps the TLS policies of other domains while this node leads the meta group.
fn tls(
    config: &Config,
    meta: &Arc<Group>,
    reader: &Reader,
    forward: &Forward,
) -> (TlsPolicies, TlsReports) {
    let settings = config.tls_reports.clone();
    let reports = TlsReports::new(settings, meta.clone(), reader.clone(), forward);
    let policies = TlsPolicies::new(
        config.tls_policies.clone(),
        meta.clone(),
        reader.clone(),
        forward.clone(),
        reports.clone(),
    );
    let refresh = tls_policies::refresh(policies.clone());
    skein_runtime::task("tls-policies", refresh);
    (policies, reports)
}

impl Control {
    /// Opens the store and starts the groups. A node that is alone leads them when this returns; one of a cluster
    /// needs its services served and [`Control::take_part`].
    ///
    /// # Errors
    /// The data directory cannot be used, or its content cannot be trusted.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        let node = node_id::load_or_create(&config.data_dir);
        let node = node.map_err(|source| StartError::NodeId {
            dir: config.data_dir.clone(),
            source,
        })?;
        if let Some(out) = Expelled::of(&config.data_dir) {
            return Err(out.into());
        }
        let (dir, options) = (config.data_dir.clone(), config.store.clone());
        let store = tokio::task::spawn_blocking(move || Store::open(&dir, options))
            .await
            .expect("opening the store does not panic")?;
        skein_runtime::task("clock", clock::follow());
        skein_runtime::task("disk-watch", disk::watch(store.disk().clone()));
        let peers = Channels::new(config.connect.clone());
        let meta_reader = store.reader(GroupId::META);
        config.spool_groups = spool_groups(&store, &peers, node, &config).await?;
        let (applied, meta_applied) = watch::channel(());
        let hooks = Hooks {
            on_effects: Arc::new(move |_: Vec<()>| {
                applied.send_replace(());
            }),
            ..Hooks::default()
        };
        let meta = start_group(&store, &peers, node, GroupId::META, MetaMachine, hooks);
        let meta = meta.await?;
        let mut groups = BTreeMap::from([(GroupId::META, meta.clone())]);
        let mut spools = BTreeMap::new();
        let byte_rate = Arc::new(ByteRate::new(config.pull_bytes_per_second));
        for number in 1..=config.spool_groups {
            let id = GroupId(number);
            let spool =
                start_spool(&store, &peers, &byte_rate, node, id, meta_reader.clone()).await?;
            groups.insert(id, spool.group.clone());
            spools.insert(id, spool);
        }
        let dispatches = spools.values().map(|spool| spool.dispatch.clone());
        let weights = dispatch_feed::follow(
            meta_reader.clone(),
            meta_applied.clone(),
            dispatches.collect(),
        );
        skein_runtime::task("words", weights);
        let in_force = policy::InForce::default();
        let readers = spools.values().map(|spool| spool.reader.clone());
        let full = policy::FullTenants::default();
        follow_policy(&meta, &meta_reader, &in_force, &full, readers.collect());
        let versions = VersionGate::new(meta.clone(), peers.clone());
        for spool in spools.values() {
            let count = spool::take_up(spool.clone(), versions.clone());
            tokio::spawn(count);
        }
        let groups = Arc::new(groups);
        let forward = Forward {
            groups: groups.clone(),
            peers: peers.clone(),
            versions: versions.clone(),
        };
        let settings = config.domains.clone();
        let domains = Domains::new(settings, meta_reader.clone(), forward.clone());
        let look_after = domains::look_after(domains.clone(), meta.clone());
        skein_runtime::task("domains", look_after);
        let (tls_policies, tls_reports) = tls(&config, &meta, &meta_reader, &forward);
        let control = Self {
            refusals: access::Refusals::new(access::Audit::new(forward)),
            domains,
            sessions: SessionsService::start(
                meta,
                meta_reader.clone(),
                meta_applied.clone(),
                versions.clone(),
                tls_policies.clone(),
                tls_reports.clone(),
                full,
            ),
            tls_policies,
            tls_reports,
            versions,
            meta_applied,
            config,
            node,
            started_at: now(),
            store,
            groups,
            meta_reader,
            spools: Arc::new(spools),
            peers,
            is_stopping: Arc::default(),
            own_health: Arc::default(),
            in_force,
            admission: Arc::default(),
            surveys: Surveys::default(),
            byte_rate,
        };
        control.members().begin_to_look();
        if control.config.founders.is_empty() && control.config.peers.is_empty() {
            control
                .initialize(BTreeMap::from([(node, control.config.address.clone())]))
                .await?;
            control.wait_until_leading().await;
        }
        control.look_after_disk();
        Ok(control)
    }

    /// Drops bodies that belong to no message, and begins what makes room when the disk is full.
    fn look_after_disk(&self) {
        let readers = self
            .spools
            .iter()
            .map(|(id, spool)| (*id, spool.reader.clone()));
        spool::sweep_orphans(self.store.bodies(), readers.collect());
        let relief = Relief {
            store: self.store.clone(),
            spools: self.spools.clone(),
            members: self.members(),
        };
        skein_runtime::task("disk-relief", relief.run());
    }

    /// Takes over how much of the disk this node takes, in percents, and how fast it pulls bodies.
    pub fn set_storage(&self, soft_mark: u8, hard_mark: u8, pull_bytes_per_second: u64) {
        self.store.disk().set_marks(soft_mark, hard_mark);
        self.byte_rate.set(pull_bytes_per_second);
    }

    /// Encrypts private keys with this key from now on; none: no keys are made here.
    pub fn set_dkim_keys(&self, keks: Option<skein_dkim::at_rest::Keks>) {
        self.domains.set_keks(keks);
    }

    /// Begins to send reports on TLS while this node leads the meta group; `spools` are this cluster's groups as clients reach
    /// them.
    pub fn send_tls_reports(&self, spools: Spools) {
        let keks = self.domains.held_keks();
        let send = self.tls_reports.clone().send(spools, keks);
        skein_runtime::task("tls-reports", send);
    }

    async fn initialize(&self, members: BTreeMap<NodeId, String>) -> Result<(), StartError> {
        for group in self.groups.values() {
            group.initialize(&members).await?;
        }
        Ok(())
    }

    async fn wait_until_leading(&self) {
        while !self.spools.values().all(|spool| spool.dispatch.leads())
            || !self.groups[&GroupId::META].is_leader()
        {
            tokio::time::sleep(LOOK_FOR_LEADER).await;
        }
    }

    /// Makes the cluster or joins it, and keeps its members as they should be. Completes only when the cluster does
    /// without this node.
    pub async fn take_part(&self) -> Expelled {
        let members = self.members();
        for group in self.groups.values() {
            let reconcile = members.clone().reconcile(group.clone());
            skein_runtime::task("members", reconcile);
        }
        let sessions = self.sessions.clone();
        let spread = members.clone().spread(move || sessions.is_sender_silent());
        skein_runtime::task("leaders", spread);
        // It ends when the cluster is made.
        tokio::spawn(members.clone().look_for_peers());
        let founding = async {
            if let Err(error) = self.found().await {
                tracing::error!(%error, "the cluster cannot be made");
            }
            std::future::pending().await
        };
        // A founder whose disk was lost is no member, and need not be met: the others made the cluster without it.
        let out = tokio::select! {
            () = members.announce() => Expelled::Removed,
            group = members.outvoted() => Expelled::Differs(group),
            out = founding => out,
        };
        out.note(&self.config.data_dir);
        out
    }

    /// Makes the cluster if none of its founders knows one. The first of them does it when it has met all others, and
    /// once: a founder that comes later finds members.
    async fn found(&self) -> Result<(), StartError> {
        if self.config.founders.first() != Some(&self.config.address) {
            return Ok(());
        }
        while !self.groups[&GroupId::META].is_member() {
            if let Some(members) = cluster::meet(&self.peers, &self.config.founders).await {
                return self.initialize(members).await;
            }
            tokio::time::sleep(MEET_AGAIN).await;
        }
        Ok(())
    }

    /// The services that senders and other control nodes use.
    pub fn internal_router(&self) -> Router {
        let service = SpoolService::new(self.spools.clone(), self.versions.clone());
        let spool = SpoolServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let peer = PeerServer::new(PeerService {
            store: self.store.clone(),
            members: self.members(),
            sessions: self.sessions.clone(),
        })
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Server::builder()
            .initial_stream_window_size(skein_client::STREAM_WINDOW)
            .initial_connection_window_size(skein_client::CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(skein_client::KEEPALIVE))
            .http2_keepalive_timeout(Some(skein_client::KEEPALIVE_WITHIN))
            .layer(access::Access::default())
            .add_service(spool)
            .add_service(peer)
            .add_service(SessionsServer::new(self.sessions.clone()))
    }

    fn forward(&self) -> Forward {
        Forward {
            groups: self.groups.clone(),
            peers: self.peers.clone(),
            versions: self.versions.clone(),
        }
    }

    fn members(&self) -> Members {
        Members {
            node: self.node,
            config: self.config.clone(),
            meta: self.meta_reader.clone(),
            forward: self.forward(),
            spools: self.spools.clone(),
            is_stopping: self.is_stopping.clone(),
            disk: self.store.disk().clone(),
            own_health: self.own_health.clone(),
            in_force: self.in_force.clone(),
            admission: self.admission.clone(),
        }
    }

    /// The services that people use. `spools` are this cluster's groups as clients reach them.
    pub fn admin_router(&self, spools: Spools) -> Router {
        let admin = admin::AdminService {
            config: self.config.clone(),
            started_at: self.started_at,
            node: self.node,
            meta: self.meta_reader.clone(),
            spools: self.spools.clone(),
            forward: self.forward(),
            members: self.members(),
            sessions: self.sessions.clone(),
            audit: self.refusals.audit.clone(),
            domains: self.domains.clone(),
            tls_policies: self.tls_policies.clone(),
        };
        let backup = backup::BackupService {
            config: self.config.clone(),
            store: self.store.clone(),
            meta: self.meta_reader.clone(),
            groups: self.spools.clone(),
            forward: self.forward(),
            spools,
            audit: self.refusals.audit.clone(),
        };
        let tokens = access::Tokens::new(self.meta_reader.clone());
        let access = access::Access::of_managers(tokens, self.refusals.clone());
        Server::builder()
            .http2_keepalive_interval(Some(skein_client::KEEPALIVE))
            .http2_keepalive_timeout(Some(skein_client::KEEPALIVE_WITHIN))
            .max_concurrent_streams(ADMIN_STREAMS_MAX)
            .layer(access)
            .add_service(AdminServer::new(admin))
            .add_service(backup.server())
    }

    /// The event logs of all groups, each from the first event that no sink has taken yet.
    pub fn events(&self) -> Vec<EventReader> {
        let readers = self.spools.values().map(|spool| {
            EventReader::new(
                spool.group.clone(),
                spool.reader.clone(),
                spool.dispatch.clone(),
            )
        });
        readers.collect()
    }

    /// What automation and operators did, from the first event that no sink has taken yet.
    pub fn automation_events(&self) -> AutomationEvents {
        AutomationEvents::new(
            self.groups[&GroupId::META].clone(),
            self.meta_reader.clone(),
            self.meta_applied.clone(),
        )
    }

    /// What happens to domains and what people change, from the first event that no sink has taken yet.
    pub fn meta_events(&self) -> MetaEvents {
        MetaEvents::new(
            self.groups[&GroupId::META].clone(),
            self.meta_reader.clone(),
            self.meta_applied.clone(),
            self.versions.clone(),
        )
    }

    /// Why this node must be started again, if it must: a group does nothing any more. The process is about to end then.
    pub fn broken(&self) -> Option<String> {
        self.groups.iter().find_map(|(id, group)| {
            let failure = group.failure()?;
            Some(format!("{} has failed: {failure}", group_name(*id)))
        })
    }

    /// The conditions under which this node can be relied on, each by name, with why it does not hold: first the one that
    /// explains the rest.
    pub async fn readiness(&self) -> Vec<(String, Option<String>)> {
        let founding = self.own_health.founding();
        let mut found = vec![
            ("invariants".to_owned(), self.broken()),
            (
                "cluster".to_owned(),
                founding.map(|founding| founding.text()),
            ),
        ];
        // All at once: a probe has its time for all of them together.
        let groups = self.groups.iter().map(|(id, group)| async move {
            let unready = tokio::time::timeout(ANSWER_WITHIN, group.not_ready()).await;
            let unready = unready.unwrap_or_else(|_| Some("does not answer".to_owned()));
            let why = unready.map(|why| format!("of {}, this node {why}", group_name(*id)));
            let name = match *id {
                GroupId::META => "group-meta".to_owned(),
                GroupId(number) => format!("group-{number}"),
            };
            (name, why)
        });
        found.extend(join_all(groups).await);
        found
    }

    /// Size of the file system that holds the data directory.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk().status().usage.capacity
    }

    /// Where this process says what it knows of itself.
    pub fn own_health(&self) -> Arc<OwnHealth> {
        self.own_health.clone()
    }

    /// Stops the groups; what is committed is on disk already.
    pub async fn shutdown(&self) {
        skein_runtime::stopping();
        self.is_stopping.store(true, Ordering::Release);
        self.members().say_farewell().await;
        self.members().hand_over_all().await;
        for group in self.groups.values() {
            group.shutdown().await;
        }
    }
}
