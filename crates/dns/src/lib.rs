//! Where mail for a domain goes: MX resolution and delivery plans over hickory.
//!
//! The decisions (null MX, loops, private addresses, ordering, the site's name) are pure functions
//! in `plan`, `site` and `order`; [`Resolver`] asks the questions and keeps the answers.

mod answer;
mod checks;
mod config;
mod error;
mod failover;
mod life;
mod lookup;
mod metrics;
mod name;
mod order;
mod own;
mod plan;
mod probe;
mod question;
mod records;
mod resolver;
mod security;
mod servers;
mod site;
mod validated;
mod validation;
mod validation_probe;

pub use checks::CheckResolver;
pub use config::Config;
pub use error::{ResolveError, SetupError};
pub use metrics::Metrics;
pub use order::{order, order_addresses};
pub use own::OwnAddresses;
pub use plan::{HOST_ADDRESSES_MAX, HOSTS_MAX, Host, Plan, PlanKind};
pub use probe::probe;
pub use records::{Questions, RecordKind, Told};
pub use resolver::Resolver;
pub use security::{Security, Tlsa, TlsaAnswer};
pub use skein_model::address::is_public;
pub use validation::Validation;
pub use validation_probe::ValidationProbe;
