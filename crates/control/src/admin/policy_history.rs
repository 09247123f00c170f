//! Earlier versions of the policy: who made each, what it changed, and how to go back.

use std::collections::BTreeMap;

use skein_model::feature::Feature;
use skein_model::meta::{self, Kept, Made};
use skein_wire::v1::{
    ApplyPolicyResponse, ListPolicyHistoryRequest, ListPolicyHistoryResponse, PolicyVersion,
    RollbackPolicyRequest,
};
use tonic::Status;

use super::AdminService;
use super::policy_change::Change;
use super::policy_diff::changed;

/// Changes that are told to those whose base is old.
const TOLD_MAX: usize = 10;

impl AdminService {
    pub(super) fn policy_history(
        &self,
        request: &ListPolicyHistoryRequest,
    ) -> Result<ListPolicyHistoryResponse, Status> {
        let now = meta::policy_version(&self.meta);
        let history = meta::policy_history(&self.meta);
        let oldest_version = oldest(&history, now);
        let wanted = request.version;
        if wanted != 0 && !history.contains_key(&wanted) {
            return Err(unknown(wanted, oldest_version + 1, now));
        }
        let mut after = meta::kept(&self.meta);
        let mut versions = Vec::new();
        for (version, row) in history.iter().rev() {
            let before = went_back(&after, row);
            if wanted == 0 || wanted == *version {
                versions.push(told(*version, row, &before, &after, wanted != 0));
            }
            after = before;
        }
        Ok(ListPolicyHistoryResponse {
            versions,
            version: now,
            oldest_version,
        })
    }

    pub(super) async fn rollback_policy(
        &self,
        request: RollbackPolicyRequest,
    ) -> Result<ApplyPolicyResponse, Status> {
        let now = meta::policy_version(&self.meta);
        let wanted = request.version;
        let then = meta::policy_at(&self.meta, wanted)
            .ok_or_else(|| unknown(wanted, oldest(&meta::policy_history(&self.meta), now), now))?;
        match Change::back(&meta::kept(&self.meta), &then) {
            Err(problems) => Ok(ApplyPolicyResponse {
                problems,
                version: now,
                ..ApplyPolicyResponse::default()
            }),
            Ok(change) => {
                self.take_over(change, now, Made::RolledBack(wanted), request.dry_run)
                    .await
            }
        }
    }

    /// Whether all members of the meta group read the command that keeps versions. Once one is kept, all do.
    pub(super) async fn keeps_history(&self) -> bool {
        let versions = &self.forward.versions;
        meta::has_history(&self.meta) || versions.pass(Feature::PolicyHistory).await.is_ok()
    }

    /// Refuses a change of resources that others have changed after the version that it is based on.
    pub(super) fn check_base(&self, base: u64, change: &Change) -> Result<(), Status> {
        let now = meta::policy_version(&self.meta);
        if base > now {
            return Err(Status::invalid_argument(format!(
                "base_version: the policy has version {now}, and there is no {base} yet"
            )));
        }
        let history = meta::policy_history(&self.meta);
        let since: Vec<_> = history.range(base + 1..).collect();
        if (since.len() as u64) < now - base && !change.is_idle() {
            return Err(Status::aborted(format!(
                "base_version: {base} is too old to say what has changed since: versions are known from {} on; fetch the \
                 resources again with `skeinctl policy get`",
                oldest(&history, now)
            )));
        }
        let mut told = Vec::new();
        for (version, row) in since {
            let keys = row.before.keys().filter(|key| change.touches(key));
            let keys: Vec<&str> = keys.map(String::as_str).collect();
            if !keys.is_empty() {
                told.push(format!(
                    "version {version} by {} changed {}",
                    who(&row.by),
                    keys.join(", ")
                ));
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        let more = told.len().saturating_sub(TOLD_MAX);
        told.truncate(TOLD_MAX);
        if more > 0 {
            told.push(format!("{more} more did"));
        }
        Err(Status::aborted(format!(
            "base_version: these resources are of version {base}, and others have changed them since: {}; fetch them again \
             with `skeinctl policy get`",
            told.join("; ")
        )))
    }
}

/// A name for who made a change.
pub(super) fn who(by: &str) -> &str {
    match by {
        "" => "somebody",
        by => by,
    }
}

/// The earliest version whose resources are known.
fn oldest(history: &BTreeMap<u64, meta::PolicyVersion>, now: u64) -> u64 {
    let mut oldest = now;
    while oldest > 0 && history.contains_key(&oldest) {
        oldest -= 1;
    }
    oldest
}

fn unknown(version: u64, oldest: u64, now: u64) -> Status {
    Status::not_found(format!(
        "version: {version} is not known: there are {oldest} to {now}; list them with `skeinctl policy history`"
    ))
}

/// The resources before a version.
fn went_back(after: &BTreeMap<String, Kept>, row: &meta::PolicyVersion) -> BTreeMap<String, Kept> {
    let mut before = after.clone();
    for (key, was) in &row.before {
        match was {
            Some(was) => before.insert(key.clone(), was.clone()),
            None => before.remove(key),
        };
    }
    before
}

fn told(
    version: u64,
    row: &meta::PolicyVersion,
    before: &BTreeMap<String, Kept>,
    after: &BTreeMap<String, Kept>,
    with_keys: bool,
) -> PolicyVersion {
    let changes = row.before.keys().map(|key| {
        let mut change = changed(key, before.get(key), after.get(key));
        if !with_keys {
            change.keys.clear();
        }
        change
    });
    PolicyVersion {
        version,
        at_ms: row.at.0,
        by: row.by.clone(),
        changes: changes.collect(),
        rolled_back_to: match row.made {
            Made::RolledBack(to) => Some(to),
            _ => None,
        },
        is_restored: row.made == Made::Restored,
    }
}
