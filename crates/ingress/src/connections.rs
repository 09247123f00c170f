//! Limits on connections, in total and from one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Debug)]
pub struct Connections {
    total_max: usize,
    per_client_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A place that is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    client: Option<IpAddr>,
}

impl Connections {
    pub fn new(total_max: usize, per_client_max: usize) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_client_max,
            open: Mutex::default(),
        })
    }

    /// A place for a connection whose client may not be known yet.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open.lock();
        if open.total >= self.total_max {
            return None;
        }
        open.total += 1;
        Some(Place {
            connections: self.clone(),
            client: None,
        })
    }
}

impl Place {
    /// Counts the connection for its client; false when that has enough of them.
    pub fn belongs_to(&mut self, client: IpAddr) -> bool {
        let mut open = self.connections.open.lock();
        let of_client = open.by_client.entry(client).or_default();
        if *of_client >= self.connections.per_client_max {
            return false;
        }
        *of_client += 1;
        self.client = Some(client);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.total -= 1;
        let Some(client) = self.client else {
            return;
        };
        if let Some(of_client) = open.by_client.get_mut(&client) {
            *of_client -= 1;
            if *of_client == 0 {
                open.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn places_are_limited_in_total_and_for_one_client_and_come_back() {
        let connections = Connections::new(3, 2);
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut first = connections.enter().unwrap();
        let mut second = connections.enter().unwrap();
        let mut third = connections.enter().unwrap();
        assert!(first.belongs_to(one) && second.belongs_to(one));
        assert!(!third.belongs_to(one), "a client has at most two");
        assert!(third.belongs_to(other));
        assert!(connections.enter().is_none(), "there are three in total");
        drop(first);
        assert!(connections.enter().unwrap().belongs_to(one));
        drop((second, third));
        assert_eq!(connections.open.lock().by_client.len(), 0);
    }
}
