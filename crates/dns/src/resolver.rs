use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use hickory_resolver::proto::rr::{Name, RecordType};
use moka::Expiry;
use moka::future::Cache;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::config::Config;
use crate::error::{ResolveError, SetupError};
use crate::life::{LIFE_MAX, NEGATIVE_LIFE_MAX, earlier};
use crate::lookup::Asker;
use crate::metrics::{Kind, Metrics, Outcome};
use crate::name::{self, Destination};
use crate::own::OwnAddresses;
use crate::plan::{self, AddressAnswer, HostAnswer, Plan};
use crate::probe;
use crate::security::Security;
use crate::validation::{self, Validation};

/// A zone with a TTL of zero must not cost a lookup per message.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// A dead name server is not asked by every task of the domain, yet a repaired one is found soon.
const FAILURE_LIFE: Duration = Duration::from_secs(5);
/// A PTR name is decoration in a trace header; a session does not wait longer for it.
const PTR_WAIT_MAX: Duration = Duration::from_secs(2);
/// What is told of a lookup that took too long as a whole.
const TOO_LATE: &str = "the name servers took too long";

/// Finds out where mail goes. Cheap to clone; clones share their caches.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    asker: Asker,
    plans: Cache<String, Entry>,
    turns: Semaphore,
    own: RwLock<Own>,
    metrics: Metrics,
}

/// What is ours, and how often that has changed: a plan holds for the addresses that it was made with.
struct Own {
    addresses: Arc<OwnAddresses>,
    version: u64,
}

#[derive(Clone)]
struct Entry {
    result: Result<Arc<Plan>, ResolveError>,
    life: Duration,
    /// The version of our own addresses.
    version: u64,
}

/// A plan or the reason why there is none, and how long that is kept.
type Found = (Result<Arc<Plan>, ResolveError>, Duration);

struct LifeOfEntry;

