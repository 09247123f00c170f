//! How much of each site may be out at once, and whose share of that is used up.

use std::collections::{HashMap, VecDeque};

use crate::id::QueueId;
use crate::queue::SiteKey;
use crate::time::{DurationMs, UnixMs};

/// Tasks of one site, slot and priority that may be out at once, at most: enough to keep many connections busy.
pub const WINDOW_MAX: usize = 256;
/// Of a site of which nothing is known yet.
const WINDOW_FIRST: usize = 8;
/// And at least, so that a site which moves one message a minute has it at hand, and hundreds of such sites do not take a
/// sender's whole window.
const WINDOW_MIN: usize = 1;
/// A window that comes back within this time is too small for its site.
const FAST: DurationMs = DurationMs::from_secs(1);
/// One of which less than half comes back within this time is too large.
const SLOW: DurationMs = DurationMs::from_secs(4);
/// A site that is nearly alone may fill most of a sender's window; a hundred that are equal hold a hundredth each.
const LEAVES: usize = 5;

/// The sites of all queues that have open tasks.
#[derive(Debug, Default)]
pub struct Sites {
    known: HashMap<SiteKey, Site>,
}

#[derive(Debug)]
struct Site {
    /// Of all queues of the site.
    weight: u64,
    in_flight: usize,
    window: Window,
    /// What it may have out beside what others had out when that was last asked for.
    allowed: usize,
    /// Queues that found the site full, in the order in which they came.
    parked: VecDeque<QueueId>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            weight: 0,
            in_flight: 0,
            window: Window {
                size: WINDOW_FIRST,
                came_back: 0,
                was_full: false,
                since: UnixMs(0),
            },
            allowed: usize::MAX,
            parked: VecDeque::new(),
        }
    }
}

/// Follows how fast a site's tasks come back, so that each site holds what it can use within seconds.
#[derive(Debug)]
struct Window {
    size: usize,
    /// And whether it was used up, since then.
    came_back: usize,
    was_full: bool,
    since: UnixMs,
}

impl Window {
    fn follow(&mut self, now: UnixMs) {
        let elapsed = now.since(self.since);
        let is_turned = self.came_back >= self.size;
        self.size = match () {
            () if is_turned && elapsed <= FAST => (self.size * 2).min(WINDOW_MAX),
            () if is_turned => self.size,
            () if elapsed < SLOW => return,
            () if self.was_full && self.came_back < self.size / 2 => {
                (self.size / 2).max(WINDOW_MIN)
            }
            () => self.size,
        };
        (self.came_back, self.was_full, self.since) = (0, false, now);
    }
}

/// What a session has out, of all that it may.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    pub held: usize,
    pub window: usize,
}

/// What a queue may send out.
#[derive(Debug, PartialEq, Eq)]
pub enum Room {
    Tasks(usize),
    /// Nothing, until one of its own tasks comes back.
    OwnShareUsed,
    /// Nothing, until any task of the site comes back.
    Full,
}

impl Site {
    fn most(&self) -> usize {
        self.window.size.min(self.allowed)
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.most()
    }

    fn is_unused(&self) -> bool {
        self.weight == 0 && self.in_flight == 0
    }
}

impl Sites {
    pub fn add_weight(&mut self, site: SiteKey, weight: u32) {
        self.known.entry(site).or_default().weight += u64::from(weight);
    }

    pub fn remove_weight(&mut self, site: SiteKey, weight: u32) {
        if let Some(known) = self.known.get_mut(&site) {
            known.weight = known.weight.saturating_sub(u64::from(weight));
            if known.is_unused() {
                self.known.remove(&site);
            }
        }
    }

    /// Weights are about to be counted again.
    pub fn clear_weights(&mut self) {
        self.known.values_mut().for_each(|site| site.weight = 0);
    }

