//! Places for connections: so many in total, from one client and from one network, and shared out to the end. A client that
//! comes when all are taken gets one of a client that has more of them, so none keeps others out by coming first. A stranger
//! never gets the place of a client that may send.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::network::{client_of, network_of};

/// A network has permits for so many clients that use all of theirs.
const CLIENTS_OF_A_NETWORK: usize = 4;

#[derive(Debug)]
pub struct Connections {
    open: Mutex<Open>,
}

/// How many connections there may be.
#[derive(Debug, Default)]
struct Limits {
    total_max: usize,
    per_client_max: usize,
    per_network_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    limits: Limits,
    last: u64,
    /// Those of clients that are not known yet too.
    total: usize,
    clients: HashMap<IpNet, HashMap<u64, Entry>>,
    networks: HashMap<IpNet, usize>,
}

#[derive(Debug)]
struct Entry {
    /// When it last brought a message, or began.
    useful_at: Instant,
    may_send: bool,
    taken_back: CancellationToken,
    turns: Arc<Semaphore>,
}

/// The right to one of the connections, which is given back when it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    /// None before the client is known.
    of: Option<(IpNet, u64)>,
    taken_back: CancellationToken,
    turns: Arc<Semaphore>,
}

fn turns() -> Arc<Semaphore> {
    let processors = std::thread::available_parallelism();
    Arc::new(Semaphore::new(processors.map_or(1, usize::from)))
}

/// Three quarters: what no client and no network passes, whatever else is configured.
fn share_of(total: usize) -> usize {
    total - total / 4
}

impl Limits {
    fn new(total_max: usize, per_client_max: usize) -> Self {
        let share = share_of(total_max);
        let per_client_max = per_client_max.min(share);
        Self {
            total_max,
            per_client_max,
            per_network_max: per_client_max
                .saturating_mul(CLIENTS_OF_A_NETWORK)
                .min(share),
        }
    }
}

impl Connections {
    pub fn new(total_max: usize, per_client_max: usize) -> Arc<Self> {
        let open = Open {
            limits: Limits::new(total_max, per_client_max),
            ..Open::default()
        };
        let open = Mutex::new(open);
        Arc::new(Self { open })
    }

    /// From here on. Connections that are beyond it go on.
    pub fn set_limits(&self, total_max: usize, per_client_max: usize) {
        self.open.lock().limits = Limits::new(total_max, per_client_max);
    }

    /// A permit for a connection whose client is not known yet.
    pub fn enter(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut open = self.open.lock();
        if open.total >= open.limits.total_max && !open.take_back(0, false, |_| true) {
            return None;
        }
        open.total += 1;
        Some(self.permit(None, CancellationToken::new(), turns()))
    }

    /// A permit for a connection of this client. Whether it may send without a login is told.
    pub fn enter_as(
        self: &Arc<Self>,
        client: IpAddr,
        may_send: bool,
        now: Instant,
    ) -> Option<ConnectionPermit> {
        let client = client_of(client);
        let mut open = self.open.lock();
        let own = open.check_client(client, may_send)?;
        if open.total >= open.limits.total_max && !open.take_back(own, may_send, |_| true) {
            return None;
        }
        open.total += 1;
        let taken_back = CancellationToken::new();
        let (id, turns) = open.insert(client, may_send, now, taken_back.clone());
        Some(self.permit(Some((client, id)), taken_back, turns))
    }

    fn permit(
        self: &Arc<Self>,
        of: Option<(IpNet, u64)>,
        taken_back: CancellationToken,
        turns: Arc<Semaphore>,
    ) -> ConnectionPermit {
        ConnectionPermit {
            connections: self.clone(),
            of,
            taken_back,
            turns,
        }
    }
}

impl Open {
    /// How many connections the client has, if it may have another.
    fn check_client(&mut self, client: IpNet, may_send: bool) -> Option<usize> {
        let own = self.clients.get(&client).map_or(0, HashMap::len);
        let network = network_of(client);
        let of_network = self.networks.get(&network).copied().unwrap_or(0);
        let is_here = |other| network_of(other) == network;
        let fits = own < self.limits.per_client_max
            && (of_network < self.limits.per_network_max || self.take_back(own, may_send, is_here));
        fits.then_some(own)
    }

