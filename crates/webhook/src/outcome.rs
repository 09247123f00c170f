//! How an attempt ended, and what follows from it (Standard Webhooks 1.0.0, delivery success and failure).

use minicbor::{Decode, Encode};
use skein_model::{DurationMs, UnixMs};

/// Octets of what is told of an answer: enough for a sentence of a receiver or of TLS.
pub const TEXT_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    #[n(0)]
    Answered {
        #[n(0)]
        status: u16,
        /// From now on; see [`retry_after`].
        #[n(1)]
        retry_after: Option<DurationMs>,
        /// The beginning of the body, for people.
        #[n(2)]
        text: String,
    },
    /// There was no answer: no connection, none that is permitted, TLS, the timeout, no HTTP.
    #[n(1)]
    Failed {
        #[n(0)]
        text: String,
    },
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// The endpoint wants nothing more.
    Gone,
    /// It is under load.
    Throttled,
    /// Redirects, too: they are not followed.
    Failed,
}

impl Outcome {
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Answered { status, .. } => match status {
                200..300 => Verdict::Delivered,
                410 => Verdict::Gone,
                429 | 502 | 503 | 504 => Verdict::Throttled,
                _ => Verdict::Failed,
            },
            Self::Failed { .. } => Verdict::Failed,
        }
    }

    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Failed { .. } => None,
        }
    }

    #[must_use]
    pub fn retry_after(&self) -> Option<DurationMs> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            Self::Failed { .. } => None,
        }
    }

    /// In one line of bounded length.
    #[must_use]
    pub fn text(&self) -> String {
        let (Self::Answered { text, .. } | Self::Failed { text }) = self;
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let mut line = String::new();
        for c in text.chars().map(plain) {
            if line.len() + c.len_utf8() > TEXT_BYTES_MAX {
                break;
            }
            line.push(c);
        }
        line
    }
}

/// The span of a Retry-After field (RFC 9110 10.2.3): seconds, or an HTTP date in its usual form. None for anything else.
#[must_use]
pub fn retry_after(value: &str, now: UnixMs) -> Option<DurationMs> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse::<u64>().unwrap_or(u64::MAX);
        return Some(DurationMs(seconds.saturating_mul(1000)));
    }
    imf_fixdate(value).map(|at| at.since(now))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7).
fn imf_fixdate(text: &str) -> Option<UnixMs> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day = number(parts.next()?, 31)?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year = number(parts.next()?, 9999).filter(|year| *year >= 1970)?;
    let mut time = parts.next()?.split(':');
    let hour = number(time.next()?, 23)?;
    let minute = number(time.next()?, 59)?;
    let second = number(time.next()?, 60)?;
    let is_whole = parts.next() == Some("GMT") && parts.next().is_none() && time.next().is_none();
    let days = days_since_1970(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    is_whole.then_some(UnixMs(seconds * 1000))
}

fn number(text: &str, max: u64) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| is_number && *value <= max)
}

/// Years begin in March here, so that a leap day is the last of one.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    (365 * year + leap_days + (153 * month + 2) / 5 + day).saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(status: u16, text: &str) -> Outcome {
        Outcome::Answered {
            status,
            retry_after: None,
            text: text.into(),
        }
    }

    #[test]
    fn each_status_has_a_verdict() {
        use Verdict::{Delivered, Failed, Gone, Throttled};
        for (statuses, verdict) in [
            (vec![200, 202, 204, 299], Delivered),
            (
                vec![
                    100, 101, 301, 302, 304, 307, 400, 401, 404, 408, 413, 500, 501, 505, 600, 0,
                ],
                Failed,
            ),
            (vec![410], Gone),
            (vec![429, 502, 503, 504], Throttled),
        ] {
            for status in statuses {
                assert_eq!(answered(status, "").verdict(), verdict, "{status}");
            }
        }
        let failed = Outcome::Failed {
            text: "timeout".into(),
        };
        assert_eq!((failed.verdict(), failed.status()), (Failed, None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixMs(784_111_777_000);
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 09:49:38 GMT", Some(3601)),
            ("Thu, 29 Feb 1996 00:00:00 GMT", Some(41_440_223)),
            ("Sun, 06 Nov 1988 08:49:37 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ] {
            let expected = seconds.map(DurationMs::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
        let far = retry_after("99999999999999999999999", now);
        assert_eq!(far, Some(DurationMs(u64::MAX)));
    }

    #[test]
    fn what_is_told_is_one_short_line() {
        let text = answered(500, &format!("a\r\nb{}", "\u{e9}".repeat(1000))).text();
        assert!(
            text.starts_with("a  b\u{e9}") && text.len() == TEXT_BYTES_MAX,
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_field_ends_the_reader(value in ".{0,40}", at: u64) {
            let span = retry_after(&value, UnixMs(at));
            prop_assert!(span.is_none() || value.contains(|c: char| c.is_ascii_digit()));
        }

        #[test]
        fn dates_are_those_that_payloads_have(seconds in 0..253_402_300_800u64) {
            let at = UnixMs(seconds * 1000);
            let text = skein_model::rfc3339::write(at);
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = month[text[5..7].parse::<usize>().expect("a month") - 1];
            let date = format!("Mon, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19]);
            prop_assert_eq!(imf_fixdate(&date), Some(at));
        }
    }
}
