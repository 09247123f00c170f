//! The cluster's policy: resources are checked as a whole here, and kept by the meta group as texts.

use std::collections::{BTreeMap, BTreeSet};

use skein_model::meta::{self, Command};
use skein_policy::{Kind, Policy, Source};
use skein_wire::v1::{
    ApplyPolicyRequest, ApplyPolicyResponse, ListPolicyRequest, ListPolicyResponse, PolicyChange,
    PolicyChangeKind, PolicySource, Resource, ResourceKind,
};
use tonic::Status;

use super::AdminService;

/// Problems in one answer; an operator who has corrected so many asks again.
const PROBLEMS_MAX: usize = 200;

impl AdminService {
    pub(super) async fn apply_policy(
        &self,
        request: ApplyPolicyRequest,
    ) -> Result<ApplyPolicyResponse, Status> {
        // Read first: a change that comes between is refused.
        let version = meta::policy_version(&self.meta);
        let before = meta::policy(&self.meta);
        let asked = match Change::plan(&before, &request) {
            Ok(asked) => asked,
            Err(problems) => {
                return Ok(ApplyPolicyResponse {
                    problems,
                    version,
                    ..ApplyPolicyResponse::default()
                });
            }
        };
        let is_idle = asked.put.is_empty() && asked.delete.is_empty();
        let mut reached = version;
        if !request.dry_run && !is_idle {
            let command = Command::SetPolicy {
                base: Some(version),
                put: asked.put,
                delete: asked.delete,
            };
            if let meta::Response::Refused(refusal) = self.commit_meta(&command).await? {
                return Err(Status::failed_precondition(refusal.to_string()));
            }
            // It was made for that version; the rows of this node may not have it yet.
            reached = version + 1;
        }
        Ok(ApplyPolicyResponse {
            changes: asked.changes,
            version: reached,
            problems: Vec::new(),
        })
    }

    pub(super) fn policy(&self, request: &ListPolicyRequest) -> Result<ListPolicyResponse, Status> {
        let kind = wanted_kind(request)?;
        let version = meta::policy_version(&self.meta);
        let texts = meta::policy(&self.meta);
        let policy = self.read_policy()?;
        let is_wanted = |of: Kind, name: &str| {
            kind.is_none_or(|kind| kind == of) && (request.name.is_empty() || request.name == name)
        };
        let resources = policy.resources().filter_map(|(kind, name, _)| {
            let built_in = !texts.contains_key(&key(kind, name));
            if !is_wanted(kind, name) || (built_in && !request.built_in) {
                return None;
            }
            Some(Resource {
                kind: resource_kind(kind).into(),
                name: name.to_string(),
                text: match request.secrets {
                    true => policy.get(kind, name)?,
                    false => policy.masked(kind, name)?,
                },
                built_in,
            })
        });
        let resources = resources.collect();
        Ok(ListPolicyResponse { version, resources })
    }
}

/// None: all of them.
fn wanted_kind(request: &ListPolicyRequest) -> Result<Option<Kind>, Status> {
    let kind = ResourceKind::try_from(request.kind).map_err(|_| {
        Status::invalid_argument(format!("kind: this node knows no kind {}", request.kind))
    })?;
    Ok(Kind::ALL.into_iter().find(|of| resource_kind(*of) == kind))
}

fn resource_kind(kind: Kind) -> ResourceKind {
    match kind {
        Kind::Ip => ResourceKind::Ip,
        Kind::Pool => ResourceKind::Pool,
        Kind::Provider => ResourceKind::Provider,
        Kind::Route => ResourceKind::Route,
        Kind::Credential => ResourceKind::Credential,
        Kind::Tenant => ResourceKind::Tenant,
        Kind::Warmup => ResourceKind::Warmup,
    }
}

fn key(kind: Kind, name: &str) -> String {
    format!("{kind}/{name}")
}

fn lines(problems: Vec<skein_policy::Problem>) -> Vec<String> {
    let lines = problems.iter().take(PROBLEMS_MAX);
    lines.map(ToString::to_string).collect()
}

/// What an operator's resources change.
#[derive(Debug, Default)]
struct Change {
    put: Vec<(String, String)>,
    delete: Vec<String>,
    changes: Vec<PolicyChange>,
}

