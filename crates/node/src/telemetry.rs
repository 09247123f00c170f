//! Logs on standard error.

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

pub fn start(log: &Log) -> anyhow::Result<()> {
    // openraft logs every step of its engine at info, which is for its own developers.
    let filter = format!("openraft=error,{}", log.level);
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("log.level: {:?} is no filter", log.level))?;
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}
