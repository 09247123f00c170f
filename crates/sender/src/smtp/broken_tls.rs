//! Hosts that are not asked for TLS for a while, because it did not work: what this sender met, and what others did.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use skein_client::KnownBrokenTls;
use skein_model::UnixMs;
use skein_model::broken_tls::{Broken, BrokenHosts, KEPT};
use tokio::sync::watch;

use crate::host::Host;

pub struct BrokenTls {
    own: Mutex<BrokenHosts>,
    /// As the leader last told.
    leader: watch::Receiver<Arc<KnownBrokenTls>>,
}

impl BrokenTls {
    pub fn new(leader: watch::Receiver<Arc<KnownBrokenTls>>) -> Self {
        let own = Mutex::default();
        Self { own, leader }
    }

    /// Whether mail that may go in the clear is to do so at once.
    pub fn is_known(&self, host: &Host, now: UnixMs) -> bool {
        let address = SocketAddr::new(host.address, host.port);
        let leader = self.leader.borrow();
        leader.hosts.get(address, now).is_some() || self.own.lock().get(address, now).is_some()
    }

    /// TLS with a host failed, which took mail in the clear then.
    pub fn learn(&self, host: &Host, site: &str, reason: &str, now: UnixMs) {
        tracing::info!(%host, reason, "TLS does not work there; mail that may go in the clear does so for an hour");
        // Replies begin with this; a reader of the reason knows the host.
        let said = format!("TLS with {host}: ");
        let broken = Broken {
            host: host.name.clone(),
            site: site.to_owned(),
            reason: reason.strip_prefix(&said).unwrap_or(reason).to_owned(),
            until: now + KEPT,
        };
        let address = SocketAddr::new(host.address, host.port);
        self.own.lock().note(address, broken, now);
    }

    /// The hosts that the leader does not know. Those of others are kept for the next leader.
    pub fn news(&self, now: UnixMs) -> Vec<(SocketAddr, Broken)> {
        let leader = self.leader.borrow().clone();
        let mut own = self.own.lock();
        let heard: Vec<_> = owned(leader.hosts.beyond(&own, now));
        for (address, broken) in heard {
            own.note(address, broken, now);
        }
        owned(own.beyond(&leader.hosts, now))
    }
}

fn owned<'a>(all: impl Iterator<Item = (SocketAddr, &'a Broken)>) -> Vec<(SocketAddr, Broken)> {
    all.map(|(address, broken)| (address, broken.clone()))
        .collect()
}
