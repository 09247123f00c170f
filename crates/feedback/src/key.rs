//! What makes a report the same as another one, and how much of its texts is kept.

use skein_model::UnixMs;

/// Characters of a text that a stranger chose: names of domains have 253.
const TEXT_CHARS_MAX: usize = 255;

/// Reporters send the same report twice, to several addresses or again after a failure. Two with the same key are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportKey {
    pub organization: String,
    pub report_id: String,
    pub domain: String,
    pub begins: UnixMs,
    pub ends: UnixMs,
}

/// The start of a text, without control characters and blanks around it.
pub fn clipped(text: &str) -> String {
    let kept = text.trim().chars().filter(|c| !c.is_control());
    kept.take(TEXT_CHARS_MAX).collect()
}

/// As names of domains are compared.
pub fn clipped_lower(text: &str) -> String {
    clipped(text).trim_end_matches('.').to_lowercase()
}

pub fn seconds(seconds: u64) -> UnixMs {
    UnixMs(seconds.saturating_mul(1000))
}
