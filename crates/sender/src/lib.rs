//! SMTP out. A sender holds nothing that it cannot lose: tasks come from the control plane, results go back to it.

mod addresses;
mod auth;
mod broken_tls;
mod budgets;
mod config;
mod connect;
mod connection;
mod connects;
mod deliver;
mod destination;
mod dsn;
mod exits;
mod forces;
mod gates;
mod health;
mod hold;
mod journal;
mod metrics;
mod open;
mod outcome;
pub mod outgoing;
mod placed;
mod preflight;
mod process;
mod purse;
mod reactions;
mod recovery;
mod route;
mod rule;
mod sender;
mod serve;
mod session;
mod shared_limits;
mod site_health;
mod sites;
mod slots;
mod sources;
mod stays;
mod terms;
#[cfg(test)]
mod test_tasks;
mod tls;
mod told;
mod waiting;
mod waits;
mod ways;
mod wire;
mod words;

pub use config::{Config, Timeouts, TlsPolicy};
pub use exits::{ConnectTo, Exits};
pub use health::Health;
pub use rule::{
    Ambiguous, BadHost, BadPattern, DomainPattern, HOSTS_MAX, HopPolicy, Login, RouteHost,
    RouteRule, Rules,
};
pub use sender::{Sender, SetupError};
pub use sites::Sites;
pub use skein_smtp::secret::Secret;
