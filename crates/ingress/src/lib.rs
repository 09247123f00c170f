//! SMTP in: listeners, sessions, and the way of a message from the socket to its commit.

mod config;
mod connections;
mod envelope;
mod intake;
mod memory;
mod metrics;
mod pace;
mod proxy;
mod server;
mod session;
mod sites;
mod wishes;

pub use config::{Config, Listener, ListenerKind, TlsMode, User};
pub use server::{BindError, Server};
pub use sites::SiteOf;
pub use skein_smtp::server::Limits;