impl Expiry<String, Entry> for LifeOfEntry {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.life)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `/etc/resolv.conf` is needed and cannot be read.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        Self::counted(config, Metrics::default())
    }

    /// The same, whose lookups are counted.
    ///
    /// # Errors
    /// See [`Resolver::new`].
    pub fn counted(config: Config, metrics: Metrics) -> Result<Self, SetupError> {
        let asker = Asker::new(&config)?;
        let plans = Cache::builder()
            .max_capacity(config.cache_entries)
            .expire_after(LifeOfEntry)
            .build();
        let turns = Semaphore::new(config.concurrent_lookups.clamp(1, Semaphore::MAX_PERMITS));
        let own = RwLock::new(Own {
            addresses: Arc::new(config.own_addresses.clone()),
            version: 0,
        });
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                asker,
                plans,
                turns,
                own,
                metrics,
            }),
        })
    }

    /// From now on these are ours. Plans that were made with others are made anew.
    pub fn set_own_addresses(&self, addresses: OwnAddresses) {
        let mut own = self.inner.own.write();
        if *own.addresses != addresses {
            own.addresses = Arc::new(addresses);
            own.version += 1;
        }
    }

    /// What is known to be ours.
    pub fn own_addresses(&self) -> Arc<OwnAddresses> {
        self.inner.own().0
    }

    /// Where mail for `domain` (or an address literal such as `[192.0.2.1]`) goes.
    ///
    /// Concurrent calls for one domain share one resolution. The result is kept for the shortest
    /// TTL behind it, within 10 s and 1 h; permanent failures for at most 5 min, temporary ones for 5 s.
    ///
    /// # Errors
    /// See the table at [`ResolveError`].
    pub async fn mx_plan(&self, domain: &str) -> Result<Arc<Plan>, ResolveError> {
        let domain = name::normal(domain);
        match name::parse(&domain)? {
            Destination::Literal(ip) => {
                let expires_at = Instant::now() + LIFE_MAX;
                let (own, _) = self.inner.own();
                plan::literal(&domain, ip, &self.inner.config, &own, expires_at).map(Arc::new)
            }
            Destination::Domain(fqdn) => loop {
                let (_, version) = self.inner.own();
                let resolving = self.inner.resolve(domain.clone(), fqdn.clone());
                let entry = self.inner.plans.get_with(domain.clone(), resolving).await;
                if entry.version >= version {
                    return entry.result;
                }
                self.inner.plans.invalidate(&domain).await;
            },
        }
    }

    /// The addresses of a host that an operator named (smarthost, static route): private ones are
    /// allowed, the search domains of `/etc/resolv.conf` apply, an address as text passes through.
    ///
    /// # Errors
    /// 5.1.2 for a malformed name, 5.4.4 without an address, 4.4.3 if the name servers did not say.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let bare = host.trim().trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return Ok(vec![ip]);
        }
        let mut asked =
            name::fqdn(&name::normal(host)).ok_or_else(|| ResolveError::malformed(host))?;
        if self.inner.config.servers.is_empty() && !host.ends_with('.') {
            asked.set_fqdn(false);
        }
        let began = Instant::now();
        let lookup = tokio::time::timeout(
            self.inner.lookup_wait_max(),
            self.inner.asker.addresses(asked),
        );
        let answer = lookup.await.map(|(answer, _)| answer);
        let outcome = match &answer {
            Ok(AddressAnswer::Addresses(_)) => Outcome::Found,
            Ok(AddressAnswer::None) => Outcome::None,
            Ok(AddressAnswer::Failed(_)) | Err(_) => Outcome::Failed,
        };
        self.inner.metrics.looked_up(Kind::Address, outcome, began);
        match answer {
            Ok(AddressAnswer::Addresses(mut addrs)) => {
                addrs.truncate(plan::HOST_ADDRESSES_MAX);
                Ok(addrs)
            }
            Ok(AddressAnswer::None) => Err(ResolveError::no_address(host, "it has no address")),
            Ok(AddressAnswer::Failed(why)) => Err(ResolveError::unanswered(host, &why)),
            Err(_) => Err(ResolveError::unanswered(host, TOO_LATE)),
        }
    }

    /// The name of an address by its PTR record, not confirmed by a forward lookup; `None` after 2 s.
    pub async fn ptr(&self, ip: IpAddr) -> Option<String> {
        let asked = tokio::time::timeout(PTR_WAIT_MAX, self.pointer(ip)).await;
        asked.ok()?.ok().flatten()
    }

    /// The name of an address by its PTR record, not confirmed by a forward lookup; `None` if it has none.
    ///
    /// # Errors
    /// 4.4.3 if the name servers did not say.
    pub async fn pointer(&self, ip: IpAddr) -> Result<Option<String>, ResolveError> {
        let asked = tokio::time::timeout(self.inner.lookup_wait_max(), self.inner.asker.ptr(ip));
        let unanswered = |why: &str| ResolveError::unanswered(&ip.to_string(), why);
        let began = Instant::now();
        let answer = asked.await;
        let outcome = match &answer {
            Ok(Ok(Some(_))) => Outcome::Found,
            Ok(Ok(None)) => Outcome::None,
            Ok(Err(_)) | Err(_) => Outcome::Failed,
        };
        self.inner.metrics.looked_up(Kind::Ptr, outcome, began);
        match answer {
            Ok(answer) => answer.map_err(|why| unanswered(&why)),
            Err(_) => Err(unanswered(TOO_LATE)),
        }
    }

    /// The TXT records of a name, each with its strings joined, at the end of CNAMEs; empty if it has none.
    ///
    /// # Errors
    /// 5.1.2 for a malformed name, 4.4.3 if the name servers did not say.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let asked = name::fqdn(name).ok_or_else(|| ResolveError::malformed(name))?;
        let asking = self.inner.asker.records(asked, RecordType::TXT);
        let unanswered = |why: &str| ResolveError::unanswered(name, why);
        let answer = tokio::time::timeout(self.inner.lookup_wait_max(), asking).await;
        let records = answer.map_err(|_| unanswered(TOO_LATE))?;
        let records = records.map_err(|why| unanswered(&why))?;
        Ok(crate::records::texts(&records))
    }

    /// The name servers that are asked, for [`probe`](crate::probe()).
    pub fn servers(&self) -> Vec<SocketAddr> {
        probe::servers(&self.inner.config.servers)
    }

    /// Whether a name server whose AD bit counts validates: asks for a name that is signed and one whose signatures are broken.
    /// Where the second has an answer, no AD bit counts until the next time.
    pub async fn validation(&self) -> Validation {
        let (servers, probe) = (
            self.inner.asker.failover(),
            &self.inner.config.validation_probe,
        );
        let found = validation::find(servers, probe).await;
        servers.trust(found != Validation::Lies);
        found
    }

    /// Why DANE is off although it is meant to be on, as [`Validation::fault`] tells of what was found just now.
    pub async fn validation_fault(&self) -> Option<String> {
        let found = self.validation().await;
        found.fault(&self.inner.config.validation_probe)
    }

    /// Drops what is known about a domain, and with it all cached responses, since the domain's
    /// hosts are not known by then. For an operator who repaired a zone and does not want to wait.
    pub async fn forget(&self, domain: &str) {
        self.inner.asker.forget_all();
        self.inner.plans.invalidate(&name::normal(domain)).await;
    }
}