    fn insert(
        &mut self,
        client: IpNet,
        may_send: bool,
        now: Instant,
        taken_back: CancellationToken,
    ) -> (u64, Arc<Semaphore>) {
        self.last += 1;
        let entries = self.clients.entry(client).or_default();
        let others = entries.values().next().map(|other| other.turns.clone());
        let turns = others.unwrap_or_else(turns);
        let entry = Entry {
            useful_at: now,
            may_send,
            taken_back,
            turns: turns.clone(),
        };
        entries.insert(self.last, entry);
        *self.networks.entry(network_of(client)).or_default() += 1;
        (self.last, turns)
    }

    /// Takes the place of the connection that has been of no use for longest, of the client that has the most of them here;
    /// false when there is none for the new one. Strangers give way to a client that may send; else no client gives way to one
    /// that would have as many.
    fn take_back(&mut self, own: usize, may_send: bool, is_here: impl Fn(IpNet) -> bool) -> bool {
        let least = if may_send { 0 } else { own + 1 };
        let taken = self.take_of_largest(false, least, &is_here);
        taken || may_send && self.take_of_largest(true, own + 1, &is_here)
    }

    /// Of connections that may send or of those that may not, of a client with more than `least` of them.
    fn take_of_largest(
        &mut self,
        may_send: bool,
        least: usize,
        is_here: &impl Fn(IpNet) -> bool,
    ) -> bool {
        let of_kind = |entries: &HashMap<u64, Entry>| {
            let of_kind = entries.values().filter(|entry| entry.may_send == may_send);
            of_kind.count()
        };
        let here = self.clients.iter().filter(|(client, _)| is_here(**client));
        let Some((&client, entries)) = here.max_by_key(|(_, entries)| of_kind(entries)) else {
            return false;
        };
        if of_kind(entries) <= least {
            return false;
        }
        let of_kind = entries
            .iter()
            .filter(|(_, entry)| entry.may_send == may_send);
        let Some((&id, entry)) = of_kind.min_by_key(|(_, entry)| entry.useful_at) else {
            return false;
        };
        entry.taken_back.cancel();
        self.leave(client, id);
        true
    }

