//! The demonstrations: a node, or a cluster, between injectors and a dozen domains, judged by the oracle.

pub mod cluster;
pub mod inbox;
pub mod name_server;
mod screen;
mod table;
pub mod traces;
mod world;

pub use screen::Screen;
pub use table::{Ledger, Row, rows, total, view};
pub use world::{Behaviour, DOMAINS, SENDER_DOMAIN, World, node_config};
