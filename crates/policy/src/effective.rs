//! A resource with everything filled in, and where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::built_in;
use crate::flat::flat;
use crate::inbound::Checks;
use crate::place::{Kind, Origin};
use crate::policy::Policy;
use crate::provider::ProviderGiven;
use crate::tenant::DsnPolicy;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The resource says so itself.
    Here,
    /// A built-in provider of this name says so.
    BuiltIn(Arc<str>),
    /// Another resource says so: the provider `default`, wherever others say nothing.
    Other(Kind, Arc<str>),
    /// Nobody says anything.
    Default,
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("here"),
            Self::BuiltIn(name) => write!(f, "built-in provider {name}"),
            Self::Other(kind, name) => write!(f, "{kind}/{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One value that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveKey {
    /// With the keys around it, such as `per_ip.connections`.
    pub key: String,
    pub value: String,
    pub from: From,
}

impl Policy {
    /// All values of a resource that hold, in the order in which it is written, then those that are usual. Passwords are
    /// [`MASK`](crate::MASK).
    pub fn effective(&self, kind: Kind, name: &str) -> Option<Vec<EffectiveKey>> {
        let own = self.masked(kind, name)?;
        let (text, origins) = match kind {
            Kind::Provider => {
                let filled = self.filled(name)?;
                (filled.text(name), origins(filled))
            }
            _ => (own, BTreeMap::new()),
        };
        let mut keys: Vec<EffectiveKey> = flat(&text)
            .into_iter()
            .map(|(key, value)| {
                let from = match origin_of(&origins, &key) {
                    Some(origin) => from(origin, name),
                    None => From::Here,
                };
                EffectiveKey { key, value, from }
            })
            .collect();
        for (key, value) in self.usual(kind, name) {
            if !keys.iter().any(|known| is_within(&known.key, &key)) {
                let from = From::Default;
                keys.push(EffectiveKey { key, value, from });
            }
        }
        Some(keys)
    }

    /// What holds for keys that a resource leaves out.
    fn usual(&self, kind: Kind, name: &str) -> Vec<(String, String)> {
        let pair = |key: &str, value: &dyn fmt::Display| (key.to_owned(), value.to_string());
        match kind {
            Kind::Ip => {
                let public = self.ip(name).map(|ip| pair("public", &ip.public));
                public
                    .into_iter()
                    .chain([pair("state", &"active")])
                    .collect()
            }
            Kind::Pool => {
                let members = self.pool(name).map_or(0, |pool| pool.members.len());
                let weight = |nth| (format!("members[{nth}].weight"), "1".to_owned());
                (1..=members).map(weight).collect()
            }
            // The built-in provider `default` says everything.
            Kind::Provider => Vec::new(),
            Kind::Route => vec![pair("tenant", &"any")],
            Kind::Tenant => vec![
                pair("weight", &1),
                pair("dsn", &DsnPolicy::default().name()),
                pair("state", &"active"),
            ],
            Kind::Credential => {
                let mut held = self.credentials().filter(|one| &*one.name == name);
                let login = held.find(|one| !one.secrets.is_empty() && one.role.is_none());
                login
                    .into_iter()
                    .map(|one| pair("user", &one.user))
                    .collect()
            }
            Kind::Inbound => vec![
                pair("tenant", &"default"),
                pair("checks", &Checks::default().name()),
            ],
            Kind::Warmup => vec![pair("days", &"[mon, tue, wed, thu, fri, sat, sun]")],
        }
    }
}

/// Whether a key is this one, or one of those in it.
fn is_within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn origins(filled: &ProviderGiven) -> BTreeMap<String, Arc<Origin>> {
    let figures = filled.origins().into_iter();
    let figures = figures.map(|origin| (origin.key.clone(), Arc::clone(origin)));
    let rules = filled.automation.iter().enumerate();
    // A rule stands elsewhere among those of the resource that it is from.
    let rules = rules.map(|(nth, rule)| {
        let key = format!("automation[{}]", nth + 1);
        (key, Arc::clone(&rule.origin))
    });
    figures.chain(rules).collect()
}

