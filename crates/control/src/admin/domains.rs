//! Domains, as operators see and change them.

use skein_identity::records::Publisher;
use skein_identity::render::zone_line;
use skein_identity::{Finding, Record, Severity};
use skein_model::meta::domains::{self, Change, DomainRow, What};
use skein_model::rotation::SlotState;
use skein_wire::v1::{
    AddDomainRequest, CheckDomainResponse, DnsRecord, Domain, DomainChange, DomainFinding,
    DomainFindingSeverity, DomainKey, DomainKeyState, ListDomainsRequest, ListDomainsResponse,
    RewrapKeysResponse, RotateDomainKeyRequest, RotateDomainKeyResponse,
};
use tonic::Status;

use super::{AdminService, page};
use crate::access;
use crate::domains::{Wanted, normal_name, records, state, waits_for};

/// Names on a page of a list.
const PAGE: usize = 100;

impl AdminService {
    pub(super) async fn new_domain(&self, request: AddDomainRequest) -> Result<Domain, Status> {
        let wanted = Wanted {
            name: normal_name(&request.name)?,
            tenant: request.tenant,
            is_operator: request.is_operator,
            is_delegated: request.is_delegated,
            has_ed25519: request.has_ed25519,
            by: access::caller(),
        };
        let name = wanted.name.clone();
        let row = self.domains.add(wanted).await?;
        Ok(self.domain_view(&name, &row))
    }

    pub(super) async fn forget_domain(&self, name: &str) -> Result<(), Status> {
        let name = normal_name(name)?;
        self.domains.remove(&name, access::caller()).await
    }

    pub(super) fn domain(&self, name: &str) -> Result<Domain, Status> {
        let name = normal_name(name)?;
        let row = self.domains.row(&name)?;
        Ok(self.domain_view(&name, &row))
    }

    pub(super) fn domain_list(&self, request: &ListDomainsRequest) -> ListDomainsResponse {
        let limit = page(request.limit, PAGE);
        let (mut found, mut after) = (Vec::new(), request.after.clone());
        // One more tells whether there are more.
        while found.len() <= limit {
            let page = domains::domains(&self.meta, &after, limit + 1);
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            let of_tenant = page
                .iter()
                .filter(|(_, row)| request.tenant.is_empty() || row.tenant == request.tenant);
            found.extend(of_tenant.map(|(name, row)| summary(name, row)));
        }
        let has_more = found.len() > limit;
        found.truncate(limit);
        ListDomainsResponse {
            domains: found,
            has_more,
        }
    }

    pub(super) async fn checked_domain(&self, name: &str) -> Result<CheckDomainResponse, Status> {
        let name = normal_name(name)?;
        let findings = self.domains.check(&name).await?;
        let row = self.domains.row(&name)?;
        Ok(CheckDomainResponse {
            findings: findings.into_iter().map(finding).collect(),
            domain: Some(self.domain_view(&name, &row)),
        })
    }

    pub(super) async fn rotated_domain(
        &self,
        request: &RotateDomainKeyRequest,
    ) -> Result<RotateDomainKeyResponse, Status> {
        let name = normal_name(&request.name)?;
        let by = access::caller();
        let row = self
            .domains
            .rotate(&name, request.is_compromised, by)
            .await?;
        Ok(RotateDomainKeyResponse {
            domain: Some(self.domain_view(&name, &row)),
        })
    }

    pub(super) async fn rewrapped_keys(&self) -> Result<RewrapKeysResponse, Status> {
        let done = self.domains.rewrap(&access::caller()).await?;
        Ok(RewrapKeysResponse {
            rewrapped: done.rewrapped,
            unchanged: done.unchanged,
            failed: done.failed,
        })
    }

    fn domain_view(&self, name: &str, row: &DomainRow) -> Domain {
        let records = records(name, row, self.domains.operator());
        Domain {
            records: records.iter().map(record).collect(),
            changes: row.changes.iter().rev().map(change).collect(),
            ..summary(name, row)
        }
    }
}

fn summary(name: &str, row: &DomainRow) -> Domain {
    let signed = row.signed_with();
    let waits = signed.waits.as_ref();
    let ms = |at: Option<skein_model::UnixMs>| at.map_or(0, |at| at.0);
    Domain {
        name: name.to_owned(),
        tenant: row.tenant.clone(),
        state: state(&signed).into(),
        waits_for: waits
            .map(|waits| waits_for(name, waits))
            .unwrap_or_default(),
        is_operator: row.is_operator,
        is_delegated: row.is_delegated,
        added_at_ms: row.added_at.0,
        verified_at_ms: ms(row.verified_at),
        checked_at_ms: ms(row.checked_at),
        next_check_at_ms: row.next_check.0,
        findings: row.findings.clone(),
        keys: row
            .slots()
            .map(|(algorithm, slot)| {
                let (state, since) = key_state(&slot.state);
                DomainKey {
                    selector: slot.selector.clone(),
                    algorithm: algorithm.name().to_owned(),
                    state: state.into(),
                    since_ms: ms(since),
                }
            })
            .collect(),
        records: Vec::new(),
        changes: Vec::new(),
    }
}

fn key_state(state: &SlotState) -> (DomainKeyState, Option<skein_model::UnixMs>) {
    match state {
        SlotState::Empty => (DomainKeyState::Empty, None),
        SlotState::Published { since, .. } => (DomainKeyState::Published, Some(*since)),
        SlotState::Seen { since, .. } => (DomainKeyState::Seen, Some(*since)),
        SlotState::Active(active) => (DomainKeyState::Active, Some(active.since)),
        SlotState::Retiring { since, .. } => (DomainKeyState::Retiring, Some(*since)),
        SlotState::Revoked { since, .. } => (DomainKeyState::Revoked, Some(*since)),
    }
}

fn record(record: &Record) -> DnsRecord {
    DnsRecord {
        name: record.name.clone(),
        r#type: record.record_type.to_string(),
        value: record.value.clone(),
        ttl: record.ttl,
        purpose: record.purpose.name().to_owned(),
        is_operators: record.publisher == Publisher::Operator,
        line: zone_line(record),
    }
}

fn change(change: &Change) -> DomainChange {
    let what = match change.what {
        What::Added => "added",
        What::Verified => "verified",
        What::Made => "key made",
        What::Activated => "activated",
        What::Retired => "retired",
        What::Revoked => "revoked",
        What::Removed => "removed",
        What::Rotated => "rotation ordered",
        What::Compromised => "said to be compromised",
        What::Gone => "gone from the DNS",
        What::Waiting => "mail waits",
        What::Unchecked => "no server answers",
        What::RemovedEarly => "record removed early",
        What::Rewrapped => "encrypted anew",
        What::Findings => "other findings",
    };
    DomainChange {
        at_ms: change.at.0,
        what: what.to_owned(),
        selector: change.selector.clone(),
        who: change.who.clone(),
    }
}

fn finding(finding: Finding) -> DomainFinding {
    let severity = match finding.id.severity() {
        Severity::Wait => DomainFindingSeverity::Wait,
        Severity::Warning => DomainFindingSeverity::Warning,
        Severity::Error => DomainFindingSeverity::Error,
    };
    DomainFinding {
        id: finding.id.as_str().to_owned(),
        severity: severity.into(),
        why: finding.id.why().to_owned(),
        asked: finding.asked,
        found: finding.found,
        expected: finding.expected,
        publish: finding.paste.unwrap_or_default(),
    }
}
