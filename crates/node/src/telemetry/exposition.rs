//! Metrics in the format that the reader asks for.

use std::fmt::Write;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// How metrics are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4 of Prometheus, which every reader knows.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a reader likes best (RFC 9110 12.5.1), of what there is.
    pub fn of(accept: Option<&str>) -> Self {
        let (mut text, mut open) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight: f32 = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => open = weight,
                "text/plain" | "text/*" | "*/*" => text = f32::max(text, weight),
                _ => {}
            }
        }
        match open > 0.0 && open >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All series of a registry.
///
/// # Errors
/// A collector cannot write what it knows.
pub fn expose(registry: &Registry, format: Format) -> Result<String, std::fmt::Error> {
    let mut open = String::new();
    encode(&mut open, registry)?;
    match format {
        Format::OpenMetrics => Ok(open),
        Format::Text => text(&open),
    }
}

/// OpenMetrics as the text format has it: counters are described by the name that their series have, and there are neither
/// units, exemplars nor an end.
fn text(open: &str) -> Result<String, std::fmt::Error> {
    let mut out = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = described(line) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                writeln!(out, "# HELP {name}{suffix} {help}")?;
            }
            writeln!(out, "# TYPE {name}{suffix} {kind}")?;
        } else if !line.starts_with('#') {
            let sample = line.split_once(" # ").map_or(line, |(sample, _)| sample);
            writeln!(out, "{sample}")?;
        }
    }
    Ok(out)
}

fn described(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn a_reader_gets_what_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                          q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain; version=0.0.4"), Format::Text),
            (
                Some("application/openmetrics-text; version=1.0.0"),
                Format::OpenMetrics,
            ),
            (Some(prometheus), Format::OpenMetrics),
            (
                Some("application/openmetrics-text;q=0.1, text/plain"),
                Format::Text,
            ),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some("application/json"), Format::Text),
        ] {
            assert_eq!(Format::of(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_text_format_describes_counters_by_the_name_of_their_series() {
        let mut registry = Registry::default();
        let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
        counter.inc_by(3);
        registry.register("skein_a", "How many", counter);
        registry.register("skein_b", "How much", gauge);
        assert_eq!(
            expose(&registry, Format::Text).unwrap(),
            "# HELP skein_a_total How many.\n# TYPE skein_a_total counter\nskein_a_total 3\n\
             # HELP skein_b How much.\n# TYPE skein_b gauge\nskein_b 0\n"
        );
        let open = expose(&registry, Format::OpenMetrics).unwrap();
        assert!(open.contains("# TYPE skein_a counter\n") && open.ends_with("# EOF\n"));
    }
}
