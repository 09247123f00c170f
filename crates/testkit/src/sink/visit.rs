//! When who was connected.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::unix_ms;

/// The kernel counts in ticks of up to 10 ms, and two times that are compared are each a tick off.
pub const TICKS_MS: u64 = 20;

/// One connection; times in milliseconds since the Unix epoch, as the kernel of the sink noted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub peer: SocketAddr,
    pub began_ms: u64,
    /// When the other side said QUIT or went away, or the sink ended it. None: it is still open.
    pub ended_ms: Option<u64>,
}

impl Visit {
    /// Whether it stood then, for all that ticks of the kernel tell.
    pub fn stands_at(&self, at_ms: u64) -> bool {
        let ended = self.ended_ms.unwrap_or(u64::MAX);
        self.began_ms <= at_ms && ended.saturating_sub(TICKS_MS) > at_ms
    }
}

/// Those after the first so many are not kept.
#[derive(Debug)]
pub(super) struct Visits {
    kept: Mutex<Vec<Visit>>,
    most: usize,
}

impl Visits {
    pub fn new(most: usize) -> Self {
        let kept = Mutex::default();
        Self { kept, most }
    }

    pub fn begin(&self, peer: SocketAddr, stands_for: Duration) -> Option<usize> {
        let mut kept = self.kept.lock();
        let number = kept.len();
        (number < self.most).then(|| {
            kept.push(Visit {
                peer,
                began_ms: before_now(stands_for),
                ended_ms: None,
            });
            number
        })
    }

    pub fn end(&self, number: Option<usize>, ended_ms: u64) {
        if let Some(number) = number {
            self.kept.lock()[number].ended_ms = Some(ended_ms);
        }
    }

    pub fn all(&self) -> Vec<Visit> {
        self.kept.lock().clone()
    }
}

/// The time that was so long ago, in milliseconds since the Unix epoch.
pub(super) fn before_now(ago: Duration) -> u64 {
    unix_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
}

/// The most connections that stood at one time, beginning within the span, and the time of that. One that follows another
/// within the precision of the clock is not beside it, and one that is shorter than that is beside no other.
pub fn most_at_once(visits: &[Visit], span_ms: std::ops::Range<u64>) -> (usize, u64) {
    let stood = |at: u64| {
        let begins = visits.iter().any(|visit| visit.began_ms == at);
        let standing = visits.iter().filter(|visit| visit.stands_at(at));
        standing.count().max(begins.into())
    };
    // The number only grows when one begins; those that stood before count at the begin of the span.
    let begins = visits.iter().map(|visit| visit.began_ms);
    let begins = begins.filter(|at| span_ms.contains(at));
    let times = std::iter::once(span_ms.start).chain(begins);
    let counts = times.map(|at| (stood(at), at));
    counts.max_by_key(|(count, _)| *count).unwrap_or_default()
}

/// The most of these moments that lie within a window of so many milliseconds, for all that ticks of the kernel tell.
pub fn most_within(mut at_ms: Vec<u64>, window: u64) -> usize {
    at_ms.sort_unstable();
    let window = window.saturating_sub(TICKS_MS);
    let mut first = 0;
    let within = at_ms.iter().enumerate().map(|(last, at)| {
        while at_ms[first] + window <= *at {
            first += 1;
        }
        last - first + 1
    });
    within.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_as_long_as_they_stand() {
        let visit = |began_ms, ended_ms| Visit {
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            began_ms,
            ended_ms,
        };
        let visits = [
            visit(100, Some(1000)),
            visit(500, Some(700)),
            // It follows the one before.
            visit(690, Some(800)),
            visit(900, None),
            // Ticks have these two in the wrong order: the second followed the first.
            visit(1102, Some(1103)),
            visit(1100, Some(1150)),
        ];
        for (span, expected) in [
            (0..u64::MAX, 2),
            (0..400, 1),
            (600..650, 2),
            (820..850, 1),
            (1050..1200, 2),
            (2000..3000, 1),
            (0..50, 0),
        ] {
            let (count, at) = most_at_once(&visits, span.clone());
            assert_eq!(count, expected, "{span:?} at {at}");
        }
    }

    #[test]
    fn a_window_ends_before_its_length_is_over() {
        assert_eq!(most_within(Vec::new(), 1000), 0);
        assert_eq!(most_within(vec![0, 979, 980, 1958, 1959], 1000), 3);
        assert_eq!(most_within(vec![5, 5, 5], 1000), 3);
    }
}
