//! The demonstration: a node between an injector and a dozen domains, judged by the oracle.

mod table;
mod world;

pub use table::{Ledger, Row, Screen, rows};
pub use world::{Behaviour, DOMAINS, SENDER_DOMAIN, World, node_config};
