//! Logs on standard error, metrics, and traces for a collector.

mod exposition;
mod limit;
mod lines;
mod process;
mod traces;

use std::io::IsTerminal;

use anyhow::Context;
use prometheus_client::registry::Registry as Metrics;
use skein_client::trace::attributes::TARGET;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, FilterFn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

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
    settings: Settings,
}

/// What the process takes over of `[log]` while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    filter: FilterHandle,
}

type FilterHandle = reload::Handle<EnvFilter, Registry>;

impl Settings {
    /// What `set` takes.
    ///
    /// # Errors
    /// The level is no filter.
    pub fn read(log: &Log) -> anyhow::Result<EnvFilter> {
        filter(log)
    }

    /// From here on. What each place in the code found out of the former filter is looked up anew.
    pub fn set(&self, filter: EnvFilter) {
        let set = self.filter.reload(filter);
        set.expect("the subscriber lasts as long as the process, and no filter panics");
    }
}

pub fn start(log: &Log, config: &config::Telemetry) -> anyhow::Result<Telemetry> {
    let spans = SpanCounters::default();
    let traces = Traces::start(config, spans.clone())?;
    let (layers, filter) = layers(log, traces.as_ref())?;
    tracing_subscriber::registry().with(layers).init();
    let settings = Settings { filter };
    Ok(Telemetry {
        spans,
        traces,
        settings,
    })
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Those that there are. One that is none would hide from `tracing` which levels nobody reads, and every span of every
/// library would be made.
fn layers(log: &Log, traces: Option<&Traces>) -> anyhow::Result<(Vec<BoxedLayer>, FilterHandle)> {
    let (filter, handle) = reload::Layer::new(filter(log)?);
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
    let layers = [lines.boxed()].into_iter().chain(to_collector);
    Ok((layers.collect(), handle))
}

fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    // openraft logs every step of its engine at info, which is for its own developers. Spans of traces are no lines.
    let filter = format!("openraft=error,{TARGET}=off,{}", log.level);
    EnvFilter::try_new(filter).with_context(|| format!("log.level: {:?} is no filter", log.level))
}

impl Telemetry {
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

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
    use std::sync::Arc;

    use tracing::Subscriber;

    use super::*;

    #[test]
    fn what_no_line_and_no_collector_reads_costs_nothing() {
        for (level, expected) in [("warn", LevelFilter::WARN), ("info", LevelFilter::INFO)] {
            let (layers, _) = layers(&log(level), None).unwrap();
            let subscriber = tracing_subscriber::registry().with(layers);
            assert_eq!(subscriber.max_level_hint(), Some(expected));
        }
    }

    #[test]
    fn another_level_holds_at_once_for_places_that_have_asked_before_too() {
        let (layers, filter) = layers(&log("warn"), None).unwrap();
        let subscriber = tracing_subscriber::registry().with(layers);
        let subscriber = Arc::new(subscriber);
        let dispatch = tracing::Dispatch::new(subscriber.clone());
        let settings = Settings { filter };
        tracing::dispatcher::with_default(&dispatch, || {
            for (level, info, debug) in [
                ("warn", false, false),
                ("info", true, false),
                ("info,skein=debug", true, true),
                ("off", false, false),
                ("debug", true, true),
                ("warn", false, false),
            ] {
                let read = Settings::read(&log(level));
                settings.set(read.unwrap());
                let is_read = (
                    tracing::enabled!(target: "skein", tracing::Level::INFO),
                    tracing::enabled!(target: "skein", tracing::Level::DEBUG),
                );
                assert_eq!(is_read, (info, debug), "{level}");
                let most = subscriber.max_level_hint();
                let is_most = most >= Some(LevelFilter::DEBUG);
                assert_eq!(is_most, debug, "{level}: {most:?}");
            }
        });
    }

    fn log(level: &str) -> Log {
        Log {
            level: level.to_owned(),
            ..Log::default()
        }
    }
}
