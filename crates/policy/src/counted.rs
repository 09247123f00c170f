//! Rules as the meta group counts them, and the rule that a reply is told under.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_model::DurationMs;
use skein_model::automation::{self as counted, LASTS_MAX, LASTS_MIN, ScopeKind, THRESHOLD_MAX};

use crate::automation::{Action, ActionScope, Rule};
use crate::limits::DAY;
use crate::policy::Policy;
use crate::provider::DEFAULT;
use crate::rate::Rate;

/// A rule that a reply matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched<'a> {
    /// Whose rule it is: the site's provider, or `default`.
    pub provider: Arc<str>,
    /// Its place among the rules of that provider, counted from 0.
    pub nth: u16,
    pub rule: &'a Rule,
}

impl Policy {
    /// The rules of each provider by their places, for the meta group. Those of `default` stand there once, though they
    /// are everybody's.
    pub fn counted_rules(&self) -> counted::Rules {
        let default = self.default_provider();
        let common: Vec<counted::Rule> = default.rules().map(compiled).collect();
        let mut rules = BTreeMap::new();
        for provider in self.providers() {
            let own: Vec<counted::Rule> = provider.own_rules().iter().map(compiled).collect();
            if !own.is_empty() {
                rules.insert(provider.name.to_string(), own);
            }
        }
        if !common.is_empty() {
            rules.insert(DEFAULT.to_owned(), common);
        }
        rules
    }

    /// The rule that a reply of a site's host is told under, if any. `site` need not be a provider.
    pub fn reaction_of(&self, site: &str, reply: &str) -> Option<Matched<'_>> {
        let provider = self
            .provider(site)
            .unwrap_or_else(|| self.default_provider());
        let (place, rule) = provider.reaction(reply)?;
        let own = provider.own_rules().len();
        let (provider, nth) = match place.checked_sub(own) {
            None => (&provider.name, place),
            Some(nth) => (&self.default_provider().name, nth),
        };
        Some(Matched {
            provider: Arc::clone(provider),
            nth: u16::try_from(nth).ok()?,
            rule,
        })
    }
}

/// What a rule is to the meta group. The linter lets no figure through that is out of its range there, but for rates over
/// more than a day, which are kept at their pace over a day.
fn compiled(rule: &Rule) -> counted::Rule {
    counted::Rule {
        threshold: u32::try_from(rule.threshold.count)
            .unwrap_or(THRESHOLD_MAX)
            .min(THRESHOLD_MAX),
        window: rule.threshold.window,
        action: match rule.action {
            Action::Suspend => counted::Action::Suspend,
            Action::Rate(given) => counted::Action::Rate(rate(given)),
            Action::Connections(count) => counted::Action::Connections(count),
            Action::Bounce => counted::Action::Bounce,
            Action::RestIp => counted::Action::RestIp,
        },
        scope: match rule.scope {
            ActionScope::Site => ScopeKind::IpSite,
            ActionScope::Tenant => ScopeKind::Tenant,
            ActionScope::Pool => ScopeKind::Pool,
        },
        lasts: rule.lasts.clamp(LASTS_MIN, LASTS_MAX),
    }
}

fn rate(given: Rate) -> counted::Rate {
    let per: DurationMs = given.per.min(DAY);
    let count = match given.per > per {
        true => given.most_in(per),
        false => given.count,
    };
    counted::Rate {
        count: u32::try_from(count).unwrap_or(u32::MAX).max(1),
        per,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::draft::Source;

    #[test]
    fn every_built_in_rule_is_one_that_the_meta_group_counts() {
        let policy = Policy::built_in();
        let rules = policy.counted_rules();
        for (provider, rules) in &rules {
            for (nth, rule) in rules.iter().enumerate() {
                assert_eq!(rule.check(), Ok(()), "{provider} {nth}");
            }
        }
        let own: usize = policy.providers().map(|one| one.own_rules().len()).sum();
        let common = policy.default_provider().rules().count();
        let all: usize = rules.values().map(Vec::len).sum();
        assert_eq!(all, own + common);
        assert!(common > 0 && rules.len() > 8, "{:?}", rules.keys());
    }

    #[test]
    fn a_reply_is_told_under_the_rule_that_is_counted() {
        let text = "
kind: provider
name: mine
mx: .mine.example
automation:
  - match: first words
    action: {rate: 60/31day}
    threshold: 3/h
    for: 2h
    scope: tenant
  - match: second words
    action: rest_ip
";
        let source = Source { name: "t", text };
        let policy = Policy::parse(&[source]).unwrap();
        let rules = policy.counted_rules();
        let common = "421 4.7.1 Messages from 192.0.2.1 temporarily deferred";
        for (site, reply, provider, nth) in [
            ("mine", "450 4.7.1 first words", "mine", 0),
            ("mine", "450 4.7.1 second words", "mine", 1),
            ("mine", common, "default", 0),
            ("some.example", common, "default", 0),
        ] {
            let matched = policy.reaction_of(site, reply).unwrap();
            assert_eq!((&*matched.provider, matched.nth), (provider, nth));
            let counted = &rules[provider][usize::from(nth)];
            assert_eq!(*counted, compiled(matched.rule));
        }
        assert_eq!(policy.reaction_of("some.example", "450 4.7.1 first"), None);
        let first = &rules["mine"][0];
        assert_eq!((first.threshold, first.scope), (3, ScopeKind::Tenant));
        let counted::Action::Rate(rate) = first.action else {
            panic!("{first:?}");
        };
        assert_eq!((rate.count, rate.per), (1, DAY));
        assert_eq!(rules["mine"][1].action, counted::Action::RestIp);
    }
}
