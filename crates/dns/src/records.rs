//! Records of any name as they are published now: of the servers of the name's zone, and of the resolver without what it remembers
//! in this process. For checks of what people have published; mail is routed by [`crate::Resolver`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use moka::future::Cache;

use crate::config::Config;
use crate::error::SetupError;
use crate::failover::{DNS_PORT, Failover};
use crate::lookup::Asker;
use crate::name;
use skein_model::address::is_public;

/// Servers of a zone that are asked: the others have the same from them.
const SERVERS_MAX: usize = 3;
/// Names of servers that are looked up; the rest are for when these have no addresses.
const SERVER_NAMES_MAX: usize = 4;
/// Answers are for people who wait, and a server that is silent is one of several.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
const SERVER_ROUNDS: usize = 2;
/// Which servers a zone has, within a check and the next ones after it.
const ZONES_KEPT: u64 = 10_000;
const ZONES_LIFE: Duration = Duration::from_secs(60);
/// A longer chain of CNAMEs is a loop.
const CNAMES_MAX: u8 = 4;
/// A name with more records of a type is none that people publish.
const RECORDS_MAX: usize = 32;

/// The types that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    A,
    Aaaa,
    Cname,
    Mx,
    Ptr,
    Txt,
}

/// What was told of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// One or more: TXT with its character strings joined, names without the dot at the end, MX without its preference.
    Records(Vec<String>),
    /// The name is not there, or has no such record.
    Nothing,
    /// No answer, or none that counts.
    Failed(String),
}

/// Asks. Cheap to clone; clones share what is known of zones.
#[derive(Clone, Debug)]
pub struct Questions {
    asker: Asker,
    allow_private: bool,
    /// Asked in place of zones' own servers, if there are any.
    instead: Arc<[SocketAddr]>,
    zones: Cache<Name, Option<Arc<[SocketAddr]>>>,
    /// Of zones' servers: 53 but in tests.
    port: u16,
}

impl Questions {
    /// `instead` are asked in place of zones' own servers: for networks from which only some name servers can be reached.
    ///
    /// # Errors
    /// `/etc/resolv.conf` is needed and cannot be read.
    pub fn new(config: &Config, instead: &[SocketAddr]) -> Result<Self, SetupError> {
        let config = Config {
            record_cache_entries: 0,
            timeout: SERVER_TIMEOUT,
            ..config.clone()
        };
        Ok(Self {
            asker: Asker::new(&config)?,
            allow_private: config.allow_private,
            instead: instead.into(),
            zones: Cache::builder()
                .max_capacity(ZONES_KEPT)
                .time_to_live(ZONES_LIFE)
                .build(),
            port: DNS_PORT,
        })
    }

    /// What the resolver tells. Of all types but CNAME, it is what stands at the end of CNAMEs.
    pub async fn resolver(&self, asked: &str, kind: RecordKind) -> Told {
        let Some(asked) = name::fqdn(asked) else {
            return Told::Nothing;
        };
        match self.asker.records(asked, record_type(kind)).await {
            Ok(records) => told(&records, kind),
            Err(why) => Told::Failed(why),
        }
    }

    /// What servers of the name's zone tell, without recursion. Where they do not agree, nothing is known.
    pub async fn authoritative(&self, asked: &str, kind: RecordKind) -> Told {
        match name::fqdn(asked) {
            Some(asked) => self.of_zone(asked, kind, 0).await,
            None => Told::Nothing,
        }
    }

