//! Sites whose hosts give no connection: left alone for a while, with word to the groups that have tasks for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::Wait;
use skein_model::health::Health;
use skein_model::{DurationMs, Reply};

use crate::notified_groups::{Filed, NotifiedGroups};

/// Sites from IPs that failed lately, about 500 bytes each; those that are well are forgotten. Of more, none is known.
const ENTRIES_MAX: usize = 16_384;

/// A site that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub left: Duration,
    /// What its hosts said last.
    pub reply: Reply,
}

#[derive(Debug)]
pub struct SiteHealth {
    began: Instant,
    entries: Mutex<HashMap<String, SiteEntry>>,
}

#[derive(Debug, Default)]
struct SiteEntry {
    health: Health,
    last: Option<Reply>,
    /// The groups that know that the site is blocked now.
    told: NotifiedGroups,
}

impl Default for SiteHealth {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            entries: Mutex::default(),
        }
    }
}

fn key(site: &str, ip: &str) -> String {
    format!("{ip} {site}")
}

impl SiteHealth {
    fn now(&self) -> DurationMs {
        self.began.elapsed().into()
    }

    /// Whether no site failed lately.
    pub fn is_all_well(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// Why a site gets no connection from an IP at this moment, if that is so.
    pub fn blocked(&self, site: &str, ip: &str) -> Option<Blocked> {
        let entries = self.entries.lock();
        if entries.is_empty() {
            return None;
        }
        let (entry, now) = (entries.get(&key(site, ip))?, self.now());
        if !entry.health.is_blocked(now) {
            return None;
        }
        let until = entry.health.blocked_until()?;
        let reply = entry.last.clone()?;
        let left = Duration::from_millis(until.0.saturating_sub(now.0));
        Some(Blocked { left, reply })
    }

    /// Whether a site gave an IP no connection the last time, several times in a row.
    pub fn is_away(&self, site: &str, ip: &str) -> bool {
        let entries = self.entries.lock();
        let entry = entries.get(&key(site, ip));
        entry.is_some_and(|entry| entry.health.blocked_until().is_some())
    }

    /// Sites that are left alone now.
    pub fn waits(&self) -> Vec<Wait> {
        let (entries, now) = (self.entries.lock(), self.now());
        let blocked = entries.iter().filter(|(_, one)| one.health.is_blocked(now));
        let waits = blocked.filter_map(|(key, entry)| {
            let (ip, site) = key.split_once(' ')?;
            let until = entry.health.blocked_until()?;
            Some(Wait {
                site: site.to_owned(),
                ip: ip.to_owned(),
                text: format!(
                    "its hosts give no connection, and are asked again then: {}",
                    entry.last.as_ref()?
                ),
                for_ms: until.0.saturating_sub(now.0),
                ..Wait::default()
            })
        });
        waits.collect()
    }

    /// Connections that a site may have at once from an IP.
    pub fn connections_max(&self, site: &str, ip: &str) -> usize {
        let entries = self.entries.lock();
        let entry = match entries.is_empty() {
            true => None,
            false => entries.get(&key(site, ip)),
        };
        entry.map_or(usize::MAX, |entry| entry.health.connections_max() as usize)
    }

    /// Its hosts gave no session, or ended it at once. Tells whether it is left alone from now on.
    pub fn failed(&self, site: &str, ip: &str, reply: &Reply) -> bool {
        let mut entries = self.entries.lock();
        let key = key(site, ip);
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&key) {
            return false;
        }
        let entry = entries.entry(key).or_default();
        entry.last = Some(reply.clone());
        let until = entry.health.failed(self.now(), rand::random());
        if until.is_some() {
            entry.told.clear();
            tracing::info!(site, ip, %reply, "a site gives no connection and is left alone");
        }
        until.is_some()
    }

    /// A host of the site took or refused something. Tells whether more connections may be opened than before.
    pub fn works(&self, site: &str, ip: &str) -> bool {
        let mut entries = self.entries.lock();
        if entries.is_empty() {
            return false;
        }
        let key = key(site, ip);
        let Some(entry) = entries.get_mut(&key) else {
            return false;
        };
        if entry.health.works() {
            tracing::info!(site, ip, "a site takes connections again");
        }
        entry
            .told
            .drain(|group, name, slot| group.blocked(name, slot, Duration::ZERO));
        if entry.health.is_well() {
            entries.remove(&key);
        }
        true
    }

    /// Tells the group of a task that is set aside, once for each time that its site is left alone.
    pub fn tell(&self, site: &str, ip: &str, filed: Filed<'_>, left: Duration) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&key(site, ip)) else {
            return;
        };
        if entry.told.insert(filed) {
            filed.reporter.blocked(filed.name, filed.slot, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_left_alone_from_the_ip_that_it_does_not_answer() {
        let health = SiteHealth::default();
        let reply = Reply::ours((4, 4, 1), "refused");
        assert!(!health.works("a.test", "one"));
        let failures = (0..3).map(|_| health.failed("a.test", "one", &reply));
        assert_eq!(failures.collect::<Vec<_>>(), [false, false, true]);
        let blocked = health.blocked("a.test", "one").expect("three failures");
        assert_eq!(blocked.reply, reply);
        assert!(blocked.left > Duration::from_secs(4));
        assert!(health.is_away("a.test", "one") && !health.is_away("a.test", "two"));
        assert_eq!(health.connections_max("a.test", "one"), 1);
        for (site, ip) in [("a.test", "two"), ("b.test", "one"), ("a.test", "")] {
            assert!(health.blocked(site, ip).is_none());
            assert_eq!(health.connections_max(site, ip), usize::MAX);
        }
        assert!(health.works("a.test", "one"));
        assert!(health.blocked("a.test", "one").is_none());
        for _ in 0..20 {
            let _ = health.works("a.test", "one");
        }
        assert!(health.entries.lock().is_empty());
    }
}
