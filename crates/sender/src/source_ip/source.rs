//! Where connections come from: an IP of a pool, or the node's own address.

use std::net::IpAddr;
use std::sync::Arc;

use skein_model::Reply;
use skein_policy::Ip;

use crate::config::Config;
use crate::host::Host;

/// Where connections come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source(
    /// None: as the node's own configuration says.
    pub Option<Arc<Ip>>,
);

impl Source {
    /// Its name; none for the node's own.
    pub fn ip(&self) -> Option<&str> {
        self.0.as_ref().map(|ip| &*ip.name)
    }

    /// Empty for the node's own.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |ip| &ip.name)
    }

    pub fn ehlo<'a>(&'a self, config: &'a Config) -> &'a str {
        self.0.as_ref().map_or(&config.hostname, |ip| &ip.ehlo)
    }

    /// The address that is bound; none: the system chooses. `own` is that of the node's configuration.
    fn bind(&self, own: Option<IpAddr>) -> Option<IpAddr> {
        self.0.as_ref().map(|ip| ip.bind).or(own)
    }

    /// Whether a host can be reached from here: an address of the other family cannot be bound for it.
    pub fn fits(&self, host: &Host, own: Option<IpAddr>) -> bool {
        let bind = self.bind(own);
        bind.is_none_or(|bind| bind.is_ipv4() == host.address.is_ipv4())
    }

    /// Why hosts are passed over, if none fits.
    pub fn passes_over(&self, hosts: &[Host], own: Option<IpAddr>) -> Option<Reply> {
        let (first, bind) = (hosts.first()?, self.bind(own)?);
        if hosts.iter().any(|host| self.fits(host, own)) {
            return None;
        }
        let text = format!("{first} is not reached from {bind}, an address of the other family");
        Some(Reply::ours((4, 4, 1), text).bounded())
    }
}
