use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

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
use crate::life::{LIFE_MAX, NEGATIVE_LIFE_MAX, earlier};
use crate::name;
use crate::plan::{AddressAnswer, HostAnswer, MxAnswer};
use crate::security::{Security, Tlsa, TlsaAnswer};
use crate::validated::{Answer, Nothing, Validated};

/// The questions, asked through hickory, with answers in this crate's words.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    resolver: Resolver<Failover>,
    validated: Validated,
    failover: Failover,
    use_ipv6: bool,
    /// Of MX hosts, whose TLSA records are asked for.
    port: u16,
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
        let servers = distinct(servers);
        let trusted = servers.iter().map(|server| config.trusts(server.ip()));
        let trusted = trusted.collect();
        let failover = Failover::new(servers, config.timeout, config.attempts).trusting(trusted);
        let mut builder = Resolver::builder_with_config(all, failover.clone());
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
            validated: Validated::new(failover.clone(), config.record_cache_entries),
            failover,
            use_ipv6: config.use_ipv6,
            port: config.port,
        })
    }

    /// The servers, and whether their AD bit counts.
    pub(crate) fn failover(&self) -> &Failover {
        &self.failover
    }

    /// The MX records of a domain, and what DNSSEC says of them; an error text if the name servers did not say.
    pub(crate) async fn mx(&self, domain: Name) -> Result<Lived<(MxAnswer, Security)>, String> {
        let answer = self.validated.ask(domain, RecordType::MX).await?;
        let exchanges = answer.records.iter();
        let exchanges = exchanges.filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, name::text(&mx.exchange))),
            _ => None,
        });
        let told = match answer.nothing {
            None => MxAnswer::Records(exchanges.collect()),
            Some(Nothing::NoRecords) => MxAnswer::NoRecords,
            Some(Nothing::NoDomain) => MxAnswer::NoDomain,
        };
        Ok(((told, Security::of(answer.is_secure)), answer.until))
    }

    /// The addresses of an MX host, IPv4 first, and its TLSA records where MX records and addresses are validated.
    pub(crate) async fn mx_host(&self, host: Name, mx: Security) -> Lived<HostAnswer> {
        let v6 = async {
            match self.use_ipv6 {
                true => Some(self.validated.ask(host.clone(), RecordType::AAAA).await),
                false => None,
            }
        };
        let (v4, v6) = tokio::join!(self.validated.ask(host.clone(), RecordType::A), v6);
        let mut until: Option<Instant> = None;
        let (mut addrs, mut failed, mut found) = (Vec::new(), None, Vec::new());
        for result in [Some(v4), v6].into_iter().flatten() {
            match result {
                Ok(answer) => {
                    until = earlier(until, answer.until);
                    addrs.extend(ips_of(&answer.records));
                    if !answer.records.is_empty() {
                        found.push(answer);
                    }
                }
                Err(why) => failed = Some(why),
            }
        }
        let addresses = match (addrs.is_empty(), failed) {
            (false, _) => AddressAnswer::Addresses(addrs),
            (true, Some(why)) => AddressAnswer::Failed(why),
            (true, None) => AddressAnswer::None,
        };
        // Each family has a word of its own: a broken denial of the other one takes nothing from it.
        let security = Security::of(found.iter().any(|answer| answer.is_secure));
        let (tlsa, tlsa_until) = match mx.is_secure() && !found.is_empty() {
            true => self.tlsa(&host, &found).await,
            false => (TlsaAnswer::NotAsked, None),
        };
        let told = HostAnswer {
            addresses,
            security,
            tlsa,
        };
        (told, earlier(until, tlsa_until))
    }

    /// The TLSA records of a host with these addresses (RFC 7672 2.2.2, 2.2.3): at the end of its CNAMEs if all is validated, else,
    /// and where there are none, at the name itself if that is validated.
    async fn tlsa(&self, host: &Name, found: &[Arc<Answer>]) -> Lived<TlsaAnswer> {
        let secure = found.iter().find(|answer| answer.is_secure);
        let alias = found.iter().find_map(|answer| answer.alias.clone());
        let bases = match (secure, alias) {
            (Some(answer), _) => answer.alias.clone().into_iter().chain([host.clone()]),
            // The CNAME may be of a signed zone, and what it leads to of one that is not.
            (None, Some(_)) => match self.validated.ask(host.clone(), RecordType::CNAME).await {
                Ok(cname) if cname.is_secure => None.into_iter().chain([host.clone()]),
                Ok(_) => return (TlsaAnswer::NotAsked, None),
                Err(why) => return (TlsaAnswer::Failed(why), None),
            },
            (None, None) => return (TlsaAnswer::NotAsked, None),
        };
        let mut until = None;
        for base in bases {
            let answer = match self
                .validated
                .ask(self.tlsa_name(&base), RecordType::TLSA)
                .await
            {
                Ok(answer) => answer,
                Err(why) => return (TlsaAnswer::Failed(why), until),
            };
            until = earlier(until, answer.until);
            if answer.is_secure && !answer.records.is_empty() {
                let records = answer.records.iter().filter_map(tlsa).collect();
                let base = name::text(&base);
                return (TlsaAnswer::Records { base, records }, until);
            }
        }
        (TlsaAnswer::None, until)
    }

    fn tlsa_name(&self, base: &Name) -> Name {
        let prefix = format!("_{}._tcp", self.port);
        let prefix = Name::from_ascii(prefix).ok();
        let whole = prefix.and_then(|prefix| prefix.append_domain(base).ok());
        // A name of 253 octets has none below it, and so no records there.
        whole.unwrap_or_else(|| base.clone())
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
        self.validated.forget_all();
    }
}

fn ips(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    ips_of(lookup.answers())
}

fn ips_of(records: &[Record]) -> impl Iterator<Item = IpAddr> {
    records.iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
}

fn tlsa(record: &Record) -> Option<Tlsa> {
    match &record.data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => None,
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
