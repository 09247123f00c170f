//! Which hosts gave connections of late: a port that is closed on the way shows in all of them together.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::Connects;

/// How far back the attempts are counted.
const KEPT: Duration = Duration::from_secs(600);
/// Hosts that are remembered; a closed port shows in far fewer.
const HOSTS_MAX: usize = 512;
/// Of a fault that is told, in bytes.
const FAULT_BYTES_MAX: usize = 300;

/// The latest attempt at each host of each site.
#[derive(Debug, Default)]
pub struct RecentConnects(Mutex<HashMap<(String, IpAddr), Attempt>>);

#[derive(Debug)]
struct Attempt {
    at: Instant,
    /// When it last gave a connection.
    connected_at: Option<Instant>,
    fault: String,
}

impl RecentConnects {
    /// A host gave a connection, or did not and why.
    pub fn note(&self, now: Instant, site: &str, host: IpAddr, result: Result<(), &str>) {
        let mut hosts = self.0.lock();
        let is_known = hosts.contains_key(&(site.to_owned(), host));
        if !is_known && hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, attempt| now.duration_since(attempt.at) < KEPT);
            if hosts.len() >= HOSTS_MAX {
                return;
            }
        }
        let attempt = hosts.entry((site.to_owned(), host)).or_insert(Attempt {
            at: now,
            connected_at: None,
            fault: String::new(),
        });
        attempt.at = now;
        match result {
            Ok(()) => attempt.connected_at = Some(now),
            Err(fault) => {
                let end = fault.floor_char_boundary(FAULT_BYTES_MAX);
                fault[..end].clone_into(&mut attempt.fault);
            }
        }
    }

    pub fn summary(&self, now: Instant) -> Connects {
        let is_recent = |at: Instant| now.duration_since(at) < KEPT;
        let mut hosts = self.0.lock();
        hosts.retain(|_, attempt| is_recent(attempt.at));
        let connected = hosts
            .values()
            .filter(|one| one.connected_at.is_some_and(is_recent));
        let failed = hosts.values().filter(|one| !one.fault.is_empty());
        let last = failed.max_by_key(|one| one.at);
        let sites: BTreeSet<&str> = hosts.keys().map(|(site, _)| site.as_str()).collect();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Connects {
            minutes: count(KEPT.as_secs() as usize / 60),
            hosts: count(hosts.len()),
            connected: count(connected.count()),
            sites: count(sites.len()),
            last_fault: last.map(|one| one.fault.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_count_once_and_for_ten_minutes() {
        let (connects, began) = (RecentConnects::default(), Instant::now());
        let host = |last: u8| IpAddr::from([192, 0, 2, last]);
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        for (seconds, site, last, result) in [
            (0, "a.test", 1, Ok(())),
            (10, "a.test", 1, Err("timed out")),
            (20, "a.test", 2, Err("timed out")),
            (30, "b.test", 3, Err("refused")),
        ] {
            connects.note(at(seconds), site, host(last), result);
        }
        let seen = connects.summary(at(40));
        assert_eq!((seen.hosts, seen.connected, seen.sites), (3, 1, 2));
        assert_eq!((seen.minutes, seen.last_fault.as_str()), (10, "refused"));
        let seen = connects.summary(at(605));
        assert_eq!(
            (seen.hosts, seen.connected),
            (3, 0),
            "it connected too long ago"
        );
        let seen = connects.summary(at(625));
        assert_eq!((seen.hosts, seen.sites), (1, 1));
        assert_eq!(connects.summary(at(700)).hosts, 0);
    }

    #[test]
    fn no_more_hosts_are_remembered_than_is_needed() {
        let (connects, now) = (RecentConnects::default(), Instant::now());
        for n in 0..2 * HOSTS_MAX {
            let long = "é".repeat(400);
            connects.note(now, &format!("{n}.test"), [192, 0, 2, 1].into(), Err(&long));
        }
        let seen = connects.summary(now);
        assert_eq!(seen.hosts as usize, HOSTS_MAX);
        assert!(seen.last_fault.len() <= FAULT_BYTES_MAX);
    }
}
