//! How often senders ask for sessions: one that asks again and again shares its name with another process, or cannot keep
//! what it has. In the leader's memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_wire::internal::Reopened;

const WITHIN: Duration = Duration::from_secs(60);
/// Of one name; that it is more says nothing new.
const TIMES_MAX: usize = 256;
/// More senders than a cluster has.
const NAMES_MAX: usize = 1024;
/// Of one name that are told.
const ADDRESSES_MAX: usize = 8;

#[derive(Debug, Clone, Default)]
pub struct Openings(Arc<Mutex<BTreeMap<String, Opened>>>);

#[derive(Debug, Default)]
struct Opened {
    latest: VecDeque<(Instant, String)>,
    /// Where the process runs that has the session.
    holder: String,
}

impl Opened {
    fn forget(&mut self, now: Instant) {
        let is_old = |at: Instant| now.duration_since(at) > WITHIN;
        while self.latest.front().is_some_and(|(at, _)| is_old(*at)) {
            self.latest.pop_front();
        }
    }
}

impl Openings {
    /// A process at this address asks for the session of a name.
    pub fn asked(&self, now: Instant, name: &str, address: &str) {
        let mut names = self.0.lock();
        if !names.contains_key(name) && names.len() >= NAMES_MAX {
            names.retain(|_, opened| {
                opened.forget(now);
                !opened.latest.is_empty()
            });
            if names.len() >= NAMES_MAX {
                return;
            }
        }
        let opened = names.entry(name.to_owned()).or_default();
        opened.forget(now);
        if opened.latest.len() >= TIMES_MAX {
            opened.latest.pop_front();
        }
        opened.latest.push_back((now, address.to_owned()));
    }

    /// It has the session.
    pub fn opened(&self, name: &str, address: &str) {
        if let Some(opened) = self.0.lock().get_mut(name) {
            address.clone_into(&mut opened.holder);
        }
    }

    /// Those that asked within the latest minute, and from where.
    pub fn recent(&self, now: Instant) -> Vec<Reopened> {
        let mut names = self.0.lock();
        let recent = names.iter_mut().filter_map(|(name, opened)| {
            opened.forget(now);
            if opened.latest.is_empty() {
                return None;
            }
            let asked = opened.latest.iter().map(|(_, address)| address);
            let mut addresses: Vec<String> = asked
                .chain([&opened.holder])
                .filter(|address| !address.is_empty())
                .cloned()
                .collect();
            addresses.sort();
            addresses.dedup();
            addresses.truncate(ADDRESSES_MAX);
            Some(Reopened {
                sender: name.clone(),
                times: u32::try_from(opened.latest.len()).unwrap_or(u32::MAX),
                addresses,
            })
        });
        recent.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_with_the_one_that_has_it_for_a_minute() {
        let (openings, began) = (Openings::default(), Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        openings.asked(at(0), "mx", "10.0.0.1:5001");
        openings.opened("mx", "10.0.0.1:5001");
        for second in 70..75 {
            openings.asked(at(second), "mx", "10.0.0.2:5002");
        }
        openings.asked(at(75), "other", "10.0.0.3:5003");
        let seen = openings.recent(at(80));
        let shown = seen.iter().map(|one| (one.sender.as_str(), one.times));
        assert_eq!(shown.collect::<Vec<_>>(), [("mx", 5), ("other", 1)]);
        assert_eq!(seen[0].addresses, ["10.0.0.1:5001", "10.0.0.2:5002"]);
        assert_eq!(openings.recent(at(200)), []);
    }

    #[test]
    fn a_process_that_asks_for_ever_takes_no_more_room() {
        let (openings, now) = (Openings::default(), Instant::now());
        for n in 0..10 * TIMES_MAX {
            openings.asked(now, "mx", &format!("10.0.0.1:{n}"));
            openings.asked(now, &format!("n{n}"), "");
        }
        let seen = openings.recent(now);
        assert!(seen.len() <= NAMES_MAX);
        let mx = seen.iter().find(|one| one.sender == "mx");
        let mx = mx.expect("it was first");
        assert_eq!(
            (mx.times as usize, mx.addresses.len()),
            (TIMES_MAX, ADDRESSES_MAX)
        );
    }
}
