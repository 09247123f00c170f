//! Channels to other control nodes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skein_client::{Channel, Connect};

/// One channel for each address, shared by all groups. Members of a cluster are few, so none is ever dropped.
#[derive(Clone)]
pub struct Peers {
    connect: Connect,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peers")
    }
}

impl Peers {
    pub fn new(connect: Connect) -> Self {
        Self {
            connect,
            channels: Arc::default(),
        }
    }

    pub fn channel(&self, address: &str) -> Channel {
        let mut channels = self.channels.lock();
        channels
            .entry(address.to_owned())
            .or_insert_with(|| (self.connect)(address))
            .clone()
    }
}
