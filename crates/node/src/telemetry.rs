//! Logs on standard error, metrics, and traces for a collector.

mod exposition;
mod limit;
mod lines;
mod process;
mod sampling;
mod traces;

use std::io::IsTerminal;

use anyhow::Context;
use prometheus_client::registry::Registry as Metrics;
use skein_client::trace::attributes::TARGET;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, FilterFn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

pub use self::exposition::{Format, expose};
use self::limit::Limited;
use self::lines::WithTrace;
use self::traces::{SpanCounters, Traces};
use crate::config::{self, Log, LogFormat};
use crate::escape::LogLine;

/// What goes on for as long as the process does.
#[derive(Debug)]
pub struct Telemetry {
    spans: SpanCounters,
    traces: Option<Traces>,
}

pub fn start(log: &Log, config: &config::Telemetry) -> anyhow::Result<Telemetry> {
    let spans = SpanCounters::default();
    let traces = Traces::start(config, spans.clone())?;
    let layers = layers(log, traces.as_ref())?;
    tracing_subscriber::registry().with(layers).init();
    Ok(Telemetry { spans, traces })
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Those that there are. One that is none would hide from `tracing` which levels nobody reads, and every span of every
/// library would be made.
fn layers(log: &Log, traces: Option<&Traces>) -> anyhow::Result<Vec<BoxedLayer>> {
    // openraft logs every step of its engine at info, which is for its own developers. Spans of traces are no lines.
    let filter = format!("openraft=error,{TARGET}=off,{}", log.level);
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("log.level: {:?} is no filter", log.level))?;
    // Colours are for people: a file or a collector would keep them as they are.
    let has_colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer()
        .with_ansi(has_colours)
        .with_writer(move || LogLine { has_colours });
    let lines: BoxedLayer = match log.format {
        LogFormat::Text => lines.map_event_format(WithTrace::text).boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.map_event_format(WithTrace::json).boxed()
        }
    };
    let lines = lines.with_filter(filter.and(Limited::default()));
    let to_collector = traces.map(|traces| {
        let is_ours = FilterFn::new(|place| place.is_span() && place.target() == TARGET);
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_filter(is_ours.with_max_level_hint(LevelFilter::INFO))
            .boxed()
    });
    Ok([lines.boxed()].into_iter().chain(to_collector).collect())
}

impl Telemetry {
    /// Shows what the process is and what became of spans among its metrics.
    pub fn register(&self, metrics: &mut Metrics, role: &'static str) {
        process::register(metrics, role);
        self.spans.register(metrics);
    }

    /// The process is about to end.
    pub fn stop(self) {
        if let Some(traces) = self.traces {
            traces.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use tracing::Subscriber;

    use super::*;

    #[test]
    fn what_no_line_and_no_collector_reads_costs_nothing() {
        for (level, expected) in [("warn", LevelFilter::WARN), ("info", LevelFilter::INFO)] {
            let log = Log {
                level: level.to_owned(),
                ..Log::default()
            };
            let subscriber = tracing_subscriber::registry().with(layers(&log, None).unwrap());
            assert_eq!(subscriber.max_level_hint(), Some(expected));
        }
    }
}
