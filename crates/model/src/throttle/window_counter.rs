//! What has ended and still counts.

use std::collections::VecDeque;

use minicbor::{Decode, Encode};

use crate::time::DurationMs;

/// What ends within a part of the window is counted as one, and for as long as the last of it. So a window of any size is
/// at most `SPANS_MAX` spans, and each event counts at most a 64th of the window longer than it has to.
const PARTS: u64 = 64;
/// Spans begin at least a part apart and count for a window and a part; one more is being filled. 24 bytes each.
#[cfg(test)]
pub(super) const SPANS_MAX: usize = PARTS as usize + 2;
/// Times are read in whole milliseconds: two that are `per` apart may be a little closer in truth.
const TICK: u64 = 1;

/// Events by when they ended, in milliseconds of a clock that never goes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct WindowCounter {
    #[n(0)]
    spans: VecDeque<Span>,
    #[n(1)]
    total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Span {
    #[n(0)]
    first: u64,
    #[n(1)]
    last: u64,
    #[n(2)]
    count: u64,
}

impl Span {
    fn expires(&self, per: DurationMs) -> u64 {
        self.last.saturating_add(per.0).saturating_add(TICK)
    }
}

impl WindowCounter {
    pub fn add(&mut self, now: u64, count: u64, per: DurationMs) {
        self.add_until(now, now, count, per);
    }

    /// Events of which it is only known that they will have ended at a time that may be to come. Others count on until
    /// their own windows are over.
    pub fn add_until(&mut self, now: u64, end: u64, count: u64, per: DurationMs) {
        if count == 0 {
            return;
        }
        self.forget(now, per);
        self.total = self.total.saturating_add(count);
        if let Some(newest) = self.spans.back_mut() {
            let end = end.max(newest.last);
            if end - newest.first <= per.0 / PARTS {
                newest.last = end;
                newest.count = newest.count.saturating_add(count);
                return;
            }
        }
        let first = self.spans.back().map_or(end, |newest| end.max(newest.last));
        let last = first;
        self.spans.push_back(Span { first, last, count });
    }

    pub fn forget(&mut self, now: u64, per: DurationMs) {
        while let Some(oldest) = self
            .spans
            .front()
            .filter(|oldest| oldest.expires(per) <= now)
        {
            self.total = self.total.saturating_sub(oldest.count);
            self.spans.pop_front();
        }
    }

    /// How many count now.
    pub fn total(&self, now: u64, per: DurationMs) -> u64 {
        let over = self
            .spans
            .iter()
            .take_while(|span| span.expires(per) <= now);
        self.total.saturating_sub(over.map(|span| span.count).sum())
    }

    /// When at least so many fewer than now are counted; none if there are not so many.
    pub fn falls_by(&self, excess: u64, now: u64, per: DurationMs) -> Option<u64> {
        let mut fallen = 0u64;
        let live = self.spans.iter().filter(|span| span.expires(per) > now);
        for span in live {
            fallen = fallen.saturating_add(span.count);
            if fallen >= excess {
                return Some(span.expires(per));
            }
        }
        None
    }

    /// Keeps to the bound on spans after the window has become longer.
    pub fn lengthen(&mut self, per: DurationMs) {
        let spans = std::mem::take(&mut self.spans);
        for span in spans {
            match self.spans.back_mut() {
                Some(newest) if span.last - newest.first <= per.0 / PARTS => {
                    newest.last = span.last;
                    newest.count = newest.count.saturating_add(span.count);
                }
                _ => self.spans.push_back(span),
            }
        }
    }

    #[cfg(test)]
    pub fn spans(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER: DurationMs = DurationMs::from_secs(64);

    #[test]
    fn what_ends_later_lets_nothing_be_forgotten_now() {
        let mut spent = WindowCounter::default();
        spent.add(1000, 2, PER);
        spent.add_until(2000, 200_000, 3, PER);
        assert_eq!(spent.total(2000, PER), 5);
        assert_eq!(spent.total(65_001, PER), 3);
        spent.add(65_001, 1, PER);
        assert_eq!(spent.total(65_001, PER), 4);
        assert_eq!(spent.total(264_001, PER), 0);
    }

    #[test]
    fn an_event_counts_for_a_window_and_at_most_a_64th_longer() {
        let mut spent = WindowCounter::default();
        spent.add(1000, 2, PER);
        spent.add(2000, 3, PER);
        spent.add(2001, 4, PER);
        assert_eq!(spent.total(65_000, PER), 9);
        assert_eq!(spent.falls_by(1, 65_000, PER), Some(66_001));
        assert_eq!(spent.falls_by(6, 65_000, PER), Some(66_002));
        assert_eq!(spent.falls_by(10, 65_000, PER), None);
        assert_eq!(spent.total(66_000, PER), 9);
        assert_eq!(spent.total(66_001, PER), 4);
        spent.forget(66_002, PER);
        assert_eq!(spent, WindowCounter::default());
    }

    #[test]
    fn a_million_events_take_a_few_spans() {
        let mut spent = WindowCounter::default();
        for now in 0..1_000_000 {
            spent.add(now, 1, PER);
            assert!(spent.spans() <= SPANS_MAX);
        }
        let counted = spent.total(1_000_000, PER);
        assert!((64_000..=65_001).contains(&counted), "{counted}");
    }

    #[test]
    fn a_longer_window_has_no_more_spans() {
        let mut spent = WindowCounter::default();
        let short = DurationMs::from_secs(1);
        for now in 0..1000 {
            spent.add(now, 1, short);
        }
        assert!(spent.spans() > 30);
        spent.lengthen(PER);
        assert_eq!((spent.spans(), spent.total(1000, PER)), (1, 1000));
    }
}
