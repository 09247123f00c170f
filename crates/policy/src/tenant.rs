//! Tenants: what each of those who send may do in all.

use std::sync::Arc;

use crate::intake::{IntakeRates, Quota};
use crate::limits::Limits;
use crate::names::{Names, Pattern, resource_name};
use crate::place::At;
use crate::read::{Keys, Reader};
use crate::write::Map;

/// Domains of one customer; who has more is given a pattern.
const DOMAINS_MAX: usize = 4096;
/// As many as a route may let choose among.
const POOLS_MAX: usize = 1024;
/// A hundred to one is more than any plan of prices spreads, and keeps a round of turns short.
pub const TENANT_WEIGHT_MAX: u32 = 100;

#[derive(Debug, Clone)]
pub struct Tenant {
    pub name: Arc<str>,
    /// Over all pools and sites.
    pub limits: Limits,
    /// What its mail may be from, in envelope and header. Empty: any domain.
    pub sender_domains: Vec<Pattern>,
    allowed: Names<()>,
    /// What its mail may go out through. The first is that of mail that no route is about. Empty: any.
    pub pools: Vec<At<String>>,
    /// At which it may hand mail in, over all nodes.
    pub rates: IntakeRates,
    pub quota: Quota,
    /// Its share of senders beside others: 1 to [`TENANT_WEIGHT_MAX`]. None: as an operator gave it, or 1.
    pub weight: Option<u32>,
    pub dsn: DsnPolicy,
    /// No mail is taken from it.
    pub is_suspended: bool,
}

/// Which reports the mail of a tenant gives rise to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DsnPolicy {
    /// Those that clients ask for (RFC 3461); of failures if they ask for nothing.
    #[default]
    Normal,
    /// Of failures only.
    Failures,
    /// None: the tenant reads events.
    Never,
}

impl DsnPolicy {
    const ALL: [Self; 3] = [Self::Normal, Self::Failures, Self::Never];

    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Failures => "failures",
            Self::Never => "never",
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| "must be normal, failures or never".into())
    }
}

impl Tenant {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        let limits = Limits::read(reader, keys, "limits");
        let domains = keys.list(reader, "sender_domains", DOMAINS_MAX, Pattern::of_domains);
        if keys.is_empty_list("sender_domains") {
            let line = keys.line_of("sender_domains").unwrap_or(keys.line);
            let message = "is empty: name domains, or leave the key out for any domain";
            reader.fault(line, "sender_domains", message);
        }
        let domains = domains.unwrap_or_default().into_iter();
        let sender_domains: Vec<Pattern> = domains.map(|domain| domain.value).collect();
        let mut allowed = Names::default();
        for domain in &sender_domains {
            allowed.insert(domain, ());
        }
        let pools = keys.list(reader, "pools", POOLS_MAX, resource_name);
        if keys.is_empty_list("pools") {
            let line = keys.line_of("pools").unwrap_or(keys.line);
            let message = "is empty: name pools, or leave the key out for any pool";
            reader.fault(line, "pools", message);
        }
        let rates = IntakeRates::read(reader, keys);
        let quota = Quota::read(reader, keys);
        let weight = keys.whole(reader, "weight", 1..=TENANT_WEIGHT_MAX);
        let dsn = keys.value(reader, "dsn", DsnPolicy::read);
        Self {
            name: Arc::clone(&reader.name),
            limits,
            sender_domains,
            allowed,
            pools: pools.unwrap_or_default(),
            rates,
            quota,
            weight: weight.map(|weight| weight.value),
            dsn: dsn.map(|dsn| dsn.value).unwrap_or_default(),
            is_suspended: keys.is_suspended(reader),
        }
    }

    /// Whether its mail may be from this domain, which is in any case and as A-labels.
    pub fn may_send_as(&self, domain: &str) -> bool {
        self.sender_domains.is_empty() || self.allowed.best(domain).is_some()
    }

    /// Whether its mail may go out through a pool.
    pub fn may_use(&self, pool: &str) -> bool {
        self.pools.is_empty() || self.pools.iter().any(|own| own.value == pool)
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        map.map("limits", self.limits.write())
            .list(
                "sender_domains",
                self.sender_domains.iter().map(Pattern::domain_text),
            )
            .list("pools", self.pools.iter().map(|pool| &pool.value))
            .map("rates", self.rates.write())
            .map("quota", self.quota.write())
            .set_if("weight", self.weight)
            .set_if(
                "dsn",
                (self.dsn != DsnPolicy::Normal).then(|| self.dsn.name()),
            )
            .set_if("state", self.is_suspended.then_some("suspended"))
    }
}
