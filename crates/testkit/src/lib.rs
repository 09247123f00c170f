//! Peers and judges for end-to-end tests: fake DNS, a scriptable SMTP sink, a load generator, an
//! oracle that compares what was acknowledged with what arrived, and a handle on a node's process.
//!
//! Nothing here uses the product's code, so a fault in it cannot hide itself.

pub mod demo;
pub mod dns;
mod dsn;
pub mod load;
pub mod oracle;
pub mod process;
pub mod sink;
mod tls;
