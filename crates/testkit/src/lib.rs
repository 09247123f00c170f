//! Peers and judges for end-to-end tests: fake DNS, a scriptable SMTP sink, a load generator, an
//! oracle that compares what was acknowledged with what arrived, and a handle on a node's process.
//!
//! Nothing here uses the product's code, so a fault in it cannot hide itself.

pub mod authority;
pub mod cluster;
pub mod collector;
pub mod demo;
pub mod dns;
mod dsn;
pub mod load;
pub mod oracle;
pub mod process;
pub mod room;
pub mod sink;
mod tls;
pub mod web_host;

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
