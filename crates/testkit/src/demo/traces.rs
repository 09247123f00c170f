//! The collector of the rest of the world: prints a line for each span.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::collector::Collector;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes spans at the address and prints them, until interrupted.
///
/// # Errors
/// Something listens there already.
pub async fn run(address: SocketAddr) -> Result<()> {
    let started = Collector::start(address).await;
    let (collector, address) = started.with_context(|| format!("listening on {address}"))?;
    println!("a collector takes OTLP at http://{address}");
    loop {
        for span in collector.take() {
            let nanos = span
                .end_time_unix_nano
                .saturating_sub(span.start_time_unix_nano);
            let trace: String = span
                .trace_id
                .iter()
                .map(|octet| format!("{octet:02x}"))
                .collect();
            let took = Duration::from_nanos(nanos);
            println!(
                "{trace}  {:>9.3} ms  {}",
                took.as_secs_f64() * 1e3,
                span.name
            );
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("waiting for Ctrl-C"),
        }
    }
}
