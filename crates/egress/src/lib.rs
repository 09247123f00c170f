//! How a sender's connection leaves the cluster: through a source IP that lives on another node, or through a proxy
//! that is not of the cluster.
//!
//! [`Egress`] is the server on the node that holds source IPs, [`via::connect`] the side of the sender. Neither knows TLS:
//! streams between nodes come here authenticated and encrypted.

mod dial;
mod egress;
pub mod io_fault;
mod local_ips;
mod metrics;
mod open;
mod outgoing;
mod protocol;
mod refused;
mod request;
mod table;
mod target;
mod tunnel;
pub mod via;

pub use dial::{DialError, TargetFault, dial};
pub use egress::{Config, Egress};
pub use metrics::Metrics;
pub use open::{Open, OpenTunnels};
pub use outgoing::Outgoing;
pub use refused::Refused;
pub use request::Request;
pub use table::{Admitted, Placement, PlacementState, Placements, admit};
pub use target::Targets;

use tokio::io::{AsyncRead, AsyncWrite};

/// What bytes can be sent over and read from, whatever is below: TCP, TLS, a tunnel.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub type Stream = Box<dyn Io>;