    /// Nothing if its place was taken back before.
    fn leave(&mut self, client: IpNet, id: u64) {
        let Some(entries) = self.clients.get_mut(&client) else {
            return;
        };
        if entries.remove(&id).is_none() {
            return;
        }
        if entries.is_empty() {
            self.clients.remove(&client);
        }
        self.total -= 1;
        let network = network_of(client);
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

impl ConnectionPermit {
    /// Counts the connection for its client; false when that has enough of them.
    pub fn belongs_to(&mut self, client: IpAddr, may_send: bool, now: Instant) -> bool {
        let client = client_of(client);
        let mut open = self.connections.open.lock();
        let fits = open.check_client(client, may_send);
        if fits.is_none() {
            return false;
        }
        let (id, turns) = open.insert(client, may_send, now, self.taken_back.clone());
        (self.of, self.turns) = (Some((client, id)), turns);
        true
    }

    /// The connection brought a message.
    pub fn was_useful(&self, now: Instant) {
        self.change(|entry| entry.useful_at = now);
    }

    /// The client has logged in.
    pub fn may_send(&self) {
        self.change(|entry| entry.may_send = true);
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let Some((client, id)) = self.of else {
            return;
        };
        let mut open = self.connections.open.lock();
        let entries = open.clients.get_mut(&client);
        if let Some(entry) = entries.and_then(|entries| entries.get_mut(&id)) {
            change(entry);
        }
    }

    /// Whose turn it is among the sessions of one client: as many work at a time as there are processors, so a client with
    /// hundreds of them takes no more of the process than one with a few.
    pub fn turns(&self) -> &Semaphore {
        &self.turns
    }

    /// Cancelled when another connection has its place.
    pub fn taken_back(&self) -> &CancellationToken {
        &self.taken_back
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        match self.of {
            Some((client, id)) => open.leave(client, id),
            None => open.total -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn many(connections: &Arc<Connections>, from: &str, count: usize) -> Vec<ConnectionPermit> {
        let now = Instant::now();
        (0..count)
            .filter_map(|_| connections.enter_as(ip(from), false, now))
            .collect()
    }

    fn kept(permits: &[ConnectionPermit]) -> usize {
        let kept = permits
            .iter()
            .filter(|permit| !permit.taken_back().is_cancelled());
        kept.count()
    }

    #[test]
    fn places_are_limited_in_total_and_for_one_client_and_come_back() {
        let connections = Connections::new(3, 2);
        let (one, other, now) = (ip("192.0.2.1"), ip("198.51.100.2"), Instant::now());
        let mut first = connections.enter().unwrap();
        let mut second = connections.enter().unwrap();
        let mut third = connections.enter().unwrap();
        assert!(first.belongs_to(one, false, now) && second.belongs_to(one, false, now));
        assert!(
            !third.belongs_to(one, false, now),
            "a client has at most two"
        );
        assert!(third.belongs_to(other, false, now));
        assert!(
            connections.enter_as(one, false, now).is_none(),
            "there are three in total"
        );
        drop(first);
        assert!(connections.enter_as(one, false, now).is_some());
        drop((second, third));
        let open = connections.open.lock();
        assert_eq!(
            (open.clients.len(), open.networks.len(), open.total),
            (0, 0, 0)
        );
    }

    #[test]
    fn no_client_and_no_network_keeps_others_out() {
        for (hostile, honest) in [
            // One client, however many addresses it has.
            (&["192.0.2.1"][..], "198.51.100.1"),
            (
                &["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"],
                "2001:db8:0:1::1",
            ),
            // A network, and a client within it.
            (
                &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"],
                "192.0.2.5",
            ),
            // Many networks.
            (
                &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"],
                "2001:db8:1::1",
            ),
        ] {
            let connections = Connections::new(40, 500);
            let held: Vec<_> = hostile
                .iter()
                .map(|from| many(&connections, from, 500))
                .collect();
            let of_one = held.iter().map(|permits| kept(permits)).max();
            assert!(of_one <= Some(30), "{hostile:?}");
            let mut open: Vec<ConnectionPermit> = Vec::new();
            for nth in 0..5 {
                let permit = connections.enter_as(ip(honest), false, Instant::now());
                open.push(permit.unwrap_or_else(|| panic!("{honest} beside {hostile:?}: {nth}")));
            }
            assert_eq!(kept(&open), 5);
            assert!(connections.open.lock().total <= 40);
        }
    }

    #[test]
    fn other_limits_hold_for_connections_that_come_from_then_on() {
        let connections = Connections::new(40, 10);
        let held = many(&connections, "192.0.2.1", 20);
        assert_eq!(held.len(), 10);
        connections.set_limits(40, 2);
        assert_eq!(kept(&held), 10, "they go on");
        assert!(many(&connections, "192.0.2.1", 1).is_empty());
        assert_eq!(many(&connections, "198.51.100.1", 5).len(), 2);
        connections.set_limits(40, 12);
        assert_eq!(many(&connections, "192.0.2.1", 5).len(), 2);
    }

    #[test]
    fn the_place_that_was_of_no_use_for_longest_goes_first() {
        let connections = Connections::new(4, 4);
        let (one, now) = (ip("192.0.2.1"), Instant::now());
        let at = |s| now + Duration::from_secs(s);
        let permits: Vec<_> = (0..3)
            .map(|s| connections.enter_as(one, false, at(s)).unwrap())
            .collect();
        permits[0].was_useful(at(9));
        let _others = [
            connections
                .enter_as(ip("198.51.100.1"), false, at(10))
                .unwrap(),
            connections
                .enter_as(ip("203.0.113.1"), false, at(10))
                .unwrap(),
        ];
        let gone: Vec<_> = permits
            .iter()
            .map(|permit| permit.taken_back().is_cancelled())
            .collect();
        assert_eq!(gone, [false, true, false]);
        drop(permits);
        assert_eq!(connections.open.lock().total, 2);
        // A client that has as many as every other takes none from them.
        let connections = Connections::new(2, 2);
        let _one = connections.enter_as(ip("192.0.2.1"), false, now).unwrap();
        let _two = connections
            .enter_as(ip("198.51.100.1"), false, now)
            .unwrap();
        assert!(
            connections
                .enter_as(ip("203.0.113.1"), false, now)
                .is_none()
        );
    }

    #[test]
    fn strangers_get_no_place_of_who_may_send_and_give_way_to_them() {
        let connections = Connections::new(8, 6);
        let now = Instant::now();
        let own: Vec<ConnectionPermit> = (0..5)
            .filter_map(|_| connections.enter_as(ip("192.0.2.1"), true, now))
            .collect();
        let one = connections.enter_as(ip("192.0.2.9"), false, now).unwrap();
        one.may_send();
        for n in 0..50 {
            let client = ip(&format!("198.51.{n}.1"));
            if let Some(permit) = connections.enter_as(client, false, now) {
                std::mem::forget(permit);
            }
        }
        assert_eq!((kept(&own), kept(std::slice::from_ref(&one))), (5, 1));
        assert!(connections.enter_as(ip("203.0.113.1"), true, now).is_some());
        assert_eq!((kept(&own), kept(&[one])), (5, 1), "a stranger had to go");
    }
}
