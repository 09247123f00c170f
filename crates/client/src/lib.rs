//! Typed gRPC clients with deadlines and retries.

pub mod access;
mod channel;
mod clock;
mod cluster;
pub mod connection;
mod error;
pub mod guesses;
mod log_limit;
pub mod ports;
mod session;
pub mod signing;
mod spool;
mod state;
pub mod tls;
mod tls_policies;
pub mod trace;
mod work;

pub use channel::{
    CONNECTION_WINDOW, Channel, Channels, Connect, KEEPALIVE, KEEPALIVE_WITHIN, STREAM_WINDOW,
    connect, in_process, unreachable,
};
pub use clock::{GroupTime, since_boot};
pub use cluster::{Cluster, GroupInfo, View};
pub use error::SpoolError;
pub use session::{
    KeptSession, Lease, LimitKeeper, NoLimits, PlacedIps, Reports, SenderSession, Sessions,
};
pub use skein_wire::convert::ip_fault;
pub use skein_wire::internal::{
    CertificateEnd, Connects, FileFault, IpCheck, NameServer, PlacedIp, Probed, SenderHealth, Wait,
};
pub use spool::{Spool, Spools, Upload};
pub use state::{ClusterState, KnownActions, KnownBrokenTls, PolicyTexts, TlsCounts};
pub use tls_policies::TlsPolicies;
pub use work::{LeasedTask, Reporter, Work};
