//! How many connections a port has, and who gives way when there is no room.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::connection::Line;

/// Places of one port, or of one stage of its connections.
///
/// A newcomer takes the place of another: of the network that has most, and there of the one that has said nothing, then of
/// the one that has been silent longest. So who floods a port displaces itself. Networks that have proven who they are do not
/// give way to those that have not.
#[derive(Debug)]
pub struct Places {
    max: usize,
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    network: IpAddr,
    is_known: bool,
    line: Arc<Line>,
}

/// All places are held by networks that go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Places {
    pub fn new(max: usize) -> Self {
        Self {
            max,
            next: 0,
            entries: BTreeMap::new(),
        }
    }

    /// Gives a place, and says whose it was; that line is to be cut.
    ///
    /// # Errors
    /// The newcomer has no right to any place.
    pub fn enter(
        &mut self,
        network: IpAddr,
        is_known: bool,
        line: Arc<Line>,
    ) -> Result<(u64, Option<Arc<Line>>), Full> {
        let displaced = match self.entries.len() < self.max {
            true => None,
            false => Some(self.gives_way(network, is_known).ok_or(Full)?),
        };
        let displaced = displaced.and_then(|id| self.entries.remove(&id));
        let id = self.next;
        self.next += 1;
        let entry = Entry {
            network,
            is_known,
            line,
        };
        self.entries.insert(id, entry);
        Ok((id, displaced.map(|entry| entry.line)))
    }

    /// The place is free again, unless another connection has it by now.
    pub fn leave(&mut self, id: u64) {
        self.entries.remove(&id);
    }

    pub fn taken(&self) -> usize {
        self.entries.len()
    }

    fn gives_way(&self, newcomer: IpAddr, is_known: bool) -> Option<u64> {
        let has_strangers = self.entries.values().any(|entry| !entry.is_known);
        if !has_strangers && !is_known {
            return None;
        }
        let yields = |entry: &Entry| !entry.is_known || !has_strangers;
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.entries.values().filter(|entry| yields(entry)) {
            *held.entry(entry.network).or_default() += 1;
        }
        let most = held.values().copied().max()?;
        let own = held.get(&newcomer).copied();
        let from = |entry: &Entry| match own == Some(most) {
            true => entry.network == newcomer,
            false => held.get(&entry.network) == Some(&most),
        };
        let candidates = self.entries.iter();
        let candidates = candidates.filter(|(_, entry)| yields(entry) && from(entry));
        let least = candidates.min_by_key(|(id, entry)| (entry.line.worth(), **id));
        least.map(|(id, _)| *id)
    }
}

/// Addresses that one party has: an IPv4 address, or the /64 that a host is given.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::time::{Duration, Instant};

    use super::*;

    fn net(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Heard so many seconds after the beginning; 0 is never.
    fn line(since: Instant, heard: u64) -> Arc<Line> {
        let line = Line::new(since);
        if heard > 0 {
            line.hear(since + Duration::from_secs(heard));
        }
        Arc::new(line)
    }

    /// Fills the places with these (network, is known, heard at), and says which gives way to a newcomer.
    fn displaced(held: &[(u8, bool, u64)], newcomer: (u8, bool)) -> Result<Option<usize>, Full> {
        let since = Instant::now();
        let mut places = Places::new(held.len().max(1));
        let lines: Vec<Arc<Line>> = held.iter().map(|(.., heard)| line(since, *heard)).collect();
        for ((network, is_known, _), line) in held.iter().zip(&lines) {
            let entered = places
                .enter(net(*network), *is_known, line.clone())
                .unwrap();
            assert!(entered.1.is_none());
        }
        let (network, is_known) = newcomer;
        let (_, out) = places.enter(net(network), is_known, line(since, 0))?;
        assert!(places.taken() <= held.len().max(1));
        let at = |out: Arc<Line>| lines.iter().position(|line| Arc::ptr_eq(line, &out));
        Ok(out.and_then(at))
    }

    #[test]
    fn who_has_most_gives_way_and_who_is_known_does_not() {
        for (held, newcomer, expected) in [
            (&[][..], (1, false), Ok(None)),
            // The silent one, then the one that was silent longest, then the oldest.
            (
                &[(1, false, 3), (1, false, 0), (1, false, 2)],
                (1, false),
                Ok(Some(1)),
            ),
            (
                &[(1, false, 3), (1, false, 1), (1, false, 2)],
                (1, false),
                Ok(Some(1)),
            ),
            (&[(1, false, 2), (1, false, 2)], (1, false), Ok(Some(0))),
            // The network with most, though another's is silent.
            (
                &[(2, false, 0), (1, false, 3), (1, false, 2)],
                (3, false),
                Ok(Some(2)),
            ),
            // A flood displaces itself.
            (
                &[(1, false, 1), (1, false, 2), (2, false, 0)],
                (1, false),
                Ok(Some(0)),
            ),
            (&[(1, false, 1), (2, false, 1)], (2, false), Ok(Some(1))),
            // Strangers give way to known ones, and not the other way.
            (
                &[(1, true, 1), (1, true, 1), (2, false, 9)],
                (3, false),
                Ok(Some(2)),
            ),
            (
                &[(1, true, 1), (1, true, 1), (2, false, 9)],
                (1, true),
                Ok(Some(2)),
            ),
            (&[(1, true, 1), (2, true, 1)], (3, false), Err(Full)),
            (&[(1, true, 1), (2, true, 0)], (3, true), Ok(Some(1))),
        ] {
            assert_eq!(
                displaced(held, newcomer),
                expected,
                "{held:?} and {newcomer:?}"
            );
        }
    }

    #[test]
    fn a_place_that_was_given_away_is_not_freed_by_who_had_it() {
        let (since, mut places) = (Instant::now(), Places::new(1));
        let (first, _) = places.enter(net(1), false, line(since, 0)).unwrap();
        let (second, out) = places.enter(net(1), false, line(since, 0)).unwrap();
        assert!(out.is_some());
        places.leave(first);
        assert_eq!(places.taken(), 1);
        places.leave(second);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn a_host_with_a_64_is_one_network() {
        for (one, other, is_same) in [
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let network = |text: &str| network_of(text.parse().unwrap());
            assert_eq!(network(one) == network(other), is_same, "{one} and {other}");
        }
    }
}
