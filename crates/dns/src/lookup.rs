use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::Resolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::config::Config;
use crate::error::SetupError;
use crate::failover::Failover;
use crate::name;
use crate::plan::{AddressAnswer, MxAnswer};

/// A postmaster who moves the MX should not wait for a stranger's TTL of weeks.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(3600);
/// A domain that appears shall be found soon.
pub(crate) const NEGATIVE_LIFE_MAX: Duration = Duration::from_secs(300);

/// The questions, asked through hickory, with answers in this crate's words.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    resolver: Resolver<Failover>,
    use_ipv6: bool,
}

/// An answer and when it ends; `None` if the answer carried no lifetime (some negatives).
pub(crate) type Lived<T> = (T, Option<Instant>);

enum Absence {
    NoDomain(Option<u32>),
    NoRecords(Option<u32>),
    Failed(String),
}

impl Asker {
    pub(crate) fn new(config: &Config) -> Result<Self, SetupError> {
        let (system, options, servers) = match config.servers.is_empty() {
            true => {
                let (system, options) = read_system_conf().map_err(SetupError::SystemConfig)?;
                let servers = system.name_servers().iter().map(address).collect();
                (system, options, servers)
            }
            false => {
                let none = ResolverConfig::from_name_servers(Vec::new());
                (none, ResolverOpts::default(), config.servers.clone())
            }
        };
        let (domain, search, _) = system.into_parts();
        // Hickory sees one server, whose address is not used.
        let all = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let all = ResolverConfig::from_parts(domain, search, vec![all]);
        let failover = Failover::new(distinct(servers), config.timeout, config.attempts);
        let mut builder = Resolver::builder_with_config(all, failover);
        *builder.options_mut() = options;
        let options = builder.options_mut();
        options.timeout = config.timeout;
        // `failover`, below hickory, decides which question is asked again, and which server.
        options.attempts = 0;
        options.cache_size = config.record_cache_entries;
        options.positive_max_ttl = Some(LIFE_MAX);
        options.negative_max_ttl = Some(NEGATIVE_LIFE_MAX);
        let resolver = builder.build().map_err(SetupError::Build)?;
        Ok(Self {
            resolver,
            use_ipv6: config.use_ipv6,
        })
    }

    /// The MX records of a domain; an error text if the name servers did not say.
    pub(crate) async fn mx(&self, domain: Name) -> Result<Lived<MxAnswer>, String> {
        match self.resolver.mx_lookup(domain).await {
            Ok(lookup) => {
                let exchanges = lookup
                    .answers()
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::MX(mx) => Some((mx.preference, name::text(&mx.exchange))),
                        _ => None,
                    });
                let records: Vec<_> = exchanges.collect();
                let until = Some(lookup.valid_until());
                Ok(match records.is_empty() {
                    true => (MxAnswer::NoRecords, until),
                    false => (MxAnswer::Records(records), until),
                })
            }
            Err(error) => match absence(&error) {
                Absence::NoDomain(ttl) => Ok((MxAnswer::NoDomain, ends(ttl))),
                Absence::NoRecords(ttl) => Ok((MxAnswer::NoRecords, ends(ttl))),
                Absence::Failed(why) => Err(why),
            },
        }
    }

    /// The addresses of a host, IPv4 first.
    pub(crate) async fn addresses(&self, host: Name) -> Lived<AddressAnswer> {
        let v6 = async {
            match self.use_ipv6 {
                true => Some(self.resolver.ipv6_lookup(host.clone()).await),
                false => None,
            }
        };
        let (v4, v6) = tokio::join!(self.resolver.ipv4_lookup(host.clone()), v6);
        let mut addrs = Vec::new();
        let mut until: Option<Instant> = None;
        let mut failed = None;
        for result in [Some(v4), v6].into_iter().flatten() {
            let end = match result {
                Ok(lookup) => {
                    addrs.extend(ips(&lookup));
                    Some(lookup.valid_until())
                }
                Err(error) => match absence(&error) {
                    Absence::NoDomain(ttl) | Absence::NoRecords(ttl) => ends(ttl),
                    Absence::Failed(why) => {
                        failed = Some(why);
                        None
                    }
                },
            };
            until = earlier(until, end);
        }
        let answer = match (addrs.is_empty(), failed) {
            (false, _) => AddressAnswer::Addresses(addrs),
            (true, Some(why)) => AddressAnswer::Failed(why),
            (true, None) => AddressAnswer::None,
        };
        (answer, until)
    }

    /// The first PTR record of an address, if it has one; an error text if the name servers did not say.
    pub(crate) async fn ptr(&self, ip: IpAddr) -> Result<Option<String>, String> {
        match self.resolver.reverse_lookup(ip).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .find_map(|record| match &record.data {
                    RData::PTR(ptr) => Some(name::text(&ptr.0)),
                    _ => None,
                })),
            Err(error) => match absence(&error) {
                Absence::NoDomain(_) | Absence::NoRecords(_) => Ok(None),
                Absence::Failed(why) => Err(why),
            },
        }
    }

    /// The records of a type and the CNAMEs that lead to them, none if there are none; an error text if the name servers did not
    /// say.
    pub(crate) async fn records(
        &self,
        name: Name,
        kind: RecordType,
    ) -> Result<Vec<Record>, String> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup.answers().to_vec()),
            Err(error) => match absence(&error) {
                Absence::NoDomain(_) | Absence::NoRecords(_) => Ok(Vec::new()),
                Absence::Failed(why) => Err(why),
            },
        }
    }

    /// The addresses of a host; none if it has none, or nobody said.
    pub(crate) async fn addresses_of(&self, host: Name) -> Vec<IpAddr> {
        match self.addresses(host).await.0 {
            AddressAnswer::Addresses(found) => found,
            AddressAnswer::None | AddressAnswer::Failed(_) => Vec::new(),
        }
    }

    /// The data of the records of any type, as text.
    #[cfg(test)]
    pub(crate) async fn raw(&self, name: Name, kind: RecordType) -> Option<String> {
        let lookup = self.resolver.lookup(name, kind).await.ok()?;
        let data = lookup
            .answers()
            .iter()
            .map(|record| record.data.to_string());
        Some(data.collect::<Vec<_>>().join(" "))
    }

    pub(crate) fn forget_all(&self) {
        self.resolver.clear_cache();
    }
}

fn ips(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        })
}

/// The earlier of two ends; the absence of one counts as no limit.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn ends(ttl: Option<u32>) -> Option<Instant> {
    ttl.map(|seconds| Instant::now() + std::time::Duration::from_secs(seconds.into()))
}

fn absence(error: &NetError) -> Absence {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Absence::NoDomain(none.negative_ttl),
            ResponseCode::NoError => Absence::NoRecords(none.negative_ttl),
            code => Absence::Failed(format!("the answer has code {}", u16::from(code))),
        },
        NetError::Msg(why) => Absence::Failed(why.clone()),
        other => {
            tracing::debug!(error = %other, "an answer cannot be used");
            Absence::Failed("the answer cannot be used".into())
        }
    }
}

fn address(server: &NameServerConfig) -> SocketAddr {
    let port = server.connections.first().map(|connection| connection.port);
    SocketAddr::new(server.ip, port.unwrap_or(crate::failover::DNS_PORT))
}

/// A server that is named twice is one, and has one standing.
fn distinct(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = std::collections::BTreeSet::new();
    let servers = servers.into_iter();
    servers.filter(|server| seen.insert(*server)).collect()
}
