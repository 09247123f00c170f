//! Where the mail goes: sites with their mail servers, and the names that lead there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::host::{Addresses, DNS_PORT, Host, SMTP_PORT};
use super::pace::is_paced;
use super::{Result, io_error};
use crate::dns::FakeDns;
use crate::sink::{Act, Moment, Phase, Record, Sink, SinkConfig, Visit};

pub const SITES: u8 = 20;
/// A site of this number and above says 451 in some seconds of each so many.
const DEFERRING_FROM: u8 = 17;
const DEFER_EVERY: u64 = 15;
const DEFER_FOR: u64 = 4;
/// Every third site thinks about the final dot, so that some messages are always between dot and reply.
const THINKS: u8 = 3;
const THINKS_FOR: Duration = Duration::from_millis(40);

/// The domain of the return path.
pub const SENDER_DOMAIN: &str = "from.test";

pub fn domain(site: u8) -> String {
    format!("site{site:02}.test")
}

/// Sites that take mail at every moment, as fast as it comes.
pub fn steady_sites(addresses: Addresses) -> Vec<IpAddr> {
    (0..DEFERRING_FROM)
        .filter(|site| !is_paced(*site))
        .map(|site| addresses.site(site))
        .collect()
}

#[derive(Debug)]
pub struct World {
    sinks: Vec<Sink>,
    _dns: FakeDns,
}

impl World {
    /// Must run in the network of the sinks.
    pub async fn start(addresses: Addresses) -> Result<Self> {
        let dns = FakeDns::start(addresses.at(Host::Sinks, DNS_PORT));
        let dns = dns.await.map_err(io_error("a name server"))?;
        let mut sinks = Vec::new();
        for site in 0..SITES {
            let address = (addresses.site(site), SMTP_PORT).into();
            let mut config = SinkConfig::at(address).script(move |moment| behave(site, moment));
            config.keep_messages = false;
            sinks.push(Sink::start(config).await.map_err(io_error("a sink"))?);
            dns.domain(&domain(site), addresses.site(site));
        }
        dns.domain(SENDER_DOMAIN, addresses.site(0));
        Ok(Self { sinks, _dns: dns })
    }

    /// Connections, each with the number of its site.
    pub fn visits(&self) -> Vec<(u8, Visit)> {
        let sites = (0..).zip(&self.sinks);
        sites
            .flat_map(|(site, sink)| sink.visits().into_iter().map(move |visit| (site, visit)))
            .collect()
    }

    pub fn records(&self) -> Vec<Arc<Record>> {
        self.sinks.iter().flat_map(Sink::records).collect()
    }
}

fn behave(site: u8, moment: &Moment<'_>) -> Act {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let second = since.unwrap_or_default().as_secs() + u64::from(site);
    match moment.phase {
        Phase::Rcpt if site >= DEFERRING_FROM && second % DEFER_EVERY < DEFER_FOR => {
            Act::reply(451, "4.7.1 greylisted, try again later")
        }
        Phase::Dot if site.is_multiple_of(THINKS) => Act::Delay(THINKS_FOR),
        _ => Act::Accept,
    }
}
