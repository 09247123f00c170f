//! SMTP in: listeners, sessions, and the way of a message from the socket to its commit.

mod accounts;
mod config;
mod connections;
mod drain;
mod envelope;
mod guessing;
mod header_directives;
mod intake;
mod lockout;
mod login;
mod memory;
mod message_signing;
mod metrics;
mod min_rate;
mod network;
mod passwords;
mod proxy;
mod sender_check;
mod sender_domains;
mod server;
mod session;
mod shares;
mod signatures;
mod signing;
mod sites;
mod stream;
mod tls;
mod waits;

pub use config::{Config, Listener, ListenerKind, TlsMode, User};
pub use lockout::{Attempt, Lock, Locked, Lockout, Lockouts};
pub use server::{BindError, Server, Settings};
pub use sites::SiteOf;
pub use skein_smtp::server::Limits;
pub use tls::{CertificateCheck, Tls};
