//! Spans of messages and of attempts to deliver them.
//!
//! A message that comes in is one trace: `smtp.receive`, below it `send <site>` for each task and `commit`. Each attempt is a
//! trace of its own, `process <site>` with `smtp.transaction` below it, that is linked to `send`: a delivery may be hours
//! later. Where no collector is configured, or the message is not sampled, no span is made.

mod attempt;
pub mod attributes;
mod message;
mod sampling;

use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use skein_model::TraceContext;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use attempt::{AttemptTrace, Step};
pub use message::{MessageTrace, refused};
pub use sampling::Sampling;

/// As OpenTelemetry has it.
fn remote(context: TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id),
        SpanId::from_bytes(context.span_id),
        TraceFlags::new(context.flags),
        true,
        TraceState::default(),
    )
}

/// The context by which other spans refer to this one; none if it is not recorded. From here on it has begun.
fn sampled(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then(|| TraceContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
        flags: context.trace_flags().to_u8(),
    })
}

/// The wall clock's time of a moment of this process.
fn wall_time(at: Instant) -> SystemTime {
    let ago: Duration = at.elapsed();
    SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
