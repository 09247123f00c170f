//! What an operator's resources change, before anything is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_model::feature::Feature;
use skein_model::meta::{Kept, PolicyChange, Put};
use skein_policy::{Destination, Inbound, Kind, Policy, Problem, Source, is_resource_name};
use skein_wire::v1;
use skein_wire::v1::{ApplyPolicyRequest, PolicySource};

use super::policy_diff::changed;

/// Problems in one answer; an operator who has corrected so many asks again.
const PROBLEMS_MAX: usize = 200;

/// What is to be put and deleted, and what becomes of each resource that is named.
#[derive(Debug, Default)]
pub struct Change {
    pub put: Vec<Put>,
    pub delete: Vec<String>,
    pub changes: Vec<v1::PolicyChange>,
    /// What nodes must know to read the resources that are put: one that does not could not read the policy any more.
    pub needs: Vec<Feature>,
}

pub fn key(kind: Kind, name: &str) -> String {
    format!("{kind}/{name}")
}

fn lines(problems: Vec<Problem>) -> Vec<String> {
    let lines = problems.iter().take(PROBLEMS_MAX);
    lines.map(ToString::to_string).collect()
}

fn source(source: &PolicySource) -> Source<'_> {
    Source {
        name: &source.name,
        text: &source.text,
    }
}

impl Change {
    /// Of the resources that are there. Errors are lines for people.
    pub fn plan(
        before: &BTreeMap<String, Kept>,
        request: &ApplyPolicyRequest,
    ) -> Result<Self, Vec<String>> {
        check(request)?;
        let given: Vec<Source<'_>> = request.sources.iter().map(source).collect();
        let keys: BTreeSet<String> = Policy::names(&given)
            .map_err(lines)?
            .into_iter()
            .map(|(kind, name)| key(kind, &name))
            .collect();
        let absent = request
            .remove
            .iter()
            .filter(|key| !before.contains_key(*key));
        let absent: Vec<String> = absent
            .map(|key| format!("{key}: there is no such resource; see `skeinctl policy get`"))
            .collect();
        if !absent.is_empty() {
            return Err(absent);
        }
        let others = taken_by_others(before, &keys, request);
        if !others.is_empty() {
            return Err(others);
        }
        let mut gone: BTreeSet<&String> = request.remove.iter().collect();
        if request.prune {
            let own = before.iter();
            let own = own.filter(|(_, kept)| kept.source.as_ref() == Some(&request.source));
            gone.extend(own.map(|(key, _)| key));
        }
        gone.retain(|key| !keys.contains(*key));
        let kept = before
            .iter()
            .filter(|(key, _)| !keys.contains(*key) && !gone.contains(key));
        let kept = kept.map(|(name, kept)| Source {
            name,
            text: &kept.text,
        });
        let all: Vec<Source<'_>> = kept.chain(given.iter().copied()).collect();
        let policy = Policy::parse(&all).map_err(lines)?;
        let mut plan = Self::default();
        for (kind, name, _) in policy.resources() {
            let key = key(kind, name);
            let Some(text) = policy.get(kind, name).filter(|_| keys.contains(&key)) else {
                continue;
            };
            let known = before.get(&key);
            let source = match request.source.as_str() {
                "" => known.and_then(|known| known.source.clone()),
                source => Some(source.to_owned()),
            };
            plan.put(&key, known, Kept { text, source });
        }
        for key in gone {
            plan.delete(key, before.get(key));
        }
        plan.needs = plan.needs_of(&policy);
        Ok(plan)
    }

    /// Back to resources as they were. They are read as those that are kept: what this version does not take any more is a
    /// problem.
    pub fn back(
        before: &BTreeMap<String, Kept>,
        then: &BTreeMap<String, Kept>,
    ) -> Result<Self, Vec<String>> {
        let texts = then
            .iter()
            .map(|(key, kept)| (key.clone(), kept.text.clone()));
        let policy = Policy::of_texts(&texts.collect()).map_err(lines)?;
        let mut plan = Self::default();
        for (key, kept) in then {
            if before.get(key) != Some(kept) {
                plan.put(key, before.get(key), kept.clone());
            }
        }
        for (key, kept) in before.iter().filter(|(key, _)| !then.contains_key(*key)) {
            plan.delete(key, Some(kept));
        }
        plan.needs = plan.needs_of(&policy);
        Ok(plan)
    }

