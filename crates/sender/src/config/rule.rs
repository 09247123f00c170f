//! Which rule applies to a domain: the operator's routes, and the policy of all others. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use skein_smtp::address::Address;
use skein_tls::TlsPolicy;

use crate::config::login::Login;
use crate::config::protocol::Protocol;

/// Hosts of one rule. An attempt tries eight addresses, so more names would never be reached.
pub const HOSTS_MAX: usize = 8;

/// Domains that one rule covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DomainPattern {
    /// `example.test`, without its subdomains.
    Exact(String),
    /// `*.example.test`: all subdomains, without the domain itself.
    Below(String),
    /// `*`: the smarthost.
    All,
}

/// Text that is no domain pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain, *.domain or *")]
pub struct BadPattern(String);

impl DomainPattern {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text == "*" {
            return Ok(Self::All);
        }
        // Tasks carry their domain in lower-case A-labels, so that is what is compared.
        let domain = |name: &str| {
            let address = Address::from_parts("postmaster", name.trim_end_matches('.'));
            address
                .map(|address| address.routing_domain())
                .map_err(|_| BadPattern(text.to_owned()))
        };
        match text.strip_prefix("*.") {
            Some(parent) => domain(parent).map(Self::Below),
            None => domain(text).map(Self::Exact),
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(domain) => f.write_str(domain),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::All => f.write_str("*"),
        }
    }
}

/// A host that an operator named: resolved by its addresses, never by MX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteHost {
    /// A name, or an address without brackets.
    pub name: String,
    pub port: u16,
}

/// Text that is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host, host:port or [address]:port")]
pub struct BadHost(String);

impl RouteHost {
    /// `mail.example.test`, `mail.example.test:587`, `192.0.2.1:25`, `[2001:db8::1]:25` or `2001:db8::1`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, BadHost> {
        let bad = || BadHost(text.to_owned());
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self {
                name: text.to_owned(),
                port: default_port,
            });
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest.split_once(']').ok_or_else(bad)?;
                inside.parse::<IpAddr>().map_err(|_| bad())?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or_else(bad)?),
                };
                (inside, port)
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0),
            None => Some(default_port),
        };
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(bad());
        }
        Ok(Self {
            name: name.to_owned(),
            port: port.ok_or_else(bad)?,
        })
    }
}

impl fmt::Display for RouteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// How connections to a next hop are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HopPolicy {
    pub tls: TlsPolicy,
    /// Nobody said `tls` of these domains in particular, whose own MX hosts they are: DANE and MTA-STS go before it.
    pub inherits_tls: bool,
    /// TLS from the first byte, as on port 465, instead of STARTTLS.
    pub implicit_tls: bool,
    pub login: Option<Login>,
    pub protocol: Protocol,
}

impl HopPolicy {
    /// Whether a host with which TLS fails may be spoken to in the clear, where the mail demands nothing.
    pub fn may_go_in_the_clear(&self) -> bool {
        let login_needs_tls = self
            .login
            .as_ref()
            .is_some_and(|login| !login.allow_plaintext);
        !self.implicit_tls && !login_needs_tls
    }
}

/// What an operator decided for some domains.
#[derive(Debug, Clone)]
pub struct RouteRule {
    pub domains: Vec<DomainPattern>,
    /// Tried in this order; with none, the domain's MX hosts are.
    pub hosts: Vec<RouteHost>,
    pub policy: HopPolicy,
}

/// All rules; the longest pattern that matches a domain decides.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// For domains without a rule.
    default: Rule,
    exact: HashMap<String, usize>,
    below: HashMap<String, usize>,
    all: Option<usize>,
}

#[derive(Debug, Clone)]
struct Rule {
    hosts: Arc<[RouteHost]>,
    policy: Arc<HopPolicy>,
}

impl Default for Rule {
    fn default() -> Self {
        Self::new(Vec::new(), HopPolicy::default())
    }
}

impl Rule {
    fn new(hosts: Vec<RouteHost>, policy: HopPolicy) -> Self {
        Self {
            hosts: hosts.into(),
            policy: policy.into(),
        }
    }
}

/// A pattern that stands in two rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} has two routes")]
pub struct Ambiguous(DomainPattern);

/// What holds for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// None: the domain's MX hosts.
    pub hosts: Arc<[RouteHost]>,
    pub policy: Arc<HopPolicy>,
    /// Sets tasks apart that must not share connections; empty for the default.
    pub label: String,
    /// A rule was found; without it, the default holds.
    pub is_rule: bool,
}

impl Rules {
    pub fn new(default: HopPolicy, rules: Vec<RouteRule>) -> Result<Self, Ambiguous> {
        let mut all = Self {
            default: Rule::new(Vec::new(), default),
            ..Self::default()
        };
        for (number, rule) in rules.into_iter().enumerate() {
            for pattern in rule.domains {
                let is_new = match &pattern {
                    DomainPattern::Exact(domain) => add(&mut all.exact, domain, number),
                    DomainPattern::Below(domain) => add(&mut all.below, domain, number),
                    DomainPattern::All => all.all.replace(number).is_none(),
                };
                if !is_new {
                    return Err(Ambiguous(pattern));
                }
            }
            all.rules.push(Rule::new(rule.hosts, rule.policy));
        }
        Ok(all)
    }

    /// Chooses for a domain in lower-case A-labels.
    pub fn choose(&self, domain: &str) -> Choice {
        let number = self.number(domain);
        let rule = number.map_or(&self.default, |number| &self.rules[number]);
        Choice {
            hosts: rule.hosts.clone(),
            policy: rule.policy.clone(),
            label: number.map_or_else(String::new, |number| format!(" route {number}")),
            is_rule: number.is_some(),
        }
    }

    /// Whether a rule names the domain or one above it: the smarthost, which is for all others, does not.
    pub fn names(&self, domain: &str) -> bool {
        self.named(domain).is_some()
    }

    /// Whether some mail goes to the MX hosts of its domain: all but what has named hosts.
    pub fn follow_mx(&self) -> bool {
        let all = self.all.map(|number| &self.rules[number]);
        all.is_none_or(|rule| rule.hosts.is_empty())
            || self.rules.iter().any(|rule| rule.hosts.is_empty())
    }

    fn number(&self, domain: &str) -> Option<usize> {
        self.named(domain).or(self.all)
    }

    fn named(&self, domain: &str) -> Option<usize> {
        if let Some(number) = self.exact.get(domain) {
            return Some(*number);
        }
        let mut rest = domain;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(number) = self.below.get(parent) {
                return Some(*number);
            }
            rest = parent;
        }
        None
    }
}

fn add(map: &mut HashMap<String, usize>, domain: &str, number: usize) -> bool {
    match map.entry(domain.to_owned()) {
        Entry::Occupied(_) => false,
        Entry::Vacant(place) => {
            place.insert(number);
            true
        }
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
