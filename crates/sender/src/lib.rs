//! SMTP out. A sender holds nothing that it cannot lose: tasks come from the control plane, results go back to it.

mod config;
mod connect;
mod connection;
mod deliver;
mod destination;
mod dsn;
mod metrics;
mod outcome;
mod route;
mod sender;
mod session;
mod tls;

pub use config::{Config, Smarthost, Timeouts, TlsPolicy};
pub use sender::Sender;
