//! How much of each site may be out at once, and whose share of that is used up.

use std::collections::{HashMap, VecDeque};

use crate::id::QueueId;
use crate::queue::SiteKey;

/// Tasks of one site, slot and priority that may be out at once. Enough to keep a site's connections busy, few enough
/// that a site which does not move cannot take a sender's whole window.
pub const IN_FLIGHT_PER_SITE: usize = 256;

/// The sites of all queues that have open tasks.
#[derive(Debug, Default)]
pub struct Sites(HashMap<SiteKey, Site>);

#[derive(Debug, Default)]
struct Site {
    /// Of all queues of the site.
    weight: u64,
    in_flight: usize,
    /// Queues that found the site full, in the order in which they came.
    parked: VecDeque<QueueId>,
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

impl Sites {
    pub fn add_weight(&mut self, site: SiteKey, weight: u32) {
        self.0.entry(site).or_default().weight += u64::from(weight);
    }

    pub fn remove_weight(&mut self, site: SiteKey, weight: u32) {
        if let Some(known) = self.0.get_mut(&site) {
            known.weight = known.weight.saturating_sub(u64::from(weight));
            if known.weight == 0 && known.in_flight == 0 {
                self.0.remove(&site);
            }
        }
    }

    /// Weights are about to be counted again.
    pub fn clear_weights(&mut self) {
        self.0.values_mut().for_each(|site| site.weight = 0);
    }

    /// What a queue of this weight may send out beside what it has out.
    ///
    /// Hosts take what is out in the order in which it came, so tenants get of a slow site what they have of its
    /// places. A queue has at least one.
    pub fn room(&self, site: SiteKey, weight: u32, in_flight: usize) -> Room {
        let Some(site) = self.0.get(&site) else {
            return Room::Tasks(IN_FLIGHT_PER_SITE);
        };
        let all = site.weight.max(1);
        let share = IN_FLIGHT_PER_SITE as u64 * u64::from(weight) / all;
        let share = usize::try_from(share).unwrap_or(IN_FLIGHT_PER_SITE).max(1);
        let own = share.saturating_sub(in_flight);
        let free = IN_FLIGHT_PER_SITE.saturating_sub(site.in_flight);
        match (own, free) {
            (0, _) => Room::OwnShareUsed,
            (_, 0) => Room::Full,
            (own, free) => Room::Tasks(own.min(free)),
        }
    }

    pub fn park(&mut self, site: SiteKey, queue: QueueId) {
        self.0.entry(site).or_default().parked.push_back(queue);
    }

    pub fn went_out(&mut self, site: SiteKey, tasks: usize) {
        self.0.entry(site).or_default().in_flight += tasks;
    }

    pub fn came_back(&mut self, site: SiteKey) {
        if let Some(known) = self.0.get_mut(&site) {
            known.in_flight = known.in_flight.saturating_sub(1);
            if known.weight == 0 && known.in_flight == 0 {
                self.0.remove(&site);
            }
        }
    }

    /// A parked queue that may have turns again, because there is room.
    ///
    /// Asked for after every turn and every return, so that none stays parked: whoever had room and did not use it
    /// leaves it to the next.
    pub fn unpark(&mut self, site: SiteKey) -> Option<QueueId> {
        let known = self.0.get_mut(&site)?;
        if known.in_flight < IN_FLIGHT_PER_SITE {
            return known.parked.pop_front();
        }
        None
    }
}
