//! Spans of time as text: `30s`, `5m`, `2h`, `1d`.

use skein_model::DurationMs;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
/// Longer than anything that policy waits for.
const SECONDS_MAX: u64 = 366 * 86_400;

pub(crate) fn parse(text: &str) -> Result<DurationMs, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = known
        .filter(|_| is_number)
        .and_then(|(_, unit)| digits.parse::<u64>().ok()?.checked_mul(*unit))
        .filter(|seconds| *seconds <= SECONDS_MAX);
    seconds.map(DurationMs::from_secs).ok_or_else(|| {
        format!("{text:?} is no span of time: write a number and s, m, h or d, such as 30s or 5m")
    })
}

/// In the largest unit that leaves nothing over. What is below a second is left out: no text says it.
pub(crate) fn text(span: DurationMs) -> String {
    let seconds = span.0 / 1000;
    let fits = |(_, unit): &&(&str, u64)| seconds > 0 && seconds.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("s", 1));
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_in_their_units() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("36h", Some(129_600)),
            ("366d", Some(SECONDS_MAX)),
            ("367d", None),
            ("30", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1 s", None),
            ("1.5h", None),
            ("5é", None),
            ("99999999999999999999d", None),
        ] {
            let read = parse(text).ok();
            assert_eq!(read, seconds.map(DurationMs::from_secs), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0..=SECONDS_MAX) {
            let span = DurationMs::from_secs(seconds);
            prop_assert_eq!(parse(&text(span)), Ok(span));
        }
    }
}
