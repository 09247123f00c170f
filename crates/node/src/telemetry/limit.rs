//! A limit on what repeats: an outage is told of, and does not fill a disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// How often one place in the code may be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    at_once: u32,
    /// After that.
    every: Duration,
}

/// Enough to see a dozen clients or sessions meet the same trouble.
const OURS: Limit = Limit {
    at_once: 30,
    every: Duration::from_secs(1),
};
/// openraft tells of an unreachable member twice a second for each group.
const OPENRAFT: Limit = Limit {
    at_once: 5,
    every: Duration::from_secs(30),
};

fn limit_of(target: &str) -> Limit {
    match target.starts_with("openraft") {
        true => OPENRAFT,
        false => OURS,
    }
}

/// Lets through what each place in the code may say. There are some hundred such places.
#[derive(Debug, Default)]
pub struct Limited(Mutex<HashMap<Identifier, Allowance>>);

#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn whole(limit: Limit, now: Instant) -> Self {
        Self {
            left: limit.at_once,
            since: now,
        }
    }

    fn take(&mut self, limit: Limit, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_millis() / limit.every.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(limit.at_once);
            self.since = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl<S> Filter<S> for Limited {
    fn enabled(&self, _place: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        // Who asks for these wants all of them.
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let (limit, now) = (limit_of(event.metadata().target()), Instant::now());
        let mut allowances = self.0.lock();
        let allowance = allowances.entry(event.metadata().callsite());
        let allowance = allowance.or_insert_with(|| Allowance::whole(limit, now));
        allowance.take(limit, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_heard_now_and_then() {
        let limit = Limit {
            at_once: 3,
            every: Duration::from_secs(10),
        };
        let start = Instant::now();
        let mut allowance = Allowance::whole(limit, start);
        let mut heard = |from_s: u64, to_s: u64| {
            let seconds = from_s..to_s;
            let at = |second| start + Duration::from_secs(second);
            seconds
                .filter(|second| allowance.take(limit, at(*second)))
                .count()
        };
        assert_eq!(heard(0, 10), 3, "at once");
        assert_eq!(heard(10, 110), 10, "once in ten seconds");
        assert_eq!(heard(500, 510), 3, "after a rest");
    }

    #[test]
    fn openraft_is_heard_least() {
        assert_eq!(limit_of("openraft::replication"), OPENRAFT);
        assert_eq!(limit_of("skein_sender::deliver"), OURS);
    }
}