impl Change {
    /// Of the resources that are there. Errors are lines for people.
    fn plan(
        before: &BTreeMap<String, String>,
        request: &ApplyPolicyRequest,
    ) -> Result<Self, Vec<String>> {
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
        let kept = before
            .iter()
            .filter(|(key, _)| !keys.contains(*key) && !request.remove.contains(key));
        let kept = kept.map(|(name, text)| Source { name, text });
        let all: Vec<Source<'_>> = kept.chain(given.iter().copied()).collect();
        let policy = Policy::parse(&all).map_err(lines)?;
        let mut plan = Self::default();
        for (kind, name, _) in policy.resources() {
            let key = key(kind, name);
            let Some(text) = policy.get(kind, name).filter(|_| keys.contains(&key)) else {
                continue;
            };
            let change = match before.get(&key) {
                None => PolicyChangeKind::Added,
                Some(known) if *known == text => PolicyChangeKind::Unchanged,
                Some(_) => PolicyChangeKind::Changed,
            };
            plan.note(&key, change);
            if change != PolicyChangeKind::Unchanged {
                plan.put.push((key, text));
            }
        }
        for key in request.remove.iter().filter(|key| !keys.contains(*key)) {
            plan.note(key, PolicyChangeKind::Removed);
            plan.delete.push(key.clone());
        }
        Ok(plan)
    }

    fn note(&mut self, resource: &str, change: PolicyChangeKind) {
        self.changes.push(PolicyChange {
            resource: resource.to_owned(),
            change: change.into(),
        });
    }
}

fn source(source: &PolicySource) -> Source<'_> {
    Source {
        name: &source.name,
        text: &source.text,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::PolicyChangeKind::{Added, Changed, Removed, Unchanged};
    use super::*;

    const IP: &str = "kind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example.test\n";

    fn request(texts: &[&str], remove: &[&str]) -> ApplyPolicyRequest {
        let sources = texts.iter().map(|text| PolicySource {
            name: "file".into(),
            text: (*text).into(),
        });
        ApplyPolicyRequest {
            sources: sources.collect(),
            remove: remove.iter().map(|key| (*key).into()).collect(),
            dry_run: false,
        }
    }

    fn changes(plan: &Change) -> Vec<(&str, PolicyChangeKind)> {
        let changes = plan.changes.iter();
        changes
            .map(|change| (change.resource.as_str(), change.change()))
            .collect()
    }

    #[test]
    fn a_plan_says_what_becomes_of_each_resource() {
        let pool = "kind: pool\nname: p\nmembers:\n- ip: a\n";
        let two = format!("{IP}---\n{pool}");
        let plan = Change::plan(&BTreeMap::new(), &request(&[&two], &[])).unwrap();
        assert_eq!(changes(&plan), [("ip/a", Added), ("pool/p", Added)]);
        let before: BTreeMap<String, String> = plan.put.into_iter().collect();

        let again = Change::plan(&before, &request(&[&two], &[])).unwrap();
        assert_eq!(
            changes(&again),
            [("ip/a", Unchanged), ("pool/p", Unchanged)]
        );
        assert!(again.put.is_empty() && again.delete.is_empty());

        let other = IP.replace("192.0.2.1", "192.0.2.2");
        let plan = Change::plan(&before, &request(&[&other], &["pool/p"])).unwrap();
        assert_eq!(changes(&plan), [("ip/a", Changed), ("pool/p", Removed)]);
    }

    #[test]
    fn what_is_left_must_be_whole() {
        let pool = "kind: pool\nname: p\nmembers:\n- ip: a\n";
        let two = format!("{IP}---\n{pool}");
        let plan = Change::plan(&BTreeMap::new(), &request(&[&two], &[])).unwrap();
        let before: BTreeMap<String, String> = plan.put.into_iter().collect();
        let problems = Change::plan(&before, &request(&[], &["ip/a"])).unwrap_err();
        assert!(problems[0].contains("pool"), "{problems:?}");
        let problems = Change::plan(&before, &request(&[], &["ip/b"])).unwrap_err();
        assert!(problems[0].starts_with("ip/b: there is no"), "{problems:?}");
        let bad = IP.replace("bind", "bid");
        let problems = Change::plan(&before, &request(&[&bad], &[])).unwrap_err();
        assert!(problems[0].starts_with("file:"), "{problems:?}");
    }
}
