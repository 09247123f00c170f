//! Hosts whose TLS does not work, as the leader knows them from all senders.

use skein_model::UnixMs;
use skein_model::broken_tls::BrokenHosts;
use skein_wire::convert;
use skein_wire::internal::BrokenTlsHosts;

#[derive(Debug, Clone, Default)]
pub struct KnownBrokenTls {
    /// Changes with every change and every leader; 0 before anything was heard.
    pub version: u64,
    pub hosts: BrokenHosts,
}

impl KnownBrokenTls {
    /// `now` is the group's time.
    pub(crate) fn read(told: BrokenTlsHosts, now: UnixMs) -> Self {
        let mut known = Self {
            version: told.version,
            ..Self::default()
        };
        for told in told.hosts {
            match convert::broken_tls(told) {
                Ok((address, broken)) => {
                    known.hosts.note(address, broken, now);
                }
                Err(error) => tracing::error!(%error, "a host with broken TLS makes no sense"),
            }
        }
        known
    }
}
