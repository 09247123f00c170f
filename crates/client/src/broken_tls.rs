//! Hosts whose TLS does not work, as the leader knows them from all senders.

use std::sync::Arc;

use skein_model::broken_tls::BrokenHosts;
use skein_wire::convert;
use skein_wire::internal::BrokenTlsHosts;
use tokio::sync::watch;

use crate::cluster::Cluster;

#[derive(Debug, Clone, Default)]
pub struct KnownBrokenTls {
    /// Changes with every change and every leader; 0 before anything was heard.
    pub version: u64,
    pub hosts: BrokenHosts,
}

impl Cluster {
    /// As the session of this process last heard.
    pub fn broken_tls(&self) -> watch::Receiver<Arc<KnownBrokenTls>> {
        self.shared.broken_tls.subscribe()
    }

    pub(crate) fn broken_tls_version(&self) -> u64 {
        self.shared.broken_tls.borrow().version
    }

    pub(crate) fn set_broken_tls(&self, told: Option<BrokenTlsHosts>) {
        let Some(BrokenTlsHosts { version, hosts }) = told else {
            return;
        };
        let now = self.shared.active_actions.borrow().now();
        let mut known = KnownBrokenTls {
            version,
            ..KnownBrokenTls::default()
        };
        for told in hosts {
            match convert::broken_tls(told) {
                Ok((address, broken)) => {
                    known.hosts.note(address, broken, now);
                }
                Err(error) => tracing::error!(%error, "a host with broken TLS makes no sense"),
            }
        }
        self.shared.broken_tls.send_replace(Arc::new(known));
    }
}
