//! A connection to a host: TCP, TLS, login, and the dialogue.

pub mod auth;
pub mod broken_tls;
pub mod connect;
pub mod connection;
pub mod connector;
pub mod connects;
pub mod http;
pub mod no_session;
pub mod open_stream;
pub mod outgoing;
pub mod secret_files;
pub mod session;
pub mod times;
pub mod tls;
pub mod tls_fault;
pub mod transfer;