    /// What a queue of this weight may send out beside what it has out.
    ///
    /// Hosts take what is out in the order in which it came, so tenants get of a slow site what they have of its
    /// places. A queue has at least one.
    ///
    /// Beside others that hold places of its session, a site leaves one in [`LEAVES`] of the rest free: the more sites hold
    /// what they were given, the less each may hold, and something is left for one that comes later (dynamic thresholds,
    /// Choudhury and Hahne 1998).
    pub fn room(
        &mut self,
        site: SiteKey,
        now: UnixMs,
        weight: u32,
        in_flight: usize,
        places: Places,
    ) -> Room {
        let Some(site) = self.known.get_mut(&site) else {
            return Room::Tasks(WINDOW_FIRST);
        };
        site.window.follow(now);
        let others = places.held.saturating_sub(site.in_flight);
        let rest = places.window.saturating_sub(others);
        site.allowed = (rest - (rest / LEAVES).min(others)).max(1);
        let all = site.weight.max(1);
        let share = |window: usize| {
            let share = window as u64 * u64::from(weight) / all;
            usize::try_from(share).unwrap_or(window).max(1)
        };
        let (size, most) = (site.window.size, site.most());
        let own = share(most).saturating_sub(in_flight);
        let free = most.saturating_sub(site.in_flight);
        site.window.was_full |= site.in_flight >= size || in_flight >= share(size);
        match (own, free) {
            (0, _) => Room::OwnShareUsed,
            (_, 0) => Room::Full,
            (own, free) => Room::Tasks(own.min(free)),
        }
    }

    pub fn park(&mut self, site: SiteKey, queue: QueueId) {
        self.known.entry(site).or_default().parked.push_back(queue);
    }

    pub fn went_out(&mut self, site: SiteKey, tasks: usize) {
        self.known.entry(site).or_default().in_flight += tasks;
    }

    pub fn came_back(&mut self, site: SiteKey) {
        if let Some(known) = self.known.get_mut(&site) {
            known.in_flight = known.in_flight.saturating_sub(1);
            known.window.came_back += 1;
            if known.is_unused() {
                self.known.remove(&site);
            }
        }
    }

    /// A parked queue that may have turns again, because there is room.
    ///
    /// Asked for after every turn and every return, so that none stays parked: a session that had room and did not use it
    /// leaves it to the next.
    pub fn unpark(&mut self, site: SiteKey) -> Option<QueueId> {
        let known = self.known.get_mut(&site)?;
        match known.has_room() {
            true => known.parked.pop_front(),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteKey = SiteKey(7);

    fn room(sites: &mut Sites, at: u64) -> Room {
        let in_flight = sites.known[&SITE].in_flight;
        let (held, window) = (in_flight, usize::MAX);
        sites.room(SITE, UnixMs(at), 1, in_flight, Places { held, window })
    }

    /// Fills the window at a time and takes back so many tasks.
    fn turn(sites: &mut Sites, at: u64, back: usize) -> usize {
        if let Room::Tasks(tasks) = room(sites, at) {
            sites.went_out(SITE, tasks);
        }
        // A session asks that finds it full.
        let _ = room(sites, at);
        (0..back).for_each(|_| sites.came_back(SITE));
        sites.known[&SITE].window.size
    }

    #[test]
    fn a_site_holds_what_it_can_use_within_seconds() {
        let mut sites = Sites::default();
        sites.add_weight(SITE, 1);
        let mut window = WINDOW_FIRST;
        for at in 0..20 {
            let before = window;
            window = turn(&mut sites, at * 100, before);
            assert!(window >= before);
        }
        assert_eq!(window, WINDOW_MAX, "all of it came back at once");
        for at in 1..60 {
            window = turn(&mut sites, 2000 + at * 1000, 1);
        }
        assert_eq!(window, 8, "one comes back in a second");
        for at in 1..5 {
            window = turn(&mut sites, 61_000 + at * 2000, window);
        }
        assert!(window <= 8, "four in a second are no reason for more");
        for at in 1..10 {
            window = turn(&mut sites, 80_000 + at * 30_000, 1);
        }
        assert!(window <= 2, "two come back in a minute");
    }

    #[test]
    fn a_site_that_has_little_mail_keeps_its_window() {
        let mut sites = Sites::default();
        sites.add_weight(SITE, 1);
        for at in 0..100 {
            assert!(matches!(room(&mut sites, at * 5000), Room::Tasks(_)));
            sites.went_out(SITE, 1);
            sites.came_back(SITE);
        }
        assert_eq!(sites.known[&SITE].window.size, WINDOW_FIRST);
    }
}
