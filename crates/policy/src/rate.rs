//! Rates as text: `100/min`, `10/5min`, `10000/day burst 500`, with the units of [`Span`](crate::Span).

use std::fmt;
use std::str::FromStr;

use skein_model::DurationMs;

use crate::span;

const SECOND_MS: u64 = 1000;
/// Units that a rate is written in, in seconds.
const WRITTEN: [(&str, u64); 4] = [("day", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
/// More than all mail that is sent in a day; products of two counts still fit into 128 bits.
pub const COUNT_MAX: u64 = 1_000_000_000_000;
/// A month: longer than any quota that receivers are known to have.
const PERIOD_SECONDS_MAX: u64 = 31 * 86_400;

/// So many in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// 1 to [`COUNT_MAX`].
    pub count: u64,
    /// Whole seconds, up to 31 days.
    pub per: DurationMs,
    /// How many of `count` may come at once: 1 to `count`. None: all of them.
    pub burst: Option<u64>,
}

impl Rate {
    /// How many may come at once.
    pub fn at_once(self) -> u64 {
        self.burst.unwrap_or(self.count)
    }

    /// The most that comes in a span at least as long as this period, rounded down.
    pub fn most_in(self, span: DurationMs) -> u64 {
        let most = u128::from(self.count) * u128::from(span.0) / u128::from(self.per.0.max(1));
        u64::try_from(most).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || {
            format!(
                "\"{}\" is no rate: write it as 20/s, 100/min, 10/5min, 1000/h or 10000/day burst 500",
                crate::shown::shown(text)
            )
        };
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (count, period) = rate.split_once('/').ok_or_else(shape)?;
        let count = number(count).ok_or_else(shape)?;
        let period = period.trim();
        let name = period.trim_start_matches(|c: char| c.is_ascii_digit());
        let times = match &period[..period.len() - name.len()] {
            "" => 1,
            digits => number(digits).ok_or_else(shape)?,
        };
        let unit = span::unit(name.trim_start()).filter(|ms| *ms >= SECOND_MS);
        let unit = unit.ok_or_else(shape)? / SECOND_MS;
        let burst = burst
            .map(|burst| number(burst).ok_or_else(shape))
            .transpose()?;
        let seconds = times.saturating_mul(unit);
        check(count, seconds, burst)?;
        let per = DurationMs::from_secs(seconds);
        Ok(Self { count, per, burst })
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn check(count: u64, seconds: u64, burst: Option<u64>) -> Result<(), String> {
    if count == 0 {
        return Err(
            "a rate of 0 lets nothing through: suspend the ip, or leave the limit out".into(),
        );
    }
    if count > COUNT_MAX {
        return Err(format!("a rate counts up to {COUNT_MAX}"));
    }
    if !(1..=PERIOD_SECONDS_MAX).contains(&seconds) {
        return Err("the time of a rate must be from 1s to 31day".into());
    }
    if burst.is_some_and(|burst| !(1..=count).contains(&burst)) {
        return Err(format!(
            "burst must be from 1 to {count}, which is all that the rate allows"
        ));
    }
    Ok(())
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.0 / 1000;
        let fits = |(_, unit): &&(&str, u64)| seconds > 0 && seconds.is_multiple_of(*unit);
        let (name, unit) = WRITTEN.iter().find(fits).unwrap_or(&("s", 1));
        match seconds / unit {
            1 => write!(f, "{}/{name}", self.count)?,
            times => write!(f, "{}/{times}{name}", self.count)?,
        }
        match self.burst {
            Some(burst) => write!(f, " burst {burst}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u64, seconds: u64, burst: Option<u64>) -> Rate {
        let per = DurationMs::from_secs(seconds);
        Rate { count, per, burst }
    }

    #[test]
    fn rates_are_read_and_written() {
        for (text, expected, written) in [
            ("20/s", rate(20, 1, None), "20/s"),
            ("100/min", rate(100, 60, None), "100/min"),
            ("10/5min", rate(10, 300, None), "10/5min"),
            ("10/300s", rate(10, 300, None), "10/5min"),
            ("10/90s", rate(10, 90, None), "10/90s"),
            ("1/24h", rate(1, 86_400, None), "1/day"),
            ("20/sec", rate(20, 1, None), "20/s"),
            ("20 / s", rate(20, 1, None), "20/s"),
            ("10/minute", rate(10, 60, None), "10/min"),
            ("10/m", rate(10, 60, None), "10/min"),
            ("10/5 minutes", rate(10, 300, None), "10/5min"),
            ("1000/hour", rate(1000, 3600, None), "1000/h"),
            ("1000/d", rate(1000, 86_400, None), "1000/day"),
            ("7/week", rate(7, 604_800, None), "7/7day"),
            (
                "10000/day burst 500",
                rate(10_000, 86_400, Some(500)),
                "10000/day burst 500",
            ),
            ("5/h burst 5", rate(5, 3600, Some(5)), "5/h burst 5"),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_a_reason() {
        for (text, words) in [
            ("", "no rate"),
            ("20", "no rate"),
            ("20/", "no rate"),
            ("/s", "no rate"),
            ("20/ms", "no rate"),
            ("20/s s", "no rate"),
            ("20/fortnight", "no rate"),
            ("20 per s", "no rate"),
            ("-1/s", "no rate"),
            ("+1/s", "no rate"),
            ("1.5/s", "no rate"),
            ("20/s burst", "no rate"),
            ("20/s burst x", "no rate"),
            ("20/é", "no rate"),
            ("0/s", "lets nothing through"),
            ("1/0s", "from 1s to 31day"),
            ("1/32day", "from 1s to 31day"),
            ("1/99999999999999999999day", "from 1s to 31day"),
            ("99999999999999999999/s", "counts up to"),
            ("20/s burst 0", "burst must be"),
            ("20/s burst 21", "burst must be from 1 to 20"),
        ] {
            let refused = text.parse::<Rate>().expect_err(text);
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    #[test]
    fn a_rate_over_a_longer_time() {
        let minute = rate(100, 60, None);
        assert_eq!(minute.most_in(DurationMs::from_secs(3600)), 6000);
        assert_eq!((minute.at_once(), rate(9, 1, Some(2)).at_once()), (100, 2));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            count in 1..=COUNT_MAX,
            seconds in 1..=PERIOD_SECONDS_MAX,
            burst in proptest::option::of(1u64..1000),
        ) {
            let rate = rate(count, seconds, burst.map(|burst| burst.min(count)));
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}|[0-9]{0,25}/[0-9]{0,25}(s|min|h|day)?( burst [0-9]{0,25})?") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            }
        }
    }
}
