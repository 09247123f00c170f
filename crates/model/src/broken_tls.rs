//! Hosts whose TLS does not work: mail that may go in the clear does so at once, for a while.
//!
//! What is known is advice. Each sender remembers what it met and what others told, tells the leader what that does not know,
//! and hears from it what others know; so it outlives senders and leaders, in memory only. The end of each entry is a moment
//! of the meta group's time, so however often it is told it ends then.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::time::{DurationMs, UnixMs};

/// A host that is mended has its mail encrypted again after this. Each try costs a handshake of up to ten seconds and a
/// connection, once an hour.
pub const KEPT: DurationMs = DurationMs::from_secs(60 * 60);
/// About 300 bytes each, told with a heartbeat when they change. Of more, each sender finds out for itself.
pub const HOSTS_MAX: usize = 1024;
/// Of a host's name, its site and a reason.
pub const TEXT_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// As mail for it names the host.
    pub host: String,
    pub site: String,
    /// What happened.
    pub reason: String,
    /// TLS is tried again then.
    pub until: UnixMs,
}

/// By the addresses that were connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokenHosts(BTreeMap<SocketAddr, Broken>);

impl BrokenHosts {
    /// Takes over what a sender says, with the later end of two. Tells whether that is news.
    pub fn note(&mut self, address: SocketAddr, mut broken: Broken, now: UnixMs) -> bool {
        self.forget(now);
        broken.until = broken.until.min(now + KEPT);
        let known = self.0.get(&address);
        let is_news = broken.until > now && known.is_none_or(|known| known.until < broken.until);
        if !is_news || (known.is_none() && self.0.len() >= HOSTS_MAX) {
            return false;
        }
        for text in [&mut broken.host, &mut broken.site, &mut broken.reason] {
            let end = text.floor_char_boundary(TEXT_MAX);
            text.truncate(end);
        }
        self.0.insert(address, broken);
        true
    }

    /// Why a host is not asked for TLS now, if that is so.
    pub fn get(&self, address: SocketAddr, now: UnixMs) -> Option<&Broken> {
        self.0.get(&address).filter(|known| now < known.until)
    }

    /// All of which the other one does not know, or not as long.
    pub fn beyond<'a>(
        &'a self,
        other: &'a Self,
        now: UnixMs,
    ) -> impl Iterator<Item = (SocketAddr, &'a Broken)> {
        let is_unknown = move |(address, known): &(&SocketAddr, &Broken)| {
            let there = other.0.get(*address);
            now < known.until && there.is_none_or(|there| there.until < known.until)
        };
        let unknown = self.0.iter().filter(is_unknown);
        unknown.map(|(address, known)| (*address, known))
    }

    pub fn all(&self, now: UnixMs) -> impl Iterator<Item = (SocketAddr, &Broken)> {
        let live = self.0.iter().filter(move |(_, known)| now < known.until);
        live.map(|(address, known)| (*address, known))
    }

    fn forget(&mut self, now: UnixMs) {
        self.0.retain(|_, known| now < known.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);

    fn address(n: usize) -> SocketAddr {
        let [.., high, low] = n.to_be_bytes();
        SocketAddr::from(([192, 0, high, low], 25))
    }

    fn broken(until: UnixMs) -> Broken {
        Broken {
            host: "mx.there.test".into(),
            site: "there.test".into(),
            reason: "no common version".into(),
            until,
        }
    }

    #[test]
    fn what_is_told_on_and_on_ends_when_it_was_to_end() {
        let (mut leader, mut one, mut other) = <(BrokenHosts, BrokenHosts, BrokenHosts)>::default();
        assert!(one.note(address(1), broken(NOW + KEPT), NOW));
        let mut now = NOW;
        let mut told = 0;
        while now < NOW + KEPT {
            for sender in [&mut one, &mut other] {
                let unknown: Vec<_> = sender
                    .beyond(&leader, now)
                    .map(|(a, b)| (a, b.clone()))
                    .collect();
                for (address, broken) in unknown {
                    told += u32::from(leader.note(address, broken, now));
                }
                let unknown: Vec<_> = leader
                    .beyond(sender, now)
                    .map(|(a, b)| (a, b.clone()))
                    .collect();
                for (address, broken) in unknown {
                    told += u32::from(sender.note(address, broken, now));
                }
            }
            assert!(other.get(address(1), now).is_some());
            if now == NOW + DurationMs(600_000) {
                // The next leader knows nothing, nor does a sender that comes.
                (leader, one) = Default::default();
            }
            now = now + DurationMs(2_500);
        }
        assert_eq!(told, 4, "each hears of it once");
        for known in [&leader, &one, &other] {
            assert_eq!(known.get(address(1), now), None);
            assert_eq!(known.all(now).count(), 0);
        }
    }

    #[test]
    fn nobody_makes_it_long_or_large() {
        let mut hosts = BrokenHosts::default();
        let long = Broken {
            reason: "\u{fc}".repeat(4_000),
            ..broken(UnixMs(u64::MAX))
        };
        assert!(hosts.note(address(0), long, NOW));
        let known = hosts.get(address(0), NOW).cloned();
        assert!(known.is_some_and(|known| known.reason.len() <= TEXT_MAX));
        assert_eq!(hosts.get(address(0), NOW + KEPT), None);
        assert!(!hosts.note(address(1), broken(NOW), NOW), "it has ended");
        for n in 0..2 * HOSTS_MAX {
            hosts.note(address(n), broken(NOW + KEPT), NOW);
        }
        assert_eq!(hosts.all(NOW).count(), HOSTS_MAX);
        let later = NOW + KEPT;
        assert!(
            hosts.note(address(5_000), broken(later + KEPT), later),
            "there is room again"
        );
    }
}
