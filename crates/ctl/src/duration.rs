use std::time::Duration;

use skein_policy::Span;

/// A span of time, in the words that policy and configuration files have for it too.
pub fn parse(text: &str) -> Result<Duration, String> {
    let Span(span) = text.parse()?;
    Ok(span.into())
}
