//! Egress nodes, senders, proxies and destinations with real sockets on loopback addresses.
#![expect(clippy::unwrap_used, reason = "tests")]

mod haproxy;
mod moves;
mod proxies;
mod refusals;
mod stage;
mod tls;
mod tunnels;