    pub fn is_idle(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    /// Whether it changes a resource.
    pub fn touches(&self, key: &str) -> bool {
        let put = self.put.iter().any(|put| put.key == key);
        put || self.delete.iter().any(|deleted| deleted == key)
    }

    fn needs_of(&self, policy: &Policy) -> Vec<Feature> {
        let is_put = |kind: Kind, name: &str| {
            let key = key(kind, name);
            self.put.iter().any(|put| put.key == key)
        };
        let is_inbound = |inbound: &&Arc<Inbound>| is_put(Kind::Inbound, &inbound.name);
        let has_file = |destination: &Destination| match destination {
            Destination::Http(webhook) => webhook.secret_file.is_some(),
            _ => false,
        };
        let has_sizes = policy
            .tenants()
            .any(|tenant| tenant.quota.has_sizes() && is_put(Kind::Tenant, &tenant.name));
        let inbounds: Vec<&Arc<Inbound>> = policy.inbounds().filter(is_inbound).collect();
        let mut destinations = inbounds.iter().flat_map(|inbound| inbound.addresses());
        let needs = [
            (Feature::Inbound, !inbounds.is_empty()),
            (
                Feature::SecretFiles,
                destinations.any(|(_, to)| has_file(to)),
            ),
            (Feature::HeldOfTenants, has_sizes),
        ];
        let needs = needs.into_iter().filter(|(_, is_needed)| *is_needed);
        needs.map(|(feature, _)| feature).collect()
    }

    /// As a command.
    pub fn command(self, base: u64, by: String, made: skein_model::meta::Made) -> PolicyChange {
        PolicyChange {
            base: Some(base),
            put: self.put,
            delete: self.delete,
            by,
            made,
        }
    }

    fn put(&mut self, key: &str, before: Option<&Kept>, after: Kept) {
        self.changes.push(changed(key, before, Some(&after)));
        if before != Some(&after) {
            let Kept { text, source } = after;
            let key = key.to_owned();
            self.put.push(Put { key, text, source });
        }
    }

    fn delete(&mut self, key: &str, before: Option<&Kept>) {
        self.changes.push(changed(key, before, None));
        self.delete.push(key.to_owned());
    }
}

fn check(request: &ApplyPolicyRequest) -> Result<(), Vec<String>> {
    let source = &request.source;
    if !source.is_empty() && !is_resource_name(source) {
        return Err(vec![format!(
            "source: {source:?} must be up to 64 letters, digits, \".\", \"-\" or \"_\", beginning with a letter or digit"
        )]);
    }
    match (request.prune || request.take_over) && source.is_empty() {
        true => Err(vec![
            "source: is missing: --prune and --take-over need the name of where these files come from, as --source git"
                .to_owned(),
        ]),
        false => Ok(()),
    }
}

/// Lines about resources that belong to another source than the one that they are applied from.
fn taken_by_others(
    before: &BTreeMap<String, Kept>,
    keys: &BTreeSet<String>,
    request: &ApplyPolicyRequest,
) -> Vec<String> {
    if request.source.is_empty() || request.take_over {
        return Vec::new();
    }
    let known = keys
        .iter()
        .filter_map(|key| Some((key, before.get(key)?.source.as_ref()?)));
    let others = known.filter(|(_, source)| **source != request.source);
    let others = others.map(|(key, source)| {
        format!(
            "{key}: belongs to source {source}: leave it out, apply it with --source {source}, or take it over with \
             --take-over"
        )
    });
    others.take(PROBLEMS_MAX).collect()
}

#[cfg(test)]
#[path = "policy_change_tests.rs"]
mod tests;
