//! The name server of the rest of the world: whatever the domain, its mail goes to one host.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};

use crate::dns::FakeDns;

const EXCHANGE: &str = "mx.skein.test";

/// Answers at the address until interrupted, with the records of a zone file too.
///
/// # Errors
/// Something listens there already, or the file is none.
pub async fn run(address: SocketAddr, mx: IpAddr, records: Option<&Path>) -> Result<()> {
    let dns = FakeDns::start(address).await;
    let dns = dns.with_context(|| format!("listening on {address}"))?;
    dns.all_domains(EXCHANGE, mx);
    if let Some(path) = records {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| path.display().to_string())?;
        let zone = dns.zone(text);
        zone.with_context(|| format!("{}: no zone file", path.display()))?;
    }
    println!(
        "the mail of every domain goes to {EXCHANGE} at {mx}, as {} answers",
        dns.address()
    );
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}