    fn of_zone(&self, asked: Name, kind: RecordKind, cnames: u8) -> BoxFuture<'_, Told> {
        Box::pin(async move {
            if cnames > CNAMES_MAX {
                return Told::Failed("the CNAMEs do not end".into());
            }
            let servers = match self.servers_of(&asked).await {
                Ok(servers) => servers,
                Err(why) => return Told::Failed(why),
            };
            let query = Query::query(asked, record_type(kind));
            let asking = servers.iter().map(|server| ask(*server, query.clone()));
            let answers = join_all(asking).await;
            let mut heard: Vec<Vec<Record>> = Vec::new();
            let mut why = "the zone's servers do not answer".to_owned();
            for answer in answers {
                match answer {
                    Ok(records) => heard.push(records),
                    Err(text) => why = text,
                }
            }
            let Some(first) = heard.first() else {
                return Told::Failed(why);
            };
            let shown = told(first, kind);
            if heard
                .iter()
                .any(|other| !is_same(&shown, &told(other, kind)))
            {
                return Told::Failed("the zone's servers do not agree".into());
            }
            // The zone has a CNAME here, whose end is in another one.
            let alias = first.iter().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            match (shown, alias) {
                (Told::Nothing, Some(target)) if kind != RecordKind::Cname => {
                    self.of_zone(target, kind, cnames + 1).await
                }
                (shown, _) => shown,
            }
        })
    }

    /// Servers of the nearest zone that the name is in.
    async fn servers_of(&self, asked: &Name) -> Result<Arc<[SocketAddr]>, String> {
        if !self.instead.is_empty() {
            return Ok(self.instead.clone());
        }
        let mut zone = asked.clone();
        // The servers of the root and of the top-level domains have nothing that is asked for here.
        while zone.num_labels() >= 2 {
            let found = match self.zones.get(&zone).await {
                Some(found) => found,
                None => {
                    let found = self.name_servers(&zone).await?;
                    self.zones.insert(zone.clone(), found.clone()).await;
                    found
                }
            };
            if let Some(servers) = found {
                return match servers.is_empty() {
                    true => Err(format!(
                        "no server of the zone {} has an address",
                        name::text(&zone)
                    )),
                    false => Ok(servers),
                };
            }
            zone = zone.base_name();
        }
        Err("no zone is delegated for the name".into())
    }

    /// The addresses of a zone's servers; none if the name is no zone.
    async fn name_servers(&self, zone: &Name) -> Result<Option<Arc<[SocketAddr]>>, String> {
        let records = self.asker.records(zone.clone(), RecordType::NS).await?;
        let hosts = records.iter().filter_map(|record| match &record.data {
            // Those at the end of a CNAME are of another zone.
            RData::NS(host) if record.name == *zone => Some(host.0.clone()),
            _ => None,
        });
        let hosts: Vec<Name> = hosts.take(SERVER_NAMES_MAX).collect();
        if hosts.is_empty() {
            return Ok(None);
        }
        let asking = hosts.into_iter().map(|host| self.asker.addresses_of(host));
        let found = join_all(asking).await;
        // One address of each first.
        let mut addresses: Vec<IpAddr> = found
            .iter()
            .filter_map(|all| all.first().copied())
            .collect();
        addresses.extend(found.iter().flat_map(|all| all.iter().skip(1)).copied());
        addresses.retain(|address| self.allow_private || is_public(*address));
        addresses.truncate(SERVERS_MAX);
        let servers = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, self.port));
        Ok(Some(servers.collect()))
    }
}

/// One server's answer; none of the records if there are none.
async fn ask(server: SocketAddr, query: Query) -> Result<Vec<Record>, String> {
    let one = Failover::new(vec![server], SERVER_TIMEOUT, SERVER_ROUNDS);
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = false;
    let request = DnsRequest::from_query(query, options);
    let response = one.send(request).next().await;
    let response = response.ok_or_else(|| "no answer".to_owned())?;
    let response = response.map_err(|error| error.to_string())?;
    match response.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(response.answers.clone()),
        code => Err(format!("{} answers \"{code}\"", server.ip())),
    }
}

fn is_same(one: &Told, other: &Told) -> bool {
    let sorted = |told: &Told| match told {
        Told::Records(records) => {
            let mut records = records.clone();
            records.sort();
            Told::Records(records)
        }
        other => other.clone(),
    };
    sorted(one) == sorted(other)
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Txt => RecordType::TXT,
    }
}

fn told(records: &[Record], kind: RecordKind) -> Told {
    let wanted = record_type(kind);
    let of_kind = records
        .iter()
        .filter(|record| record.record_type() == wanted);
    let texts: Vec<String> = of_kind.filter_map(text).take(RECORDS_MAX).collect();
    match texts.is_empty() {
        true => Told::Nothing,
        false => Told::Records(texts),
    }
}

/// The TXT records, each with its strings joined.
pub(crate) fn texts(records: &[Record]) -> Vec<String> {
    match told(records, RecordKind::Txt) {
        Told::Records(texts) => texts,
        Told::Nothing | Told::Failed(_) => Vec::new(),
    }
}

fn text(record: &Record) -> Option<String> {
    Some(match &record.data {
        RData::A(a) => a.0.to_string(),
        RData::AAAA(aaaa) => aaaa.0.to_string(),
        RData::CNAME(target) => name::text(&target.0),
        RData::MX(mx) => name::text(&mx.exchange),
        RData::PTR(host) => name::text(&host.0),
        RData::TXT(txt) => {
            let octets: Vec<u8> = txt.txt_data.concat();
            String::from_utf8_lossy(&octets).into_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
