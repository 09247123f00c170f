//! Which mail an operator means: the names that are said, whether anything is known of them, and how much they meet.

use std::collections::BTreeSet;

use skein_model::automation::Selector;
use skein_model::spool::QueueRow;
use skein_model::{meta, nearest};
use skein_policy::{DEFAULT_POOL, Policy};
use skein_wire::v1::MailSelector;
use tonic::Status;

use super::AdminService;

/// Rows of queues that one question looks at: about a second. Beyond it, an answer says "more than".
pub(super) const QUEUES_LOOKED_AT_MAX: usize = 200_000;
/// Names of each kind that a suggestion is looked for among.
const NAMES_MAX: usize = 10_000;
/// The tenant of mail that names none.
const DEFAULT_TENANT: &str = "default";

/// The mail that a selector meets at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Met {
    pub tasks: u64,
    pub queues: u64,
    /// There are more queues than were looked at.
    pub has_more: bool,
}

impl AdminService {
    /// Counts by the counters that queues have.
    pub(super) fn met(&self, covers: impl Fn(&QueueRow) -> bool) -> Met {
        let mut met = Met::default();
        let mut looked_at = 0;
        self.each_queue_while(|_, row| {
            looked_at += 1;
            if looked_at > QUEUES_LOOKED_AT_MAX {
                met.has_more = true;
                return false;
            }
            if covers(&row) {
                met.queues += 1;
                met.tasks += row.tasks;
            }
            true
        });
        met
    }

    /// What a selector meets, and what may be a mistake about it.
    ///
    /// # Errors
    /// It names something of which nothing is known, and the request does not say that it is meant.
    pub(super) fn meet(
        &self,
        selector: &Selector,
        force: bool,
    ) -> Result<(Met, Vec<String>), Status> {
        let met = self.met(|row| selector.covers(&row.facts()));
        if met.queues > 0 || met.has_more {
            return Ok((met, Vec::new()));
        }
        let known = self.known_names()?;
        let unknown = known.unknown(selector);
        match unknown.is_empty() || force {
            true => Ok((met, known.notes(selector))),
            false => Err(Status::not_found(format!(
                "{} (--force takes names as they are)",
                unknown.join("; ")
            ))),
        }
    }

    fn known_names(&self) -> Result<Known, Status> {
        let mut known = Known::of(&self.read_policy()?);
        known.sites.extend(meta::spreads(&self.meta).into_keys());
        known
            .tenants
            .extend(crate::policy::weights(&self.meta).into_keys());
        let mut looked_at = 0;
        self.each_queue_while(|_, row| {
            looked_at += 1;
            known.add(&row);
            looked_at < QUEUES_LOOKED_AT_MAX
        });
        Ok(known)
    }
}

/// What mail may be named by.
#[derive(Debug, Default)]
struct Known {
    tenants: BTreeSet<String>,
    providers: BTreeSet<String>,
    pools: BTreeSet<String>,
    /// With the domains of waiting mail.
    sites: BTreeSet<String>,
    domains: BTreeSet<String>,
    campaigns: BTreeSet<String>,
}

fn add(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < NAMES_MAX && !names.contains(name) {
        names.insert(name.to_owned());
    }
}

impl Known {
    fn of(policy: &Policy) -> Self {
        let mut known = Self::default();
        add(&mut known.tenants, DEFAULT_TENANT);
        add(&mut known.pools, DEFAULT_POOL);
        for provider in policy.providers() {
            add(&mut known.providers, &provider.name);
            add(&mut known.sites, &provider.name);
        }
        for pool in policy.pools() {
            add(&mut known.pools, &pool.name);
        }
        for tenant in policy.tenants() {
            add(&mut known.tenants, &tenant.name);
        }
        known
    }

    fn add(&mut self, row: &QueueRow) {
        add(&mut self.tenants, &row.tenant);
        add(&mut self.pools, &row.pool);
        add(&mut self.sites, row.site());
        add(&mut self.domains, row.domain.as_str());
        if let Some(campaign) = &row.campaign {
            add(&mut self.campaigns, campaign);
        }
    }

    /// Names that nothing can be known by: mail of another domain or campaign may come at any time, but tenants, pools
    /// and providers are set up before, and sites are theirs or domains.
    fn unknown(&self, selector: &Selector) -> Vec<String> {
        let checked = [
            ("tenant", &selector.tenant, &self.tenants),
            ("provider", &selector.provider, &self.providers),
            ("pool", &selector.pool, &self.pools),
            ("site", &selector.site, &self.sites),
        ];
        let unknown = checked.into_iter().filter_map(|(kind, name, known)| {
            let name = name.as_deref().filter(|name| !known.contains(*name))?;
            let text = format!("{kind}: neither policy nor waiting mail has {name:?}");
            Some(format!("{text}{}", suggestion(name, known)))
        });
        unknown.collect()
    }

    fn notes(&self, selector: &Selector) -> Vec<String> {
        let noted = [
            ("domain", &selector.domain, &self.domains),
            ("campaign", &selector.campaign, &self.campaigns),
        ];
        let notes = noted.into_iter().filter_map(|(kind, name, known)| {
            let name = name.as_deref().filter(|name| !known.contains(*name))?;
            Some(format!(
                "no mail of {kind} {name} waits{}",
                suggestion(name, known)
            ))
        });
        notes.collect()
    }
}