/// Of the key, or of the nearest one around it.
fn origin_of<'o>(origins: &'o BTreeMap<String, Arc<Origin>>, key: &str) -> Option<&'o Origin> {
    let mut at = key;
    loop {
        if let Some(origin) = origins.get(at) {
            return Some(origin);
        }
        at = &at[..at.rfind(['.', '['])?];
    }
}

fn from(origin: &Origin, name: &str) -> From {
    match &*origin.place.source == built_in::NAME {
        true => From::BuiltIn(Arc::clone(&origin.name)),
        false if &*origin.name == name => From::Here,
        false => From::Other(origin.kind, Arc::clone(&origin.name)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Source;
    use crate::span;

    const TEXT: &str = "\
kind: provider
name: google
extends: true
per_ip: {connections: 3}
automation: [{match: too fast, action: suspend}]
---
kind: provider
name: default
extends: true
timeouts: {connect: 20s}
---
kind: ip
name: a
bind: 192.0.2.1
ehlo: a.example.test
proxy: {socks5: 'p.example.test:1080', user: u, password: secret}
---
kind: pool
name: p
members: [{ip: a, weight: 3}, {ip: b}]
---
kind: ip
name: b
bind: 192.0.2.2
public: 198.51.100.2
ehlo: b.example.test
";

    fn shown(kind: Kind, name: &str) -> BTreeMap<String, (String, String)> {
        let policy = Policy::parse(&[Source {
            name: "t",
            text: TEXT,
        }])
        .unwrap();
        let keys = policy.effective(kind, name).unwrap().into_iter();
        keys.map(|one| (one.key, (one.value, one.from.to_string())))
            .collect()
    }

    #[test]
    fn every_value_is_told_with_where_it_is_from() {
        let google = shown(Kind::Provider, "google");
        for (key, value, from) in [
            ("per_ip.connections", "3", "here"),
            ("timeouts.connect", "20s", "provider/default"),
            ("timeouts.dot", "10m", "built-in provider default"),
            ("automation[1].match", "too fast", "here"),
        ] {
            let (has, says) = &google[key];
            assert_eq!((has.as_str(), says.as_str()), (value, from), "{key}");
        }
        assert_eq!(google["mx"].1, "built-in provider google");
        assert_eq!(google["automation[2].match"].1, "built-in provider google");
        let ip = shown(Kind::Ip, "a");
        assert_eq!(ip["public"], ("192.0.2.1".into(), "default".into()));
        assert_eq!(ip["state"].0, "active");
        assert_eq!(ip["proxy.password"].0, crate::MASK);
        assert_eq!(shown(Kind::Ip, "b")["public"].1, "here");
        let pool = shown(Kind::Pool, "p");
        assert_eq!(pool["members[1].weight"], ("3".into(), "here".into()));
        assert_eq!(pool["members[2].weight"], ("1".into(), "default".into()));
    }

    #[test]
    fn what_is_told_of_a_provider_is_what_holds() {
        let policy = Policy::parse(&[Source {
            name: "t",
            text: TEXT,
        }])
        .unwrap();
        for provider in policy.providers() {
            let keys = shown(Kind::Provider, &provider.name);
            let told = |key: &str| keys.get(key).map(|(value, _)| value.clone());
            let connections = provider.per_ip.connections.as_ref();
            let connections = connections.map(|at| at.value.to_string());
            assert_eq!(told("per_ip.connections"), connections, "{}", provider.name);
            let connect = span::text(provider.timeouts.connect);
            assert_eq!(told("timeouts.connect"), Some(connect), "{}", provider.name);
            assert_eq!(told("tls").as_deref(), Some(provider.tls.name()));
        }
    }
}
