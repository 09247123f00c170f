//! What a sender is told at its start, and what of it may change later.

pub mod current;
pub mod login;
pub mod protocol;
pub mod rule;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use skein_dns::OwnAddresses;
use skein_model::retry::RetryPolicy;

use crate::config::rule::Rules;

#[derive(Debug, Clone)]
pub struct Config {
    /// One per process; the control plane knows the sender by it.
    pub name: String,
    /// EHLO name, and reporting MTA of DSNs.
    pub hostname: String,
    /// Where mail goes that does not follow MX records, and how connections are made.
    pub routes: Rules,
    /// Port of MX hosts; 25 but in tests.
    pub port: u16,
    /// Where this node takes mail, as far as its configuration says.
    pub own_addresses: OwnAddresses,
    pub retry: RetryPolicy,
    /// Trusted beside the authorities that browsers trust.
    pub tls_roots: Vec<CertificateDer<'static>>,
    /// Connections to one destination at once.
    pub connections_max: usize,
    /// Messages before a connection is closed, so that load spreads over a destination's hosts.
    pub messages_per_connection_max: u32,
    /// Tasks held without a report. With bodies up to 64 KiB this bounds their memory to window x 64 KiB.
    pub window: u32,
    pub source_address: Option<IpAddr>,
    pub dnsbl_zones: Vec<String>,
    /// Where what is not yet reported is kept for the next process; nowhere unless set.
    pub scratch_dir: Option<PathBuf>,
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "sender".into(),
            hostname: "localhost".into(),
            routes: Rules::default(),
            port: 25,
            own_addresses: OwnAddresses::default(),
            retry: RetryPolicy::default(),
            tls_roots: Vec::new(),
            connections_max: 20,
            messages_per_connection_max: 1000,
            window: 1024,
            source_address: None,
            dnsbl_zones: Vec::new(),
            scratch_dir: None,
            timeouts: Timeouts::default(),
        }
    }
}

/// How long a peer may take (RFC 5321 4.5.3.2).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    /// Greeting, EHLO, STARTTLS, MAIL and RCPT.
    pub command: Duration,
    /// The reply to DATA, and each block of the body.
    pub data: Duration,
    /// The reply to the final dot. A shorter one makes duplicates: the peer may be scanning the message.
    pub dot: Duration,
    /// A connection without work is closed after this.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(60),
            command: Duration::from_secs(300),
            data: Duration::from_secs(180),
            dot: Duration::from_secs(600),
            idle: Duration::from_secs(5),
        }
    }
}
