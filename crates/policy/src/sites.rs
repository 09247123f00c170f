//! Which provider a domain is with.

use std::sync::Arc;

use crate::names::{Names, Pattern};
use crate::provider::Provider;

/// A destination that is throttled as one.
#[derive(Debug, Clone)]
pub struct Site {
    /// The provider's name. None: the site is what the MX hosts or the domain say.
    pub name: Option<Arc<str>>,
    pub provider: Option<Arc<Provider>>,
}

/// Providers by the hosts and domains that they match.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sites {
    mx: Names<Arc<Provider>>,
    domains: Names<Arc<Provider>>,
}

impl Sites {
    pub fn new<'a>(providers: impl Iterator<Item = &'a Arc<Provider>>) -> Self {
        let mut sites = Self::default();
        for provider in providers {
            for pattern in &provider.mx {
                sites.mx.insert(pattern, Arc::clone(provider));
            }
            for pattern in &provider.domains {
                sites.domains.insert(pattern, Arc::clone(provider));
            }
        }
        sites
    }

    /// A provider that names the domain, else the one with the longest suffixes that match all MX hosts.
    pub fn find(&self, domain: &str, mx_hosts: &[&str]) -> Option<&Arc<Provider>> {
        self.domains
            .best(domain)
            .or_else(|| self.of_hosts(mx_hosts))
    }

    fn of_hosts(&self, mx_hosts: &[&str]) -> Option<&Arc<Provider>> {
        let (first, rest) = mx_hosts.split_first()?;
        // The most specific first, and so the first that stays is the one.
        let candidates = self.mx.matches(first);
        candidates.into_iter().find(|candidate| {
            let is_candidate = |found: &&Arc<Provider>| Arc::ptr_eq(found, candidate);
            rest.iter()
                .all(|host| self.mx.matches(host).any(|found| is_candidate(&found)))
        })
    }
}

/// Patterns with the name of whoever has them, to find those that two providers have.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    mx: Names<Arc<str>>,
    domains: Names<Arc<str>>,
}

impl Taken {
    /// Who has the pattern already.
    pub fn take_host(&mut self, pattern: &Pattern, name: &Arc<str>) -> Option<&Arc<str>> {
        self.mx.insert(pattern, Arc::clone(name))
    }

    /// Who has the pattern already.
    pub fn take_domain(&mut self, pattern: &Pattern, name: &Arc<str>) -> Option<&Arc<str>> {
        self.domains.insert(pattern, Arc::clone(name))
    }
}
