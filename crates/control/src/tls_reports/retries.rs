//! When a report that could not be sent is tried again. Pure: time is an argument.

use std::collections::BTreeMap;

use skein_model::meta::tls_reports::sent_at;
use skein_model::tls_report::Day;
use skein_model::{DurationMs, UnixMs};

const FIRST_WAIT: DurationMs = DurationMs::from_secs(5);
const WAIT_MAX: DurationMs = DurationMs::from_secs(30 * 60);
/// RFC 8460 5.4: a report is tried for a day.
const TRIED_FOR: DurationMs = DurationMs::from_secs(86_400);

/// Reports whose turn is to come again; the leader's alone, so that another one tries at once.
#[derive(Debug, Default)]
pub struct Retries(BTreeMap<(Day, String), Retry>);

#[derive(Debug)]
struct Retry {
    failures: u32,
    at: UnixMs,
}

impl Retries {
    /// Whether it may be tried now.
    pub fn may(&self, report: &(Day, String), now: UnixMs) -> bool {
        self.0.get(report).is_none_or(|retry| now >= retry.at)
    }

    pub fn failed(&mut self, report: (Day, String), now: UnixMs) {
        let retry = self.0.entry(report).or_insert(Retry {
            failures: 0,
            at: now,
        });
        let wait = FIRST_WAIT
            .0
            .saturating_mul(3u64.saturating_pow(retry.failures));
        retry.at = now + DurationMs(wait.min(WAIT_MAX.0));
        retry.failures += 1;
    }

    /// Those are gone, or sent.
    pub fn keep(&mut self, is_counted: impl Fn(Day, &str) -> bool) {
        self.0.retain(|(day, domain), _| is_counted(*day, domain));
    }
}

/// Whether a report has been tried for long enough.
pub fn is_late(day: Day, domain: &str, now: UnixMs) -> bool {
    now.since(sent_at(day, domain)) >= TRIED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_tried_again_ever_later_for_a_day() {
        let (mut retries, day) = (Retries::default(), Day(20_000));
        let report = || (day, "a.example".to_owned());
        let mut now = day.ends_at();
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(retries.may(&report(), now));
            retries.failed(report(), now);
            let from = now;
            while !retries.may(&report(), now) {
                now = now + DurationMs(1000);
            }
            waits.push(now.since(from).0 / 1000);
        }
        assert_eq!(waits, [5, 15, 45, 135, 405, 1215, 1800, 1800]);
        retries.keep(|_, _| false);
        retries.failed(report(), now);
        assert!(!retries.may(&report(), now));
        let due = sent_at(day, "a.example");
        for (hours, late) in [(0, false), (23, false), (24, true)] {
            let at = due + DurationMs::from_secs(hours * 3600);
            assert_eq!(is_late(day, "a.example", at), late, "{hours}");
        }
        assert!(!is_late(day, "a.example", day.begins_at()));
    }
}
