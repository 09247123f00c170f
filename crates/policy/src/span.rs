//! Spans of time as text: `30s`, `5m`, `90 minutes`, `1h 30m`, `2days`. The one grammar for policy, configuration files and
//! command lines.

use std::fmt;
use std::str::FromStr;

use skein_model::DurationMs;

/// What a unit is called, the shortest first, and its length in milliseconds. Months and years are those of the calendar
/// on average.
const UNITS: [(&[&str], u64); 8] = [
    (&["ms", "msec", "msecs", "millisecond", "milliseconds"], 1),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3600 * SECOND),
    (&["d", "day", "days"], DAY),
    (&["w", "wk", "wks", "week", "weeks"], 7 * DAY),
    (&["month", "months"], 2_630_016 * SECOND),
    (&["y", "yr", "yrs", "year", "years"], 31_557_600 * SECOND),
];
const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;
/// Units that a span is written in.
const WRITTEN: [(&str, u64); 5] = [
    ("d", DAY),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1),
];
/// Longer than anybody waits; sums of some spans stay far from the end of 64 bits.
pub const MS_MAX: u64 = 100 * 366 * DAY;
/// Longer than anything that policy waits for.
const POLICY_MS_MAX: u64 = 366 * DAY;

/// A span of time as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub DurationMs);

/// The length of a unit in milliseconds.
pub(crate) fn unit(name: &str) -> Option<u64> {
    let named = UNITS.iter().find(|(names, _)| names.contains(&name));
    named.map(|(_, ms)| *ms)
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || {
            format!(
                "\"{}\" is no span of time: write a number and a unit, such as 30s, 5m, 2h or 1d",
                crate::shown::shown(text)
            )
        };
        let mut rest = text.trim();
        let mut ms: u64 = 0;
        if rest.is_empty() {
            return Err(shape());
        }
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start();
            let letters = after.len()
                - after
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                    .len();
            let (name, next) = after.split_at(letters);
            let unit = unit(name).filter(|_| digits > 0).ok_or_else(shape)?;
            let part = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(unit));
            ms = part
                .and_then(|part| ms.checked_add(part))
                .filter(|ms| *ms <= MS_MAX)
                .ok_or_else(|| {
                    format!(
                        "\"{}\" is too long: a hundred years at most",
                        crate::shown::shown(text)
                    )
                })?;
            rest = next.trim_start();
        }
        Ok(Self(DurationMs(ms)))
    }
}

/// In the largest unit that leaves nothing over.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.0;
        let fits = |(_, unit): &&(&str, u64)| ms > 0 && ms.is_multiple_of(*unit);
        let (name, unit) = WRITTEN.iter().find(fits).unwrap_or(&("s", SECOND));
        write!(f, "{}{name}", ms / unit)
    }
}

/// A span of policy: whole seconds, up to a year.
pub(crate) fn parse(text: &str) -> Result<DurationMs, String> {
    let Span(span) = text.parse()?;
    if span.0 > POLICY_MS_MAX {
        return Err(format!("{text:?} is too long: 366d at most"));
    }
    if !span.0.is_multiple_of(SECOND) {
        return Err(format!("{text:?} must be whole seconds, such as 1s"));
    }
    Ok(span)
}

/// What is below a second is left out: policy has none.
pub(crate) fn text(span: DurationMs) -> String {
    Span(DurationMs::from_secs(span.0 / SECOND)).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_in_their_units() {
        for (text, ms) in [
            ("0s", Some(0)),
            ("200ms", Some(200)),
            ("30s", Some(30_000)),
            ("30 sec", Some(30_000)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("30 minutes", Some(1_800_000)),
            ("1 minute", Some(60_000)),
            ("1h 30m", Some(5_400_000)),
            ("1h30m", Some(5_400_000)),
            (" 1 hour 30 mins ", Some(5_400_000)),
            ("36h", Some(129_600_000)),
            ("2days", Some(2 * DAY)),
            ("2 weeks", Some(14 * DAY)),
            ("366d", Some(366 * DAY)),
            ("1month", Some(2_630_016_000)),
            ("1year", Some(31_557_600_000)),
            ("101y", None),
            ("30", None),
            ("s", None),
            ("", None),
            (" ", None),
            ("-1s", None),
            ("+1s", None),
            ("1.5h", None),
            ("5é", None),
            ("1h 30", None),
            ("1M", None),
            ("5 fortnights", None),
            ("99999999999999999999d", None),
            ("18446744073709551615ms 1ms", None),
        ] {
            let read = text.parse::<Span>();
            let expected = ms.map(|ms| Span(DurationMs(ms)));
            assert_eq!(read.clone().ok(), expected, "{text:?}");
            if let Err(error) = read {
                let says = ["such as 30s, 5m, 2h or 1d", "a hundred years"];
                assert!(says.iter().any(|part| error.contains(part)), "{error}");
            }
        }
    }

    #[test]
    fn policy_counts_in_seconds_up_to_a_year() {
        for (text, words) in [("367d", "366d"), ("500ms", "whole seconds"), ("x", "5m")] {
            let refused = parse(text).expect_err(text);
            assert!(refused.contains(words), "{refused}");
        }
        assert_eq!(parse("1m 30s"), Ok(DurationMs::from_secs(90)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in 0..=MS_MAX) {
            let span = Span(DurationMs(ms));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn every_name_of_a_unit_says_the_same(number in 0u64..1000, nth in 0..UNITS.len(), space in " {0,2}") {
            let (names, ms) = UNITS[nth];
            for name in names {
                let read = format!("{number}{space}{name}").parse::<Span>();
                match number * ms <= MS_MAX {
                    true => prop_assert_eq!(read, Ok(Span(DurationMs(number * ms)))),
                    false => prop_assert!(read.is_err(), "{:?}", read),
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}|([0-9]{0,25} ?(ms|s|min|hours|d|w|y)? ?){0,4}") {
            if let Ok(span) = text.parse::<Span>() {
                prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            }
        }
    }
}
