//! The hosts of the network, and their addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Control nodes and senders count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Control(u8),
    Sender(u8),
    /// All sites of the world, and its name server.
    Sinks,
    /// Those who hand mail in, and the operator.
    Clients,
}

/// As many as the smallest cluster that survives the loss of one.
pub const CONTROL_NODES: u8 = 3;
pub const SENDERS: u8 = 3;

pub const SMTP_PORT: u16 = 2525;
pub const INTERNAL_PORT: u16 = 7000;
pub const ADMIN_PORT: u16 = 7001;
pub const HTTP_PORT: u16 = 7002;
pub const DNS_PORT: u16 = 5300;

impl Host {
    pub fn controls() -> impl Iterator<Item = Self> {
        (1..=CONTROL_NODES).map(Self::Control)
    }

    pub fn senders() -> impl Iterator<Item = Self> {
        (1..=SENDERS).map(Self::Sender)
    }

    pub fn nodes() -> impl Iterator<Item = Self> {
        Self::controls().chain(Self::senders())
    }

    pub fn is_control(self) -> bool {
        matches!(self, Self::Control(_))
    }

    /// The last two bytes of its address.
    fn place(self) -> [u8; 2] {
        match self {
            Self::Sinks => [0, 2],
            Self::Clients => [0, 3],
            Self::Control(number) => [0, 10 + number],
            Self::Sender(number) => [0, 20 + number],
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(number) => write!(f, "c{number}"),
            Self::Sender(number) => write!(f, "s{number}"),
            Self::Sinks => f.write_str("sinks"),
            Self::Clients => f.write_str("clients"),
        }
    }
}

/// The first two bytes of all addresses of a run.
#[derive(Debug, Clone, Copy)]
pub struct Addresses(pub [u8; 2]);

impl Addresses {
    pub fn of(self, host: Host) -> IpAddr {
        let ([a, b], [c, d]) = (self.0, host.place());
        IpAddr::from([a, b, c, d])
    }

    pub fn at(self, host: Host, port: u16) -> SocketAddr {
        SocketAddr::new(self.of(host), port)
    }

    /// A site's mail server.
    pub fn site(self, number: u8) -> IpAddr {
        let [a, b] = self.0;
        IpAddr::from([a, b, 1, 1 + number])
    }

    pub fn host_of(self, address: IpAddr) -> Option<Host> {
        Host::nodes().find(|host| self.of(*host) == address)
    }

    /// Where mail may come from: all of them, and what a client on the loopback has as its own address.
    pub fn networks(self) -> [String; 2] {
        let [a, b] = self.0;
        [format!("{a}.{b}.0.0/16"), "127.0.0.1/32".to_owned()]
    }
}
