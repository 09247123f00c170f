//! What a webhook may be connected to, so that nobody reaches a cluster's own network by the URL that they give (SSRF).
//!
//! A URL is checked when it is set, and each address that its host has is checked when a connection is made, by whoever connects:
//! to the address that was checked, not to the name again. Redirects are not followed: their targets are not checked by anybody.

use std::net::IpAddr;

use ipnet::IpNet;
use skein_model::address::{AddressKind, reached};

use crate::url::{Host, Url};

/// Where receivers of HTTPS listen.
pub const PORTS: [u16; 2] = [443, 8443];

/// Names that are only known within a machine, a link or a network (RFC 6761, RFC 6762, RFC 7686, RFC 8375, and `internal`,
/// which ICANN keeps for it).
const INTERNAL_NAMES: [&str; 7] = [
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "home.arpa",
    "onion",
];

/// What operators let webhooks connect to, beside what is public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Networks with addresses that are not public. Plain HTTP is for these only.
    pub networks: Vec<IpNet>,
    /// Beside [`PORTS`].
    pub ports: Vec<u16>,
}

/// Why nothing is connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{address} is a {} address: only public ones may be connected to, or those of networks in allow_private", kind.name())]
    Kind { address: IpAddr, kind: AddressKind },
    #[error("{address} is a {} address, which is never connected to", kind.name())]
    Never { address: IpAddr, kind: AddressKind },
    #[error(
        "plain http:// goes to networks in allow_private only, and {0} is in none: use https://"
    )]
    Plain(IpAddr),
    #[error(
        "must begin with https://, such as https://hooks.example.com/skein; http:// needs allow_http: true and allow_private"
    )]
    Scheme,
    #[error("port {0} is not allowed: use 443 or 8443, or have it in allow_ports")]
    Port(u16),
    #[error(
        "{0} is a name of an internal network: use a public name, or name its network in allow_private"
    )]
    Name(String),
}

impl Guard {
    /// Whether a connection may be made to an address. `is_https`: of the URL.
    ///
    /// # Errors
    /// Why not.
    pub fn check_address(&self, address: IpAddr, is_https: bool) -> Result<(), Refused> {
        use AddressKind as Kind;
        let kind = Kind::of(address);
        let is_listed = self.contains(reached(address));
        match kind {
            Kind::Public if is_https || is_listed => Ok(()),
            Kind::Public => Err(Refused::Plain(address)),
            // A network that holds these by accident does not open them.
            Kind::Metadata
            | Kind::Unspecified
            | Kind::Multicast
            | Kind::Tunnel
            | Kind::Reserved => Err(Refused::Never { address, kind }),
            Kind::Private
            | Kind::UniqueLocal
            | Kind::Shared
            | Kind::Loopback
            | Kind::LinkLocal
            | Kind::Documentation
            | Kind::Benchmarking => match is_listed {
                true => Ok(()),
                false => Err(Refused::Kind { address, kind }),
            },
        }
    }

    /// Those of a host's addresses that may be connected to, in their order.
    ///
    /// # Errors
    /// Why the first may not be, if none may; nothing if there is none.
    pub fn permitted(
        &self,
        addresses: &[IpAddr],
        is_https: bool,
    ) -> Result<Vec<IpAddr>, Option<Refused>> {
        let mut refused = None;
        let mut permitted = Vec::new();
        for address in addresses {
            match self.check_address(*address, is_https) {
                Ok(()) => permitted.push(*address),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        match permitted.is_empty() {
            true => Err(refused),
            false => Ok(permitted),
        }
    }

    /// Whether a URL may be that of a webhook; what its name resolves to is checked when it is connected to.
    ///
    /// # Errors
    /// Why not.
    pub fn check_url(&self, url: &Url, allow_http: bool) -> Result<(), Refused> {
        let is_internal = !self.networks.is_empty();
        let may_be_plain = allow_http && is_internal;
        if !url.is_https && !may_be_plain {
            return Err(Refused::Scheme);
        }
        let is_plain_port = !url.is_https && url.port == 80;
        if !is_plain_port && !PORTS.contains(&url.port) && !self.ports.contains(&url.port) {
            return Err(Refused::Port(url.port));
        }
        match &url.host {
            Host::Address(address) => self.check_address(*address, url.is_https),
            Host::Name(name) if !is_internal && is_internal_name(name) => {
                Err(Refused::Name(name.clone()))
            }
            Host::Name(_) => Ok(()),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

fn is_internal_name(name: &str) -> bool {
    let is_below = |of: &&str| {
        let before = name.strip_suffix(*of);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    !name.contains('.') || INTERNAL_NAMES.iter().any(is_below)
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
