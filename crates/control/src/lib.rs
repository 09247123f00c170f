//! The control function of a node: its Raft groups, the sessions of senders, dispensing, and the admin API.

mod admin;
mod clock;
mod events;
mod group;
mod node_id;
mod proposer;
mod sessions;
mod spool;

use std::path::PathBuf;
use std::sync::Arc;

pub use clock::now;
pub use events::EventReader;
use skein_model::{GroupId, NodeId};
use skein_store::{Bodies, MetaMachine, Reader, SpoolMachine, Store};
use skein_wire::internal::sessions_server::SessionsServer;
use skein_wire::internal::spool_server::SpoolServer;
use skein_wire::v1::admin_server::AdminServer;
use tonic::transport::server::{Router, Server};

use crate::group::Group;
use crate::spool::{Dispatch, SpoolService};

/// A frame of the internal protocol: up to 1 MiB of items and one item of 1 MiB, or a batch of tasks with bodies.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Shown by the admin API.
    pub version: String,
    pub role: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("opening the data directory")]
    NodeId(#[source] std::io::Error),
    #[error("opening the store")]
    Store(#[from] skein_store::OpenError),
    #[error("starting Raft group {group}: {reason}")]
    Raft { group: GroupId, reason: String },
}

/// What a service needs of the spool group that this node holds.
#[derive(Clone)]
pub(crate) struct SpoolGroup {
    pub group: Arc<Group>,
    pub reader: Reader,
    pub bodies: Bodies,
    pub dispatch: Arc<Dispatch>,
    pub node: NodeId,
}

/// A running control function.
pub struct Control {
    config: Config,
    started_at: skein_model::UnixMs,
    meta: Arc<Group>,
    meta_reader: Reader,
    spool: SpoolGroup,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("node", &self.spool.node)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Opens the store, starts both groups and waits until they have a leader.
    ///
    /// # Errors
    /// The data directory cannot be used, or its content cannot be trusted.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let node = node_id::load_or_create(&config.data_dir).map_err(StartError::NodeId)?;
        let dir = config.data_dir.clone();
        let store =
            tokio::task::spawn_blocking(move || Store::open(&dir, skein_store::Options::default()))
                .await
                .expect("opening the store does not panic")?;
        let bodies = store.bodies();

        let meta_reader = store.reader(GroupId::META);
        let (log, machine) = store.group(GroupId::META, MetaMachine, Arc::new(|_| {}));
        let meta = Arc::new(Group::start(GroupId::META, node, log, machine).await?);

        let reader = store.reader(GroupId::FIRST_SPOOL);
        let dispatch = Arc::new(Dispatch::new(reader.clone(), bodies.clone()));
        let hints = dispatch.clone();
        let on_effects = Arc::new(move |effects: Vec<_>| hints.on_effects(&effects));
        let (log, machine) = store.group(GroupId::FIRST_SPOOL, SpoolMachine, on_effects);
        let group = Arc::new(Group::start(GroupId::FIRST_SPOOL, node, log, machine).await?);
        // The log has been applied up to what was committed, so the rows are what a leader starts from.
        dispatch.load();
        spool::sweep_orphans(bodies.clone(), reader.clone());

        Ok(Self {
            config,
            started_at: now(),
            meta,
            meta_reader,
            spool: SpoolGroup {
                group,
                reader,
                bodies,
                dispatch,
                node,
            },
        })
    }

    /// The services that senders use.
    pub fn internal_router(&self) -> Router {
        let spool = SpoolServer::new(SpoolService::new(self.spool.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let sessions = sessions::SessionsService::new(self.meta.clone(), self.meta_reader.clone());
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .add_service(spool)
            .add_service(SessionsServer::new(sessions))
    }

    /// The services that people use.
    pub fn admin_router(&self) -> Router {
        let admin = admin::AdminService {
            config: self.config.clone(),
            started_at: self.started_at,
            meta: self.meta.clone(),
            meta_reader: self.meta_reader.clone(),
            spool: self.spool.clone(),
        };
        Server::builder().add_service(AdminServer::new(admin))
    }

    /// The event log from the first event that no sink has taken yet.
    pub fn events(&self) -> EventReader {
        EventReader::new(
            self.spool.group.clone(),
            self.spool.reader.clone(),
            self.spool.dispatch.events(),
        )
    }

    /// What the groups hold, for metrics.
    pub fn state(&self) -> skein_model::spool::StateRow {
        skein_model::spool::query::state(&self.spool.reader)
    }

    pub fn is_ready(&self) -> bool {
        self.meta.has_leader() && self.spool.group.has_leader()
    }

    /// Stops the groups; what is committed is on disk already.
    pub async fn shutdown(&self) {
        self.spool.group.shutdown().await;
        self.meta.shutdown().await;
    }
}
