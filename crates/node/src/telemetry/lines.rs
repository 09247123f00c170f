//! Lines of the log, with the trace that they are of.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What another format writes, and the numbers of trace and span where there is one.
#[derive(Debug)]
pub struct WithTrace<F> {
    format: F,
    is_json: bool,
}

impl<F> WithTrace<F> {
    pub fn text(format: F) -> Self {
        let is_json = false;
        Self { format, is_json }
    }

    pub fn json(format: F) -> Self {
        let is_json = true;
        Self { format, is_json }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        fields: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let context = Context::current();
        let span = context.span().span_context().clone();
        if !span.is_valid() {
            return self.format.format_event(fields, writer, event);
        }
        let mut line = String::new();
        self.format
            .format_event(fields, Writer::new(&mut line), event)?;
        let trace = (span.trace_id().to_string(), span.span_id().to_string());
        writeln!(writer, "{}", told(line.trim_end(), self.is_json, &trace))
    }
}

fn told(line: &str, is_json: bool, (trace, span): &(String, String)) -> String {
    match line.strip_suffix('}').filter(|_| is_json) {
        Some(object) => format!("{object},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}"),
        None => format!("{line} trace_id={trace} span_id={span}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_format_has_the_trace() {
        let trace = ("0af7".to_owned(), "b7ad".to_owned());
        assert_eq!(
            told("{\"level\":\"WARN\"}", true, &trace),
            "{\"level\":\"WARN\",\"trace_id\":\"0af7\",\"span_id\":\"b7ad\"}"
        );
        assert_eq!(
            told("WARN skein: x={}", false, &trace),
            "WARN skein: x={} trace_id=0af7 span_id=b7ad"
        );
    }
}
