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
    client: IpAddr,
}

impl Connections {
    pub fn new(total_max: usize, per_client_max: usize) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_client_max,
            open: Mutex::default(),
        })
    }

    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut open = self.open.lock();
        if open.total >= self.total_max {
            return None;
        }
        let of_client = open.by_client.entry(client).or_default();
        if *of_client >= self.per_client_max {
            return None;
        }
        *of_client += 1;
        open.total += 1;
        Some(Place {
            connections: self.clone(),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.total -= 1;
        if let Some(of_client) = open.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}
