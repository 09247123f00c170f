//! The checked set of all resources, and the questions that senders and people ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use crate::automation::Automation;
use crate::built_in;
use crate::credential::{Credential, CredentialGiven, Credentials};
use crate::draft::{Draft, Placed, Resources, Source};
use crate::explain::{EffectiveLimits, Scope};
use crate::inbound::{Hosted, HostedDomains, Inbound};
use crate::ip::Ip;
use crate::place::{Kind, Place, Problem};
use crate::pool::Pool;
use crate::provider::{DEFAULT, Provider, ProviderGiven};
use crate::read::{Reader, problem};
use crate::route::{DEFAULT_POOL, PoolRefused, Route, Routes};
use crate::sites::{Site, Sites, Taken};
use crate::tenant::Tenant;
use crate::warmup::Warmup;
use crate::write::Map;

/// Rules of all providers: each costs up to two times 64 KiB when it is compiled.
const RULES_IN_ALL_MAX: usize = 2048;

/// All resources, and nothing wrong with any. It never changes; share it in an `Arc`.
#[derive(Debug, Clone)]
pub struct Policy {
    credentials: Resources<CredentialGiven>,
    inbounds: Resources<Inbound>,
    ips: Resources<Ip>,
    pools: Resources<Pool>,
    tenants: Resources<Tenant>,
    warmups: Resources<Warmup>,
    routes: Resources<Route>,
    providers: BTreeMap<Arc<str>, Stored>,
    /// Of sites that have no provider.
    default: Arc<Provider>,
    sites: Sites,
    routing: Routes,
    holders: Credentials,
    hosted: HostedDomains,
    /// Of the cluster's policy that it was read from; 0 for none.
    version: u64,
}

/// What becomes of a built-in provider that matches what another matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlap {
    Refused,
    OwnFirst,
}

#[derive(Debug, Clone)]
struct Stored {
    given: Placed<ProviderGiven>,
    /// With the figures of what it extends, and of `default`.
    filled: Arc<ProviderGiven>,
    provider: Arc<Provider>,
}

static BUILT_IN: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let policy = Policy::build(built_in::given(), Draft::default(), Overlap::Refused);
    Arc::new(policy.expect("the built-in providers are sound, as a test asserts"))
});