impl Inner {
    fn own(&self) -> (Arc<OwnAddresses>, u64) {
        let own = self.own.read();
        (own.addresses.clone(), own.version)
    }

    async fn resolve(&self, domain: String, fqdn: Name) -> Entry {
        let (own, version) = self.own();
        let began = Instant::now();
        let lookup = self.lookup(&domain, fqdn, &own);
        let found = tokio::time::timeout(self.lookup_wait_max(), lookup).await;
        let (result, life) = found.unwrap_or_else(|_| {
            let late = ResolveError::unanswered(&domain, TOO_LATE);
            (Err(late), FAILURE_LIFE)
        });
        let outcome = match &result {
            Ok(_) => Outcome::Found,
            Err(error) if error.is_permanent() => Outcome::None,
            Err(_) => Outcome::Failed,
        };
        self.metrics.looked_up(Kind::Mx, outcome, began);
        let entry = Entry {
            result,
            life,
            version,
        };
        debug!(domain, result = ?entry.result, life_seconds = entry.life.as_secs(), "mx plan resolved");
        entry
    }

    /// Two rounds of questions (MX, addresses), each with its tries, and time for CNAMEs between.
    fn lookup_wait_max(&self) -> Duration {
        let tries = u32::try_from(self.config.attempts.clamp(1, 10)).unwrap_or(1);
        self.config.timeout * tries * 4
    }

    async fn lookup(&self, domain: &str, fqdn: Name, own: &OwnAddresses) -> Found {
        let turn = self.turns.acquire().await;
        let _turn = turn.expect("the semaphore is never closed");
        let ((answer, security), mx_until) = match self.asker.mx(fqdn).await {
            Ok(answer) => answer,
            Err(why) => return (Err(ResolveError::unanswered(domain, &why)), FAILURE_LIFE),
        };
        let (kind, targets) = match plan::targets(domain, answer, &self.config) {
            Ok(targets) => targets,
            Err(error) => return failure(error, mx_until),
        };
        let asking = targets
            .into_iter()
            .map(|target| self.host(target, security));
        let asked = join_all(asking).await;
        let until = asked
            .iter()
            .fold(mx_until, |until, (_, end)| earlier(until, *end));
        let answers = asked.into_iter().map(|(answer, _)| answer).collect();
        match plan::hosts(domain, answers, &self.config, own) {
            Ok((hosts, some_failed)) => {
                let life = if some_failed {
                    LIFE_MIN
                } else {
                    life(until, LIFE_MAX)
                };
                let plan = plan::assemble(domain, (kind, security), hosts, Instant::now() + life);
                (Ok(Arc::new(plan)), life)
            }
            Err(error) => failure(error, until),
        }
    }

    async fn host(
        &self,
        (preference, host): (u16, String),
        mx: Security,
    ) -> ((u16, String, HostAnswer), Option<Instant>) {
        // An exchange that is no host name, such as an address, leads nowhere.
        let (answer, until) = match name::fqdn(&host) {
            Some(fqdn) => self.asker.mx_host(fqdn, mx).await,
            None => (HostAnswer::nowhere(), None),
        };
        ((preference, host, answer), until)
    }
}

fn failure(error: ResolveError, until: Option<Instant>) -> Found {
    let life = if error.is_permanent() {
        life(until, NEGATIVE_LIFE_MAX)
    } else {
        FAILURE_LIFE
    };
    (Err(error), life)
}

/// A negative answer without a SOA record carries no lifetime: the shortest one then.
fn life(until: Option<Instant>, max: Duration) -> Duration {
    until
        .map_or(LIFE_MIN, |until| {
            until.saturating_duration_since(Instant::now())
        })
        .clamp(LIFE_MIN, max)
}

#[cfg(test)]
impl Resolver {
    /// The data of the records of any type, as text.
    pub(crate) async fn raw(
        &self,
        name: Name,
        kind: hickory_resolver::proto::rr::RecordType,
    ) -> Option<String> {
        self.inner.asker.raw(name, kind).await
    }
}
