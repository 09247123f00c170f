//! The name server of the rest of the world: whatever the domain, its mail goes to one host.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

use crate::dns::FakeDns;

const EXCHANGE: &str = "mx.skein.test";

/// Answers at the address until interrupted.
///
/// # Errors
/// Something listens there already.
pub async fn run(address: SocketAddr, mx: IpAddr) -> Result<()> {
    let dns = FakeDns::start(address).await;
    let dns = dns.with_context(|| format!("listening on {address}"))?;
    dns.all_domains(EXCHANGE, mx);
    println!(
        "the mail of every domain goes to {EXCHANGE} at {mx}, as {} answers",
        dns.address()
    );
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}
