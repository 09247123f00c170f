//! The resolver that mail-auth asks with, which takes hickory's own.

use std::fmt;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;

use crate::config::Config;
use crate::error::SetupError;
use crate::life::{LIFE_MAX, NEGATIVE_LIFE_MAX};

/// Asks the same name servers as [`Resolver`](crate::Resolver), with a cache of its own. Which server is asked is hickory's choice, by
/// how fast each has been: what the checks find is advice, and a server that errs costs no mail.
#[derive(Clone)]
pub struct CheckResolver(pub TokioResolver);

impl fmt::Debug for CheckResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckResolver")
    }
}

impl CheckResolver {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `/etc/resolv.conf` is needed and cannot be read.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let (servers, mut options) = match config.servers.is_empty() {
            true => read_system_conf().map_err(SetupError::SystemConfig)?,
            false => {
                let servers = config.servers.iter().map(|server| {
                    let mut named = NameServerConfig::udp_and_tcp(server.ip());
                    for connection in &mut named.connections {
                        connection.port = server.port();
                    }
                    named
                });
                let servers = ResolverConfig::from_name_servers(servers.collect());
                (servers, ResolverOpts::default())
            }
        };
        options.timeout = config.timeout;
        options.attempts = config.attempts.clamp(1, 10);
        options.cache_size = config.record_cache_entries;
        options.positive_max_ttl = Some(LIFE_MAX);
        options.negative_max_ttl = Some(NEGATIVE_LIFE_MAX);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(servers, provider);
        *builder.options_mut() = options;
        Ok(Self(builder.build().map_err(SetupError::Build)?))
    }
}