impl Policy {
    /// The built-in providers with these resources.
    ///
    /// # Errors
    ///
    /// All that is wrong, by source and line.
    pub fn parse(sources: &[Source<'_>]) -> Result<Self, Vec<Problem>> {
        Self::build(built_in::given(), Draft::read(sources), Overlap::Refused)
    }

    /// Like [`Self::parse`], for resources that were accepted before, perhaps by another version: a provider that is
    /// built in since gives way to those that match the same.
    ///
    /// # Errors
    ///
    /// All that is wrong, by source and line.
    pub fn load(sources: &[Source<'_>]) -> Result<Self, Vec<Problem>> {
        Self::build(built_in::given(), Draft::read(sources), Overlap::OwnFirst)
    }

    /// Like [`Self::load`], for resources by what they are called.
    ///
    /// # Errors
    ///
    /// All that is wrong, by source and line.
    pub fn of_texts(texts: &BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let sources = texts.iter().map(|(name, text)| Source { name, text });
        Self::load(&sources.collect::<Vec<_>>())
    }

    /// The same as the cluster's policy of that version.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The version of the cluster's policy; 0 before it has any.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What these texts have resources of, each read by itself.
    ///
    /// # Errors
    ///
    /// What is wrong with any of them, by source and line; what they name need not be there.
    pub fn names(sources: &[Source<'_>]) -> Result<BTreeSet<(Kind, Arc<str>)>, Vec<Problem>> {
        let draft = Draft::read(sources);
        match draft.problems.is_empty() {
            true => Ok(draft.declared.into_keys().collect()),
            false => Err(draft.into_problems()),
        }
    }

    /// What holds when there are no resources. Parsed once.
    pub fn built_in() -> Arc<Self> {
        Arc::clone(&BUILT_IN)
    }

    pub(crate) fn build(
        built_in: &Resources<ProviderGiven>,
        mut draft: Draft,
        overlap: Overlap,
    ) -> Result<Self, Vec<Problem>> {
        let names: BTreeSet<Arc<str>> = built_in.keys().cloned().collect();
        draft.check_names(&names);
        let merged = merge(built_in, &mut draft);
        check_overlap(built_in, &merged, &mut draft, overlap);
        let routing = route(&mut draft);
        let holders = hold(&mut draft);
        let hosted = host(&mut draft);
        if !draft.problems.is_empty() {
            return Err(draft.into_problems());
        }
        let providers = compile(built_in, &draft.providers, merged);
        let default = &providers
            .get(DEFAULT)
            .expect("a default is built in")
            .provider;
        let default = Arc::clone(default);
        // The first that takes a pattern keeps it.
        let (own, others): (Vec<_>, Vec<_>) = providers
            .iter()
            .partition(|(name, _)| draft.providers.contains_key(*name));
        let ordered = own.iter().chain(&others);
        let sites = Sites::new(ordered.map(|(_, stored)| &stored.provider));
        Ok(Self {
            credentials: draft.credentials,
            inbounds: draft.inbounds,
            ips: draft.ips,
            pools: draft.pools,
            tenants: draft.tenants,
            warmups: draft.warmups,
            routes: draft.routes,
            providers,
            default,
            sites,
            routing,
            holders,
            hosted,
            version: 0,
        })
    }

    pub fn ip(&self, name: &str) -> Option<&Arc<Ip>> {
        self.ips.get(name).map(|placed| &placed.value)
    }

    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name).map(|placed| &placed.value)
    }

    pub fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(name).map(|placed| &placed.value)
    }

    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name).map(|stored| &stored.provider)
    }

    /// What a provider says with what it extends, and with the figures of `default`.
    pub(crate) fn filled(&self, name: &str) -> Option<&ProviderGiven> {
        self.providers
            .get(name)
            .map(|stored| stored.filled.as_ref())
    }

    /// The figures of sites that have no provider.
    pub fn default_provider(&self) -> &Arc<Provider> {
        &self.default
    }

    pub fn ips(&self) -> impl Iterator<Item = &Arc<Ip>> {
        self.ips.values().map(|placed| &placed.value)
    }

    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values().map(|placed| &placed.value)
    }

    pub fn warmups(&self) -> impl Iterator<Item = &Arc<Warmup>> {
        self.warmups.values().map(|placed| &placed.value)
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values().map(|placed| &placed.value)
    }

    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values().map(|placed| &placed.value)
    }

    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.credentials
            .values()
            .map(|placed| &placed.value.credential)
    }

    pub fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        let found = self.credentials.get(name);
        found.map(|placed| &placed.value.credential)
    }

    /// The credential that a client logs in with under this name.
    pub fn credential_of_user(&self, user: &str) -> Option<&Arc<Credential>> {
        self.holders.of_user(user)
    }

    /// The credential whose holder needs no login with a certificate of this name.
    pub fn credential_of_certificate(&self, name: &str) -> Option<&Arc<Credential>> {
        self.holders.of_certificate(name)
    }

    /// The credential that a client has by its address alone.
    pub fn credential_of_client(&self, client: IpAddr) -> Option<&Arc<Credential>> {
        self.holders.of_client(client)
    }

    /// Octets that are the same wherever this policy is and that nobody outside of the cluster knows, if anybody can log in by
    /// SCRAM: what users that are not there are told follows from them.
    pub fn scram_key(&self) -> Option<&[u8]> {
        let first = self.holders.scram()?;
        let mut secrets = first.secrets.iter().filter(|one| one.scram().is_some());
        secrets.next()?.unknown_key()
    }

    /// Whether anybody can log in.
    pub fn has_users(&self) -> bool {
        self.holders.has_users()
    }

    pub fn inbounds(&self) -> impl Iterator<Item = &Arc<Inbound>> {
        self.inbounds.values().map(|placed| &placed.value)
    }

    /// Whether the cluster hosts any domain.
    pub fn hosts_domains(&self) -> bool {
        !self.hosted.is_empty()
    }

    /// Who has an address. `domain`: in any case and in A-labels; `local`: in any case, without quotes.
    pub fn hosted(&self, domain: &str, local: &str) -> Hosted<'_> {
        self.hosted.find(domain, local)
    }

    /// With the built-in ones and `default`.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values().map(|stored| &stored.provider)
    }

    /// The provider of a domain with these MX hosts. Names are in any case, with or without a dot at the end.
    pub fn site_of(&self, domain: &str, mx_hosts: &[&str]) -> Site {
        let provider = self.sites.find(domain, mx_hosts).cloned();
        let name = provider.as_ref().map(|provider| Arc::clone(&provider.name));
        Site { name, provider }
    }

    /// Every limit that a message of this tenant meets on its way from this IP of this pool to a site.
    ///
    /// Without a provider the site has the figures of `default`. Names that no resource has add nothing.
    pub fn limits(
        &self,
        pool: &str,
        ip: &str,
        provider: Option<&Provider>,
        tenant: &str,
    ) -> EffectiveLimits {
        let provider = provider.unwrap_or(&self.default);
        let mut limits = EffectiveLimits::default();
        limits.add(Scope::IpSite, &provider.per_ip);
        limits.add(Scope::Site, &provider.total);
        if let Some(ip) = self.ip(ip) {
            limits.add(Scope::Ip, &ip.limits);
        }
        if let Some(pool) = self.pool(pool) {
            limits.add(Scope::Pool, &pool.limits);
        }
        if let Some(tenant) = self.tenant(tenant) {
            limits.add(Scope::Tenant, &tenant.limits);
        }
        limits
    }

    /// The pool for a message; `header` is its `X-Skein-Pool`.
    ///
    /// # Errors
    ///
    /// The header names a pool that no route lets this tenant choose, or the pool is none of the tenant's.
    pub fn pool_of(
        &self,
        tenant: &str,
        sender_domain: &str,
        header: Option<&str>,
    ) -> Result<&str, PoolRefused> {
        let pool = self.routing.pool_of(tenant, sender_domain, header)?;
        let own = self.tenant(tenant);
        let first = own.and_then(|own| own.pools.first());
        let usual = first.map_or(DEFAULT_POOL, |first| first.value.as_str());
        let pool = pool.unwrap_or(usual);
        match own.is_none_or(|own| own.may_use(pool)) {
            true => Ok(pool),
            false => Err(PoolRefused::NotOfTenant {
                tenant: tenant.to_owned(),
                pool: pool.to_owned(),
            }),
        }
    }

    /// A resource as YAML text, in the one way that all are written. It has passwords, as whoever applied it gave them.
    pub fn get(&self, kind: Kind, name: &str) -> Option<String> {
        let map = Map::of(kind, name);
        let map = match kind {
            Kind::Credential => self.credentials.get(name)?.value.write(map),
            Kind::Inbound => self.inbounds.get(name)?.value.write(map),
            Kind::Ip => self.ips.get(name)?.value.write(map),
            Kind::Pool => self.pools.get(name)?.value.write(map),
            Kind::Provider => self.providers.get(name)?.given.value.write(map),
            Kind::Route => self.routes.get(name)?.value.write(map),
            Kind::Tenant => self.tenants.get(name)?.value.write(map),
            Kind::Warmup => self.warmups.get(name)?.value.write(map),
        };
        Some(map.text())
    }

    /// A resource as [`Policy::get`] has it, with [`MASK`](crate::MASK) for its passwords.
    pub fn masked(&self, kind: Kind, name: &str) -> Option<String> {
        match kind {
            Kind::Ip => {
                let ip = self.ips.get(name)?.value.masked();
                Some(ip.write(Map::of(kind, name)).text())
            }
            Kind::Inbound => {
                let inbound = self.inbounds.get(name)?.value.masked();
                Some(inbound.write(Map::of(kind, name)).text())
            }
            // No other kind has any.
            _ => self.get(kind, name),
        }
    }

    /// Where each resource stands, by kind and name.
    pub fn resources(&self) -> impl Iterator<Item = (Kind, &Arc<str>, &Place)> {
        let of = |kind| move |(name, place)| (kind, name, place);
        let credentials = places(&self.credentials).map(of(Kind::Credential));
        let inbounds = places(&self.inbounds).map(of(Kind::Inbound));
        let ips = places(&self.ips).map(of(Kind::Ip));
        let pools = places(&self.pools).map(of(Kind::Pool));
        let providers = self.providers.iter();
        let providers = providers.map(|(name, stored)| (name, &stored.given.place));
        let providers = providers.map(of(Kind::Provider));
        let routes = places(&self.routes).map(of(Kind::Route));
        let tenants = places(&self.tenants).map(of(Kind::Tenant));
        let warmups = places(&self.warmups).map(of(Kind::Warmup));
        credentials
            .chain(inbounds)
            .chain(ips)
            .chain(pools)
            .chain(providers)
            .chain(routes)
            .chain(tenants)
            .chain(warmups)
    }
}

