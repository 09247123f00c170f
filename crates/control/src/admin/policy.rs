//! The cluster's policy: resources are checked as a whole here, and kept by the meta group as texts.

use skein_model::meta::{self, Command, Made};
use skein_policy::Kind;
use skein_wire::v1::{
    ApplyPolicyRequest, ApplyPolicyResponse, EffectiveKey, ListPolicyRequest, ListPolicyResponse,
    Resource, ResourceKind,
};
use tonic::Status;

use super::AdminService;
use super::policy_change::{Change, key};
use super::policy_history::who;
use crate::access;

impl AdminService {
    pub(super) async fn apply_policy(
        &self,
        request: ApplyPolicyRequest,
    ) -> Result<ApplyPolicyResponse, Status> {
        // Read first: a change that comes between is refused.
        let version = meta::policy_version(&self.meta);
        let before = meta::kept(&self.meta);
        match Change::plan(&before, &request) {
            Ok(change) => {
                if let Some(base) = request.base_version {
                    self.check_base(base, &change)?;
                }
                self.take_over(change, version, Made::Applied, request.dry_run)
                    .await
            }
            Err(problems) => Ok(ApplyPolicyResponse {
                problems,
                version,
                ..ApplyPolicyResponse::default()
            }),
        }
    }

    /// Commits a change that was made for that version, and says what it changes.
    pub(super) async fn take_over(
        &self,
        mut change: Change,
        version: u64,
        made: Made,
        dry_run: bool,
    ) -> Result<ApplyPolicyResponse, Status> {
        let changes = std::mem::take(&mut change.changes);
        for feature in &change.needs {
            self.forward.versions.pass(*feature).await?;
        }
        let mut reached = version;
        if !dry_run && !change.is_idle() {
            let command = match self.keeps_history().await {
                true => {
                    let by = access::bounded(&access::caller());
                    Command::ChangePolicy(Box::new(change.command(version, by, made)))
                }
                false => without_history(change, version, made)?,
            };
            if let meta::Response::Refused(refusal) = self.forward.commit_meta(&command).await? {
                return Err(match refusal {
                    meta::Refusal::PolicyChanged => self.changed_since(version),
                    refusal => Status::failed_precondition(refusal.to_string()),
                });
            }
            // It was made for that version; the rows of this node may not have it yet.
            reached = version + 1;
        }
        Ok(ApplyPolicyResponse {
            changes,
            version: reached,
            problems: Vec::new(),
        })
    }

    /// Somebody was faster.
    fn changed_since(&self, version: u64) -> Status {
        let history = meta::policy_history(&self.meta);
        let since = history.range(version + 1..);
        let told = since.map(|(number, row)| {
            let keys: Vec<&str> = row.before.keys().map(String::as_str).collect();
            let (by, keys) = (who(&row.by), keys.join(", "));
            format!(" (version {number} by {by}: {keys})")
        });
        let told: String = told.take(1).collect();
        Status::aborted(format!("{}{told}", meta::Refusal::PolicyChanged))
    }

    pub(super) fn policy(&self, request: &ListPolicyRequest) -> Result<ListPolicyResponse, Status> {
        let kind = wanted_kind(request)?;
        if request.secrets {
            access::check_admin("secrets")?;
        }
        let version = meta::policy_version(&self.meta);
        let kept = meta::kept(&self.meta);
        let policy = self.read_policy()?;
        let is_wanted = |of: Kind, name: &str| {
            kind.is_none_or(|kind| kind == of) && (request.name.is_empty() || request.name == name)
        };
        let resources = policy.resources().filter_map(|(kind, name, _)| {
            let own = kept.get(&key(kind, name));
            let built_in = own.is_none();
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
                source: own.and_then(|own| own.source.clone()).unwrap_or_default(),
                effective: match request.effective {
                    true => effective(&policy, kind, name),
                    false => Vec::new(),
                },
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
        Kind::Inbound => ResourceKind::Inbound,
        Kind::Ip => ResourceKind::Ip,
        Kind::Pool => ResourceKind::Pool,
        Kind::Provider => ResourceKind::Provider,
        Kind::Route => ResourceKind::Route,
        Kind::Credential => ResourceKind::Credential,
        Kind::Tenant => ResourceKind::Tenant,
        Kind::Warmup => ResourceKind::Warmup,
    }
}

fn effective(policy: &skein_policy::Policy, kind: Kind, name: &str) -> Vec<EffectiveKey> {
    let keys = policy.effective(kind, name).unwrap_or_default();
    let keys = keys.into_iter().map(|one| EffectiveKey {
        key: one.key,
        value: one.value,
        from: one.from.to_string(),
    });
    keys.collect()
}

/// The command that control nodes of all versions read.
fn without_history(change: Change, version: u64, made: Made) -> Result<Command, Status> {
    let has_source = change.put.iter().any(|put| put.source.is_some());
    if made != Made::Applied || has_source {
        return Err(Status::unavailable(
            "a control node does not answer, or is of a version that keeps no history of the policy: start or upgrade all \
             control nodes first, see `skeinctl cluster status`",
        ));
    }
    let put = change.put.into_iter().map(|put| (put.key, put.text));
    Ok(Command::SetPolicy {
        base: Some(version),
        put: put.collect(),
        delete: change.delete,
    })
}
