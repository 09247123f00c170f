//! A limit on what repeats: an outage is told of, and does not fill a disk.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Debug, Write};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
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
    every: Duration::from_secs(10),
};
/// openraft tells of an unreachable member twice a second for each group.
const OPENRAFT: Limit = Limit {
    at_once: 5,
    every: Duration::from_secs(30),
};

/// A line that says the same as one before it, to the letter, is heard no more often.
const SAME_EVERY: Duration = Duration::from_secs(30);
/// Lines of one place that are told apart; the eldest give way.
const SAID_MAX: usize = 64;

fn limit_of(target: &str) -> Limit {
    match target.starts_with("openraft") {
        true => OPENRAFT,
        false => OURS,
    }
}

/// Lets through what each place in the code may say. There are some hundred such places.
#[derive(Debug, Default)]
pub struct Limited(Mutex<HashMap<Identifier, Place>>);

#[derive(Debug)]
struct Place {
    allowance: Allowance,
    /// When a line with these values last passed.
    said: HashMap<u64, Instant>,
}

impl Place {
    fn new(limit: Limit, now: Instant) -> Self {
        Self {
            allowance: Allowance::whole(limit, now),
            said: HashMap::new(),
        }
    }

    fn take(&mut self, limit: Limit, line: u64, now: Instant) -> bool {
        self.said
            .retain(|_, at| now.duration_since(*at) < SAME_EVERY);
        if self.said.contains_key(&line) || !self.allowance.take(limit, now) {
            return false;
        }
        if self.said.len() >= SAID_MAX {
            let eldest = self.said.iter().min_by_key(|(_, at)| **at);
            let eldest = eldest.map(|(line, _)| *line);
            self.said.retain(|line, _| Some(*line) != eldest);
        }
        self.said.insert(line, now);
        true
    }
}

/// The values of an event as one number.
struct Values(DefaultHasher);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        field.name().hash(&mut self.0);
        // Hashing does not fail.
        let _ = write!(self, "{value:?}");
    }
}

impl Write for Values {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn line(event: &Event<'_>) -> u64 {
    let mut values = Values(DefaultHasher::new());
    event.record(&mut values);
    values.0.finish()
}

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
        // An operator that asks for these wants all of them.
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let (limit, now) = (limit_of(event.metadata().target()), Instant::now());
        let line = line(event);
        let mut places = self.0.lock();
        let place = places.entry(event.metadata().callsite());
        let place = place.or_insert_with(|| Place::new(limit, now));
        place.take(limit, line, now)
    }

    /// No level is held back as such. Without that said, nobody would know which levels the other filter reads.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
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

    /// A sender that finds no leader says so five times a second.
    #[test]
    fn the_same_line_is_heard_once_in_half_a_minute() {
        let start = Instant::now();
        let mut place = Place::new(OURS, start);
        let mut heard = |line: u64, from_ms: u64, to_ms: u64| {
            let times = (from_ms..to_ms).step_by(200);
            let at = |ms| start + Duration::from_millis(ms);
            times.filter(|ms| place.take(OURS, line, at(*ms))).count()
        };
        assert_eq!(heard(1, 0, 29_000), 1);
        assert_eq!(heard(2, 29_000, 30_000), 1, "another line");
        assert_eq!(heard(1, 30_000, 90_000), 2);
        for other in 0..1000 {
            heard(10 + other, 90_000, 90_001);
        }
        assert!(place.said.len() <= SAID_MAX);
    }

    #[test]
    fn openraft_is_heard_least() {
        assert_eq!(limit_of("openraft::replication"), OPENRAFT);
        assert_eq!(limit_of("skein_sender::deliver"), OURS);
    }
}