fn places<T>(resources: &Resources<T>) -> impl Iterator<Item = (&Arc<str>, &Place)> {
    resources.iter().map(|(name, placed)| (name, &placed.place))
}

type Merged = BTreeMap<Arc<str>, ProviderGiven>;

/// Each provider with what it extends.
fn merge(built_in: &Resources<ProviderGiven>, draft: &mut Draft) -> Merged {
    let mut merged: Merged = BTreeMap::new();
    let untouched = built_in.iter().filter(|(name, _)| {
        !draft
            .declared
            .contains_key(&(Kind::Provider, Arc::clone(name)))
    });
    merged
        .extend(untouched.map(|(name, placed)| (Arc::clone(name), placed.value.as_ref().clone())));
    let mut rules = 0;
    for (name, placed) in &draft.providers {
        let given = &placed.value;
        let mut reader = Reader::new(Kind::Provider, name, placed.place.clone());
        let base = built_in.get(name).filter(|_| given.extends.is_some());
        if let Some(origin) = given.extends.as_ref().filter(|_| base.is_none()) {
            let meant = crate::built_in::meant(name);
            let message = format!(
                "there is no built-in provider of this name: take the name of one{meant}, or leave extends out, and say \
                 everything here"
            );
            reader.fault(origin.place.line, &origin.key, message);
        }
        let whole = match base {
            Some(base) => given.over(&base.value),
            None => given.as_ref().clone(),
        };
        // What a provider would have from one that is not there, nobody can say.
        if base.is_some() || given.extends.is_none() {
            whole.check(&mut reader);
        }
        rules += whole.automation.len();
        if rules > RULES_IN_ALL_MAX {
            let message = format!(
                "all providers together have more than {RULES_IN_ALL_MAX} rules: leave some out"
            );
            reader.fault(placed.place.line, "automation", message);
        }
        draft.problems.append(&mut reader.problems);
        merged.insert(Arc::clone(name), whole);
    }
    merged
}

