//! The control nodes of a cluster: how it begins, its members, their leaders, and what each says of itself.

mod admission;
mod bootstrap;
mod expelled;
mod leaders;
mod members;
pub mod node_id;
mod own_health;
mod standing;
mod survey;
mod version_gate;

pub use bootstrap::{meet, spool_groups_of_cluster};
pub use expelled::Expelled;
pub use members::Members;
pub use own_health::{CertificateEnds, OwnHealth};
pub use standing::{Misfit, Standing};
pub use survey::certificates;
pub use version_gate::VersionGate;
