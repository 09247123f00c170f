//! The rest of the world in one window: takes all mail, and prints it.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::sink::{Record, Sink, SinkConfig};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of a message that is printed: enough for the header and some lines.
const SHOWN_BYTES_MAX: usize = 4096;

/// Messages that are kept to be printed; the user of a larger run looks at figures, and not at messages.
const RECORDS_MAX: usize = 10_000;

/// Takes mail at the address and prints what arrives, until interrupted.
///
/// # Errors
/// Something listens there already.
pub async fn run(address: SocketAddr) -> Result<()> {
    let sink = Sink::start(SinkConfig {
        records_max: RECORDS_MAX,
        ..SinkConfig::at(address)
    });
    let sink = sink.await;
    let sink = sink.with_context(|| format!("listening on {address}"))?;
    println!("the rest of the world takes mail at {}", sink.address());
    let mut shown = 0;
    loop {
        let records = sink.records();
        for record in &records[shown..] {
            show(record).context("printing what arrived")?;
        }
        shown = records.len();
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("waiting for Ctrl-C"),
        }
    }
}

fn show(record: &Record) -> std::io::Result<()> {
    let to: Vec<&str> = record.delivered_to().collect();
    let what = match record.accepted {
        true => "arrived",
        false => "was not sent to its end",
    };
    let shown = &record.message[..record.message.len().min(SHOWN_BYTES_MAX)];
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\n=== mail from <{}> to {} {what}, {} bytes:",
        record.sender(),
        to.join(", "),
        record.message_bytes
    )?;
    writeln!(out, "{}", String::from_utf8_lossy(shown).trim_end())?;
    out.flush()
}