/// The name that may have been meant, as the end of a sentence.
pub(super) fn suggestion<'n>(name: &str, known: impl IntoIterator<Item = &'n String>) -> String {
    match nearest(name, known.into_iter().map(String::as_str)) {
        Some(meant) if meant != name => format!("; did you mean {meant:?}?"),
        _ => String::new(),
    }
}

pub(super) fn read_selector(given: Option<MailSelector>) -> Result<Selector, Status> {
    let given = given.unwrap_or_default();
    let named = |name: String| (!name.is_empty()).then_some(name);
    let selector = Selector {
        tenant: named(given.tenant),
        domain: named(given.domain),
        site: named(given.site),
        provider: named(given.provider),
        pool: named(given.pool),
        campaign: named(given.campaign),
    };
    if (selector.names()).any(|name| name.contains(char::is_control)) {
        return Err(Status::invalid_argument(
            "selector: a name has no control characters: no mail can be of it",
        ));
    }
    // Everything is a word of its own, so that a name which was forgotten does not mean it.
    if selector.is_valid() && selector.is_everything() == given.everything {
        return Ok(selector.normalised());
    }
    Err(Status::invalid_argument(match given.everything {
        true => "selector: everything is all mail, so nothing else is named with it",
        false => {
            "selector: name a tenant, domain, site, provider, pool or campaign, each with at most 255 bytes, or everything"
        }
    }))
}

pub(super) fn write_selector(selector: &Selector) -> MailSelector {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    MailSelector {
        tenant: name(&selector.tenant),
        domain: name(&selector.domain),
        site: name(&selector.site),
        provider: name(&selector.provider),
        pool: name(&selector.pool),
        campaign: name(&selector.campaign),
        everything: selector.is_everything(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn known() -> Known {
        let mut known = Known::of(&Policy::built_in());
        known.add(&QueueRow {
            domain: skein_model::Domain::new("wrong.test"),
            tenant: "shop".into(),
            pool: "news".into(),
            slot: skein_model::Slot(0),
            tasks: 1,
            priority: skein_model::Priority::Bulk,
            site: Some("mx.wrong.test".into()),
            campaign: Some("may".into()),
        });
        known
    }

    fn selector(kind: &str, name: &str) -> Selector {
        let name = name.to_owned();
        read_selector(Some(match kind {
            "tenant" => MailSelector {
                tenant: name,
                ..MailSelector::default()
            },
            "domain" => MailSelector {
                domain: name,
                ..MailSelector::default()
            },
            "site" => MailSelector {
                site: name,
                ..MailSelector::default()
            },
            "provider" => MailSelector {
                provider: name,
                ..MailSelector::default()
            },
            "pool" => MailSelector {
                pool: name,
                ..MailSelector::default()
            },
            _ => MailSelector {
                campaign: name,
                ..MailSelector::default()
            },
        }))
        .unwrap()
    }

    #[test]
    fn names_are_known_or_the_nearest_is_named() {
        let known = known();
        for (kind, name, expected) in [
            ("provider", "google", None),
            ("provider", "gooogle", Some("did you mean \"google\"?")),
            ("provider", "elsewhere", Some("has \"elsewhere\"")),
            ("tenant", "shop", None),
            ("tenant", "default", None),
            ("tenant", "shpo", Some("did you mean \"shop\"?")),
            ("pool", "news", None),
            ("pool", "nwes", Some("did you mean \"news\"?")),
            ("site", "google", None),
            ("site", "mx.wrong.test", None),
            (
                "site",
                "mx.wrnog.test",
                Some("did you mean \"mx.wrong.test\"?"),
            ),
            // Mail of these may come at any time.
            ("domain", "wrnog.test", None),
            ("campaign", "mai", None),
        ] {
            let unknown = known.unknown(&selector(kind, name));
            match expected {
                None => assert_eq!(unknown, Vec::<String>::new(), "{kind} {name}"),
                Some(text) => assert!(unknown[0].contains(text), "{kind} {name}: {unknown:?}"),
            }
        }
        for (kind, name, expected) in [
            ("domain", "wrong.test", None),
            (
                "domain",
                "wrnog.test",
                Some("waits; did you mean \"wrong.test\"?"),
            ),
            ("campaign", "june", Some("no mail of campaign june waits")),
        ] {
            let notes = known.notes(&selector(kind, name));
            match expected {
                None => assert!(notes.is_empty(), "{notes:?}"),
                Some(text) => assert!(notes[0].contains(text), "{notes:?}"),
            }
        }
    }

    #[test]
    fn everything_is_said_and_never_meant_by_saying_nothing() {
        let everything = MailSelector {
            everything: true,
            ..MailSelector::default()
        };
        let read = read_selector(Some(everything.clone())).unwrap();
        assert!(read.is_everything());
        assert_eq!(write_selector(&read), everything);
        assert!(read_selector(None).is_err());
        assert!(read_selector(Some(MailSelector::default())).is_err());
        let both = MailSelector {
            tenant: "shop".into(),
            ..everything
        };
        assert!(read_selector(Some(both)).is_err());
    }
}
