use std::net::IpAddr;
use std::time::Instant;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};

use crate::config::Config;
use crate::error::SetupError;
use crate::name;
use crate::plan::{AddressAnswer, MxAnswer};

/// Queries in flight on one connection to a name server; hickory's default of 32 starves an MTA.
const ACTIVE_REQUESTS_MAX: usize = 1024;

/// The questions, asked through hickory, with answers in this crate's words.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    resolver: TokioResolver,
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
        let mut builder = if config.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(SetupError::SystemConfig)?
        } else {
            let servers = config.servers.iter().map(|server| {
                let mut entry = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut entry.connections {
                    connection.port = server.port();
                }
                entry
            });
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(servers.collect()),
                TokioRuntimeProvider::default(),
            )
        };
        let options = builder.options_mut();
        options.timeout = config.timeout;
        options.attempts = config.attempts;
        options.cache_size = config.record_cache_entries;
        options.max_active_requests = ACTIVE_REQUESTS_MAX;
        options.positive_max_ttl = Some(crate::resolver::LIFE_MAX);
        options.negative_max_ttl = Some(crate::resolver::NEGATIVE_LIFE_MAX);
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

    /// The first PTR record of an address.
    pub(crate) async fn ptr(&self, ip: IpAddr) -> Option<String> {
        let lookup = self.resolver.reverse_lookup(ip).await.ok()?;
        lookup
            .answers()
            .iter()
            .find_map(|record| match &record.data {
                RData::PTR(ptr) => Some(name::text(&ptr.0)),
                _ => None,
            })
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
            code => Absence::Failed(code.to_string()),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Absence::Failed(code.to_string()),
        other => Absence::Failed(other.to_string()),
    }
}
