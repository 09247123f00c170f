//! Questions whose answers keep what DNSSEC says of them.
//!
//! Hickory's resolver forgets the AD bit of negative answers and where CNAMEs meet, so the questions behind MX plans are asked and
//! kept here. Nothing is validated here either (hickory's validator takes unsigned names for bogus ones, its issue 3974): the AD bit
//! of a resolver that is trusted counts, and [`Failover`] lets no other through.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hickory_resolver::net::NetError;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use moka::Expiry;
use moka::future::Cache;

use crate::failover::Failover;
use crate::life::{LIFE_MAX, NEGATIVE_LIFE_MAX};

/// A longer chain is a loop.
const CNAMES_MAX: usize = 8;

/// Why there are no records of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    NoDomain,
    NoRecords,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Of the type that was asked for, at the end of the CNAMEs; empty if there are none.
    pub(crate) records: Vec<Record>,
    pub(crate) nothing: Option<Nothing>,
    /// The name at the end of the CNAMEs, if there are any.
    pub(crate) alias: Option<Name>,
    /// All of it is validated, the word that there is nothing too.
    pub(crate) is_secure: bool,
    /// None: a negative answer without a lifetime.
    pub(crate) until: Option<Instant>,
}

/// Cheap to clone; clones share what is known.
#[derive(Clone, Debug)]
pub(crate) struct Validated {
    failover: Failover,
    answers: Cache<(Name, RecordType), Arc<Answer>>,
}

struct LifeOfAnswer;

impl Expiry<(Name, RecordType), Arc<Answer>> for LifeOfAnswer {
    fn expire_after_create(
        &self,
        _: &(Name, RecordType),
        answer: &Arc<Answer>,
        now: Instant,
    ) -> Option<Duration> {
        let left = answer
            .until
            .map(|until| until.saturating_duration_since(now));
        Some(left.unwrap_or_default())
    }
}

impl Validated {
    pub(crate) fn new(failover: Failover, entries: u64) -> Self {
        let answers = Cache::builder()
            .max_capacity(entries)
            .expire_after(LifeOfAnswer)
            .build();
        Self { failover, answers }
    }

    /// The records of a type at a fully qualified name; an error text if the name servers did not say.
    pub(crate) async fn ask(&self, name: Name, kind: RecordType) -> Result<Arc<Answer>, String> {
        if let Some(answer) = special(&name, kind) {
            return Ok(Arc::new(answer));
        }
        let asking = async {
            let answer = self.follow(name.clone(), kind).await;
            answer.map(Arc::new)
        };
        let key = (name.clone(), kind);
        let found = self.answers.try_get_with(key, asking).await;
        found.map_err(|why: Arc<String>| why.as_ref().clone())
    }

    pub(crate) fn forget_all(&self) {
        self.answers.invalidate_all();
    }

    /// Asks on where a server tells only the beginning of the CNAMEs.
    async fn follow(&self, name: Name, kind: RecordType) -> Result<Answer, String> {
        let mut whole: Option<Answer> = None;
        let mut asked = name;
        for _ in 0..CNAMES_MAX {
            let response = self.once(asked, kind).await?;
            let mut answer = read(&response, kind);
            if let Some(before) = &whole {
                answer.is_secure &= before.is_secure;
                answer.until = crate::life::earlier(answer.until, before.until);
                answer.alias = answer.alias.or_else(|| before.alias.clone());
            }
            let goes_on = answer.records.is_empty() && is_new(&answer, whole.as_ref());
            match (goes_on, &answer.alias) {
                (true, Some(target)) => asked = target.clone(),
                _ => return Ok(answer),
            }
            whole = Some(answer);
        }
        Err("the CNAMEs do not end".into())
    }

    async fn once(&self, name: Name, kind: RecordType) -> Result<DnsResponse, String> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        let request = DnsRequest::from_query(Query::query(name, kind), options);
        let response = self.failover.send(request).next().await;
        match response {
            Some(Ok(response)) => Ok(response),
            Some(Err(NetError::Msg(why))) => Err(why),
            Some(Err(_)) => Err("the answer cannot be used".into()),
            None => Err("no answer".into()),
        }
    }
}

/// Names that no server is asked about (RFC 6761, RFC 7686).
fn special(name: &Name, kind: RecordType) -> Option<Answer> {
    let text = crate::name::text(name);
    let loopback = match (text.rsplit('.').next()?, kind) {
        ("invalid" | "onion", _) => None,
        ("localhost", RecordType::A) => Some(RData::A(Ipv4Addr::LOCALHOST.into())),
        ("localhost", RecordType::AAAA) => Some(RData::AAAA(Ipv6Addr::LOCALHOST.into())),
        ("localhost", _) => None,
        _ => return None,
    };
    let is_there = text.ends_with("localhost");
    let records = loopback.map(|data| Record::from_rdata(name.clone(), 0, data));
    Some(Answer {
        nothing: match (is_there, &records) {
            (_, Some(_)) => None,
            (true, None) => Some(Nothing::NoRecords),
            (false, None) => Some(Nothing::NoDomain),
        },
        records: records.into_iter().collect(),
        alias: None,
        is_secure: false,
        until: Some(Instant::now() + LIFE_MAX),
    })
}

/// Whether an answer leads on to a name that was not asked for yet.
fn is_new(answer: &Answer, before: Option<&Answer>) -> bool {
    let known = before.and_then(|before| before.alias.as_ref());
    answer.alias.is_some() && answer.alias.as_ref() != known
}

fn read(response: &DnsResponse, kind: RecordType) -> Answer {
    let asked = response.queries.first().map(|query| query.name().clone());
    let asked = asked.unwrap_or_else(Name::root);
    let mut end = asked.clone();
    let mut ttl: Option<u32> = None;
    let mut shorter = |seconds: u32| ttl = Some(ttl.map_or(seconds, |least| least.min(seconds)));
    for _ in 0..CNAMES_MAX {
        let target = response
            .answers
            .iter()
            .find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == end && kind != RecordType::CNAME => {
                    Some((target.0.clone(), record.ttl))
                }
                _ => None,
            });
        let Some((target, seconds)) = target else {
            break;
        };
        shorter(seconds);
        end = target;
    }
    let of_kind = response.answers.iter();
    let of_kind = of_kind.filter(|record| record.name == end && record.record_type() == kind);
    let records: Vec<Record> = of_kind.cloned().collect();
    records.iter().for_each(|record| shorter(record.ttl));
    let nothing = match (records.is_empty(), response.metadata.response_code) {
        (false, _) => None,
        (true, ResponseCode::NXDomain) => Some(Nothing::NoDomain),
        (true, _) => Some(Nothing::NoRecords),
    };
    let negative = response.negative_ttl().filter(|_| nothing.is_some());
    let most = match nothing {
        Some(_) => NEGATIVE_LIFE_MAX,
        None => LIFE_MAX,
    };
    let ttl = match nothing {
        Some(_) => negative.map(|seconds| ttl.map_or(seconds, |least| least.min(seconds))),
        None => ttl,
    };
    let life = ttl.map(|seconds| Duration::from_secs(seconds.into()).min(most));
    Answer {
        records,
        nothing,
        alias: (end != asked).then_some(end),
        is_secure: response.metadata.authentic_data,
        until: life.map(|life| Instant::now() + life),
    }
}
