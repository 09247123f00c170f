//! SMTP out. A sender holds nothing that it cannot lose: tasks come from the control plane, results go back to it.

mod automation;
mod claim;
mod config;
mod destination;
mod egress_node;
mod health;
mod host;
mod limits;
mod metrics;
mod notified_groups;
mod outcome;
mod refusal;
mod result;
mod route;
mod sender;
mod smtp;
mod source_ip;
mod task;
mod tls_reports;
mod wall_clock;
mod work_streams;

pub use config::current::CurrentConfig;
pub use config::login::{Login, LoginSecret, Mechanism};
pub use config::rule::{
    Ambiguous, BadHost, BadPattern, DomainPattern, HOSTS_MAX, HopPolicy, RouteHost, RouteRule,
    Rules,
};
pub use config::{Config, Timeouts};
pub use egress_node::{EgressConfig, EgressNode};
pub use health::{FileFaults, Health};
pub use limits::intake::{IntakeClosed, IntakeLimits, IntakeOf};
pub use limits::token::Token;
pub use route::sites::Sites;
pub use sender::{Sender, SetupError};
pub use skein_smtp::secret::Secret;
pub use skein_tls::TlsPolicy;
pub use smtp::outgoing;
pub use source_ip::preflight::DnsblZones;
pub use source_ip::router::{ConnectTo, SourceIpRouter};