/// The same suffix or domain in two providers is a mistake in the one that comes later. Nested ones are fine.
fn check_overlap(
    built_in: &Resources<ProviderGiven>,
    merged: &Merged,
    draft: &mut Draft,
    overlap: Overlap,
) {
    let is_own = |name: &Arc<str>| draft.providers.contains_key(name);
    let mut taken = Taken::default();
    let mut order: Vec<_> = merged
        .iter()
        .filter(|(name, _)| overlap == Overlap::Refused || is_own(name))
        .collect();
    order.sort_by_key(|(name, _)| draft.providers.get(*name).map(|placed| &placed.place));
    let mut problems = Vec::new();
    for (name, provider) in order {
        let hosts = provider.mx.iter().map(|at| (at, true));
        let domains = provider.domains.iter().map(|at| (at, false));
        for (at, is_host) in hosts.chain(domains) {
            let (earlier, text) = match is_host {
                true => (taken.take_host(&at.value, name), at.value.host_text()),
                false => (taken.take_domain(&at.value, name), at.value.domain_text()),
            };
            let Some(earlier) = earlier else { continue };
            let is_built_in = built_in.contains_key(earlier) && !is_own(earlier);
            let message = match (earlier == name, is_built_in) {
                (true, _) => format!("{text} is given twice: leave one out"),
                (false, false) => {
                    format!("{text} is matched by provider {earlier:?} as well: leave one out")
                }
                (false, true) => format!(
                    "{text} is matched by the built-in provider {earlier:?}: leave it out, or call this one {earlier:?}"
                ),
            };
            problems.push(problem(&at.origin, message));
        }
    }
    draft.problems.append(&mut problems);
}

fn route(draft: &mut Draft) -> Routes {
    let mut routing = Routes::default();
    let mut routes: Vec<_> = draft.routes.values().collect();
    routes.sort_by_key(|route| &route.place);
    let problems: Vec<Problem> = routes
        .into_iter()
        .filter_map(|route| routing.insert(&route.value))
        .collect();
    draft.problems.extend(problems);
    routing
}

fn hold(draft: &mut Draft) -> Credentials {
    let all = draft.credentials.values();
    let (holders, mut problems) = Credentials::new(all.map(|one| (&one.place, &one.value)));
    draft.problems.append(&mut problems);
    holders
}

fn host(draft: &mut Draft) -> HostedDomains {
    let all = draft.inbounds.values();
    let (hosted, mut problems) = HostedDomains::new(all.map(|one| (&one.place, &one.value)));
    draft.problems.append(&mut problems);
    hosted
}

fn compile(
    built_in: &Resources<ProviderGiven>,
    own: &Resources<ProviderGiven>,
    merged: Merged,
) -> BTreeMap<Arc<str>, Stored> {
    let default = merged.get(DEFAULT).cloned().unwrap_or_default();
    let common = Arc::new(Automation::new(default.automation.clone()));
    let stored = merged.into_iter().filter_map(|(name, merged)| {
        let given = own.get(&name).or_else(|| built_in.get(&name))?.clone();
        let provider = Provider::new(Arc::clone(&name), &merged, &default, &common);
        let stored = Stored {
            given,
            filled: Arc::new(merged.figures_over(&default)),
            provider: Arc::new(provider),
        };
        Some((name, stored))
    });
    stored.collect()
}
