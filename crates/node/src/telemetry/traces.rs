//! Spans on their way to a collector. Nothing waits for that: what the collector does not take is dropped and counted.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig, WithTonicConfig,
    tonic_types::metadata::MetadataMap,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Telemetry as Config;

/// Spans that wait for the collector: some MiB.
const QUEUED_MAX: usize = 2048;
const BATCH: usize = 512;
/// For so long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(500);
/// A collector that takes longer is not there.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// At the end of the process, for what is left.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct SpanCounters {
    exported: Counter,
    dropped: Counter,
}

impl SpanCounters {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "skein_telemetry_spans_exported",
            "Spans that the OpenTelemetry collector took",
            self.exported.clone(),
        );
        registry.register(
            "skein_telemetry_spans_dropped",
            "Spans that were lost because the queue was full or the collector did not take them",
            self.dropped.clone(),
        );
    }
}

/// Traces that go to a collector.
pub struct Traces {
    provider: SdkTracerProvider,
    stop: CancellationToken,
    ended: std::sync::mpsc::Receiver<()>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// None if the configuration names no collector.
    pub fn start(config: &Config, counters: SpanCounters) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = config.otlp_endpoint.clone() else {
            return Ok(None);
        };
        let (headers, tls) = (headers(config)?, tls(config)?);
        let resource = Resource::builder()
            .with_service_name("skein")
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let (spans, queue) = mpsc::channel(QUEUED_MAX);
        let (end, ended) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let processor = Queue {
            spans,
            counters: counters.clone(),
        };
        let provider = SdkTracerProvider::builder()
            // A span is only made where there is to be one.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource.clone())
            .with_span_processor(processor)
            .build();
        let stopped = stop.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut exporter = SpanExporter::builder()
                    .with_tonic()
                    .with_endpoint(endpoint)
                    .with_timeout(EXPORT_WITHIN)
                    .with_metadata(headers);
                if let Some(tls) = tls {
                    exporter = exporter.with_tls_config(tls);
                }
                let mut exporter = exporter.build()?;
                exporter.set_resource(&resource);
                export(queue, &exporter, &counters, stopped).await;
                anyhow::Ok(())
            })
        };
        // No mail depends on it: if it ends, spans are dropped.
        std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || {
                if let Err(error) = run() {
                    tracing::error!(%error, "no traces are exported");
                }
                // The process may be gone.
                let _ = end.send(());
            })
            .context("telemetry: starting a thread")?;
        Ok(Some(Self {
            provider,
            stop,
            ended,
        }))
    }

    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("skein")
    }

    /// Exports what is left, as far as that is possible soon.
    pub fn flush(self) {
        self.stop.cancel();
        if self.ended.recv_timeout(FLUSH_WITHIN).is_err() {
            tracing::warn!("the collector is too slow: some spans are lost");
        }
    }
}

fn headers(config: &Config) -> anyhow::Result<MetadataMap> {
    let mut headers = MetadataMap::new();
    for (name, value) in &config.otlp_headers {
        let name: tonic::metadata::MetadataKey<tonic::metadata::Ascii> = name
            .parse()
            .with_context(|| format!("telemetry.otlp_headers: {name}"))?;
        let value = value
            .parse()
            .with_context(|| format!("telemetry.otlp_headers: the value of {name}"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn tls(config: &Config) -> anyhow::Result<Option<ClientTlsConfig>> {
    if !config.has_tls() {
        return Ok(None);
    }
    let mut tls = ClientTlsConfig::new().with_enabled_roots();
    if let Some(path) = &config.otlp_ca {
        let ca = std::fs::read(path)
            .with_context(|| format!("telemetry.otlp_ca: reading {}", path.display()))?;
        tls = tls.ca_certificate(Certificate::from_pem(ca));
    }
    Ok(Some(tls))
}

/// Puts spans that have ended into the queue, if there is room.
struct Queue {
    spans: mpsc::Sender<SpanData>,
    counters: SpanCounters,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.counters.dropped.inc();
        }
    }

    /// [`Traces::flush`] does that.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Exports spans in batches until it is stopped, and then what is left.
async fn export(
    mut queue: mpsc::Receiver<SpanData>,
    exporter: &SpanExporter,
    counters: &SpanCounters,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            count = queue.recv_many(&mut batch, 1) => if count == 0 {
                return;
            },
            () = stop.cancelled() => queue.close(),
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = stop.cancelled() => {}
        }
        while batch.len() < BATCH
            && let Ok(span) = queue.try_recv()
        {
            batch.push(span);
        }
        let count = batch.len() as u64;
        if count == 0 {
            continue;
        }
        let whole = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
        match tokio::time::timeout(EXPORT_WITHIN, exporter.export(whole)).await {
            Ok(Ok(())) => {
                counters.exported.inc_by(count);
            }
            Ok(Err(error)) => {
                counters.dropped.inc_by(count);
                tracing::warn!(%error, "the collector does not take spans");
            }
            Err(_) => {
                counters.dropped.inc_by(count);
                tracing::warn!("the collector does not answer");
            }
        }
    }
}
