//! The means that connections of all destinations are opened with, and the connections that are open.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::automation::reactions::Reactions;
use crate::config::current::CurrentConfig;
use crate::destination::tls_results::TlsResults;
use crate::metrics::Metrics;
use crate::smtp::connector::Connector;
use crate::task::prepared::Rewrites;

pub struct Outbound {
    pub config: CurrentConfig,
    pub connector: Connector,
    /// Told of what hosts reply.
    pub reactions: Arc<Reactions>,
    /// Told of how TLS with hosts went.
    pub tls_results: Arc<dyn TlsResults>,
    pub rewrites: Rewrites,
    pub metrics: Metrics,
    /// No transaction starts after this.
    pub drain: CancellationToken,
    pub connections: TaskTracker,
}
