//! Typed gRPC clients with deadlines and retries.

pub mod access;
mod active_actions;
mod body;
mod broken_tls;
mod channel;
mod cluster;
mod facts;
mod ingest;
mod ingest_stream;
mod keeper;
mod limits;
pub mod ports;
mod replies;
mod sessions;
pub mod tls;
mod warmup;
mod work;
mod work_frames;

pub use active_actions::KnownActions;
pub use broken_tls::KnownBrokenTls;
pub use channel::{
    CONNECTION_WINDOW, Channel, Channels, Connect, KEEPALIVE, KEEPALIVE_WITHIN, STREAM_WINDOW,
    connect, in_process, unreachable,
};
pub use cluster::{Cluster, GroupInfo, PolicyTexts, View};
pub use ingest::{Spool, Spools, Upload};
pub use limits::{LimitKeeper, NoLimits, Reports};
pub use sessions::{KeptSession, Lease, PlacedIps, Session, Sessions, since_boot};
pub use skein_wire::convert::ip_fault;
pub use skein_wire::internal::{
    CertificateEnd, Connects, IpCheck, NameServer, PlacedIp, Probed, SenderHealth, Wait,
};
pub use warmup::GroupTime;
pub use work::{LeasedTask, Reporter, Work};

use skein_wire::internal::problem::Kind;

/// Why a spool group did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// Nothing was done, and another group may do it: `451 4.3.0`.
    #[error("no spool group can take mail: {0}")]
    Unavailable(String),
    /// `452 4.3.1`.
    #[error("no room: {0}")]
    Full(String),
    /// It may or may not have happened: `451 4.4.5`.
    #[error("the commit is not known: {0}")]
    Unknown(String),
    /// A fault of the program.
    #[error("refused: {0}")]
    Refused(String),
}

impl SpoolError {
    fn from_problem(problem: skein_wire::internal::Problem) -> Self {
        match problem.kind() {
            Kind::Unavailable | Kind::Unspecified => Self::Unavailable(problem.text),
            Kind::Full => Self::Full(problem.text),
            Kind::Unknown => Self::Unknown(problem.text),
            Kind::Refused => Self::Refused(problem.text),
        }
    }

    fn from_status(doing: &str, status: &tonic::Status) -> Self {
        Self::Unavailable(format!("{doing}: {}", status.message()))
    }
}
