use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::own::OwnAddresses;
use crate::validation_probe::ValidationProbe;

/// The name server of container engines. It is on loopback, validates nothing, and passes on what servers far away say.
const CONTAINER_FORWARDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// How the resolver asks, and which answers it refuses.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name servers in the order in which they are asked, over UDP and, for truncated answers, TCP. Empty means
    /// `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take for one query.
    pub timeout: Duration,
    /// Name servers that are believed when they say that they have validated an answer: they validate, and nobody stands between.
    /// None: those on loopback, but for the one of container engines.
    pub trust_ad: Option<Vec<IpAddr>>,
    /// What those are asked to find out whether they validate.
    pub validation_probe: ValidationProbe,
    /// Rounds over all servers for one query, which takes at most so many times `timeout`.
    pub attempts: usize,
    /// Plans kept, each a few hundred bytes.
    pub cache_entries: u64,
    /// Responses kept below the plans: the addresses of MX hosts that many domains share.
    pub record_cache_entries: u64,
    /// Plans being resolved at once; further callers wait for their turn.
    pub concurrent_lookups: usize,
    /// Whether loopback, private and other not globally routed addresses may be destinations.
    /// `false` keeps a stranger's MX record from steering mail into our own network.
    pub allow_private: bool,
    /// Our own host name: an MX list is cut at the preference where it appears (RFC 5321 5.1).
    /// Empty means that no name is ours.
    pub own_hostname: String,
    /// Where we receive mail ourselves; an MX list is cut there too. Addresses that are known later are set by
    /// [`crate::Resolver::set_own_addresses`].
    pub own_addresses: OwnAddresses,
    /// The port of MX hosts: 25 but in tests.
    pub port: u16,
    /// Whether AAAA records are asked for.
    pub use_ipv6: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            trust_ad: None,
            validation_probe: ValidationProbe::default(),
            attempts: 2,
            cache_entries: 100_000,
            record_cache_entries: 50_000,
            concurrent_lookups: 512,
            allow_private: false,
            own_hostname: String::new(),
            own_addresses: OwnAddresses::default(),
            port: 25,
            use_ipv6: true,
        }
    }
}

impl Config {
    pub(crate) fn trusts(&self, server: IpAddr) -> bool {
        match &self.trust_ad {
            Some(trusted) => trusted.contains(&server),
            None => server.is_loopback() && server != CONTAINER_FORWARDER,
        }
    }
}
