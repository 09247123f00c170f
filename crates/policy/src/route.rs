//! Routes: which pool a message goes out through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::names::{Names, Pattern, resource_name};
use crate::place::{At, Kind, Origin, Place, Problem};
use crate::read::{Keys, Reader, problem};
use crate::write::Map;

/// The pool of all mail that no route is about. It needs no resource: without one, mail goes out from whatever addresses
/// the nodes have.
pub const DEFAULT_POOL: &str = "default";
/// What the nodes' own addresses count as, all together: policy has no names for them, and behind NAT they are one.
pub const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// More pools than anybody would choose among by hand.
const POOLS_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: Arc<str>,
    pub place: Place,
    /// None: of any tenant.
    pub tenant: Option<String>,
    pub to: To,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Through this pool, if the sender's domain matches or none is given.
    Pool {
        sender_domain: Option<Pattern>,
        pool: At<String>,
    },
    /// The message may choose one of these with `X-Skein-Pool`.
    Chosen(Vec<At<String>>),
}

impl Route {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        let tenant = keys.value(reader, "tenant", resource_name);
        let domain = keys.value(reader, "sender_domain", Pattern::of_domains);
        let is_chosen = keys.is_set(reader, "header");
        let pools = keys.list(reader, "pools", POOLS_MAX, resource_name);
        let pool = keys.value(reader, "pool", resource_name);
        let to = match is_chosen {
            true => read_chosen(reader, keys, pools),
            false => read_pool(reader, keys, domain, pool),
        };
        Some(Self {
            name: Arc::clone(&reader.name),
            place: reader.place.clone(),
            tenant: tenant.map(|tenant| tenant.value),
            to: to?,
        })
    }

    /// The pools that it names.
    pub(crate) fn pools(&self) -> &[At<String>] {
        match &self.to {
            To::Pool { pool, .. } => std::slice::from_ref(pool),
            To::Chosen(pools) => pools,
        }
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        let map = map.set_if("tenant", self.tenant.as_ref());
        match &self.to {
            To::Pool {
                sender_domain,
                pool,
            } => map
                .set_if(
                    "sender_domain",
                    sender_domain.as_ref().map(Pattern::domain_text),
                )
                .set("pool", &pool.value),
            To::Chosen(pools) => map
                .set("header", true)
                .list("pools", pools.iter().map(|pool| &pool.value)),
        }
    }
}

fn read_chosen(reader: &mut Reader, keys: &Keys<'_>, pools: Option<Vec<At<String>>>) -> Option<To> {
    let line = keys.line;
    for key in ["pool", "sender_domain"] {
        if let Some(line) = keys.line_of(key) {
            reader.fault(
                line,
                key,
                "does not go with header: true: make it a route of its own",
            );
        }
    }
    let pools = pools.filter(|pools| !pools.is_empty());
    if pools.is_none() {
        reader.fault(
            line,
            "pools",
            "is missing: name the pools that may be chosen",
        );
    }
    pools.map(To::Chosen)
}

fn read_pool(
    reader: &mut Reader,
    keys: &Keys<'_>,
    domain: Option<At<Pattern>>,
    pool: Option<At<String>>,
) -> Option<To> {
    let line = keys.line;
    if let Some(line) = keys.line_of("pools") {
        reader.fault(
            line,
            "pools",
            "goes with header: true only: name one pool, as pool: name",
        );
    }
    if !keys.has("pool") {
        reader.fault(line, "pool", "is missing: give it");
    }
    if !keys.has("tenant") && !keys.has("sender_domain") {
        let message = "is about no mail in particular: give tenant, sender_domain or header: true, or name the pool \
                       for all other mail \"default\"";
        reader.fault(line, "", message);
    }
    let sender_domain = domain.map(|domain| domain.value);
    let pool = pool?;
    Some(To::Pool {
        sender_domain,
        pool,
    })
}

/// Why a message may not have a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolRefused {
    /// It asks for one that no route lets its tenant choose.
    NotChosen { tenant: String, pool: String },
    /// A route leads it into one that is none of its tenant's.
    NotOfTenant { tenant: String, pool: String },
}

impl PoolRefused {
    pub fn pool(&self) -> &str {
        match self {
            Self::NotChosen { pool, .. } | Self::NotOfTenant { pool, .. } => pool,
        }
    }
}

impl fmt::Display for PoolRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotChosen { tenant, pool } => {
                let pool = crate::shown::shown(pool);
                write!(f, "no route lets tenant {tenant:?} choose pool \"{pool}\"")
            }
            Self::NotOfTenant { tenant, pool } => {
                write!(f, "tenant {tenant:?} may not send through pool {pool:?}")
            }
        }
    }
}

impl std::error::Error for PoolRefused {}

/// What routes say of one tenant's mail, or of everybody's.
#[derive(Debug, Clone, Default)]
struct Rules {
    by_domain: Names<Arc<Route>>,
    all: Option<Arc<Route>>,
    chosen: BTreeSet<String>,
}

impl Rules {
    /// The route that is about the same mail already, if there is one.
    fn insert(&mut self, route: &Arc<Route>) -> Option<&Arc<Route>> {
        match &route.to {
            To::Chosen(pools) => {
                let names = pools.iter().map(|pool| pool.value.clone());
                self.chosen.extend(names);
                None
            }
            To::Pool {
                sender_domain: Some(pattern),
                ..
            } => self.by_domain.insert(pattern, Arc::clone(route)),
            To::Pool { .. } if self.all.is_some() => self.all.as_ref(),
            To::Pool { .. } => {
                self.all = Some(Arc::clone(route));
                None
            }
        }
    }
}

/// All routes, by what they are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    by_tenant: BTreeMap<String, Rules>,
    everybody: Rules,
}

impl Routes {
    /// A problem if another route is about the same mail.
    pub fn insert(&mut self, route: &Arc<Route>) -> Option<Problem> {
        let rules = match &route.tenant {
            Some(tenant) => self.by_tenant.entry(tenant.clone()).or_default(),
            None => &mut self.everybody,
        };
        let earlier = rules.insert(route)?;
        let origin = Origin {
            kind: Kind::Route,
            name: Arc::clone(&route.name),
            key: String::new(),
            place: route.place.clone(),
        };
        let (name, place) = (&earlier.name, &earlier.place);
        let message = format!("route {name:?} ({place}) is about the same mail: leave one out");
        Some(problem(&origin, message))
    }

    /// None: no route is about the mail.
    pub fn pool_of(
        &self,
        tenant: &str,
        sender_domain: &str,
        header: Option<&str>,
    ) -> Result<Option<&str>, PoolRefused> {
        let own = self.by_tenant.get(tenant);
        if let Some(wanted) = header {
            let chosen = own
                .and_then(|rules| rules.chosen.get(wanted))
                .or_else(|| self.everybody.chosen.get(wanted));
            let refused = || PoolRefused::NotChosen {
                tenant: tenant.to_owned(),
                pool: wanted.to_owned(),
            };
            return chosen.map(|pool| Some(pool.as_str())).ok_or_else(refused);
        }
        let route = own
            .and_then(|rules| rules.by_domain.best(sender_domain))
            .or_else(|| self.everybody.by_domain.best(sender_domain))
            .or_else(|| own.and_then(|rules| rules.all.as_ref()));
        let pool = route.and_then(|route| route.pools().first());
        Ok(pool.map(|pool| pool.value.as_str()))
    }
}
