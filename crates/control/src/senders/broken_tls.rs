//! Hosts whose TLS does not work, as all senders together know: in memory only. Senders tell the next leader what it does not
//! know.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use skein_model::UnixMs;
use skein_model::broken_tls::{Broken, BrokenHosts, HOSTS_MAX};
use skein_wire::convert;
use skein_wire::internal::{BrokenTls, BrokenTlsHosts};
use tonic::Status;

#[derive(Clone)]
pub struct BrokenTlsMemory(Arc<Mutex<Memory>>);

struct Memory {
    /// Begins anywhere, so that no two nodes have the same one for different hosts.
    version: u64,
    hosts: BrokenHosts,
}

impl Default for BrokenTlsMemory {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Memory {
            version: (u64::from(rand::random::<u32>()) << 24) | 1,
            hosts: BrokenHosts::default(),
        })))
    }
}

impl BrokenTlsMemory {
    /// A sender says what it met, or heard.
    pub fn tell(&self, told: Vec<BrokenTls>, now: UnixMs) -> Result<(), Status> {
        let read = told.into_iter().take(HOSTS_MAX).map(convert::broken_tls);
        let read: Result<Vec<(SocketAddr, Broken)>, _> = read.collect();
        let read =
            read.map_err(|error| Status::invalid_argument(format!("broken_tls: {error}")))?;
        let mut memory = self.0.lock();
        let mut has_changed = false;
        for (address, broken) in read {
            has_changed |= memory.hosts.note(address, broken, now);
        }
        memory.version += u64::from(has_changed);
        Ok(())
    }

    pub fn all(&self, now: UnixMs) -> Vec<BrokenTls> {
        let memory = self.0.lock();
        let all = memory.hosts.all(now);
        all.map(|(address, broken)| convert::broken_tls_told(address, broken))
            .collect()
    }

    /// For a sender that knows this version; nothing if there is no other.
    pub fn since(&self, version: u64, now: UnixMs) -> Option<BrokenTlsHosts> {
        let present = self.0.lock().version;
        (present != version).then(|| BrokenTlsHosts {
            version: present,
            hosts: self.all(now),
        })
    }
}
