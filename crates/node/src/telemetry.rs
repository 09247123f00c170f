//! Logs on standard error, and metrics.

mod exposition;
mod limit;
mod process;

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

pub use self::exposition::{Format, expose};
use self::limit::Limited;
pub use self::process::register;
use crate::config::{Log, LogFormat};
use crate::escape::LogLine;

pub fn start(log: &Log) -> anyhow::Result<()> {
    // openraft logs every step of its engine at info, which is for its own developers.
    let filter = format!("openraft=error,{}", log.level);
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("log.level: {:?} is no filter", log.level))?;
    // Colours are for people: a file or a collector would keep them as they are.
    let has_colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer()
        .with_ansi(has_colours)
        .with_writer(move || LogLine { has_colours });
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter.and(Limited::default()));
    tracing_subscriber::registry().with(lines).init();
    Ok(())
}
