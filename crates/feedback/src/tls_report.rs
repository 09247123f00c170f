//! Reports on TLS (RFC 8460).

use std::net::IpAddr;

use mail_auth::report::tlsrpt as theirs;
use skein_model::UnixMs;

use crate::attachments::{NoReport, Shape, first_report};
use crate::key::{ReportKey, clipped, clipped_lower, seconds};

/// Policies of one report: one for each domain and kind.
const POLICIES_MAX: usize = 100;
/// Failures that are kept of one policy: one for each host and reason.
const FAILURES_MAX: usize = 200;
/// Signs that texts begin and end with; each text takes more memory than octets.
const QUOTES_MAX: usize = 600_000;

/// What a sender of mail saw of the TLS of a domain. All texts are those of the reporter, clipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsReport {
    pub organization: String,
    pub contact: String,
    pub report_id: String,
    pub begins: UnixMs,
    pub ends: UnixMs,
    pub policies: Vec<TlsPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPolicy {
    pub kind: theirs::PolicyType,
    pub domain: String,
    pub mx_hosts: Vec<String>,
    pub successes: u32,
    pub failures: u32,
    pub details: Vec<TlsFailure>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFailure {
    pub result: theirs::ResultType,
    pub sending_ip: Option<IpAddr>,
    pub receiving_host: Option<String>,
    pub receiving_ip: Option<IpAddr>,
    pub sessions: u32,
    pub reason: Option<String>,
}

impl TlsReport {
    /// The domain is that of the first policy.
    #[must_use]
    pub fn key(&self) -> ReportKey {
        let domain = self.policies.first().map(|policy| policy.domain.clone());
        ReportKey {
            organization: self.organization.to_lowercase(),
            report_id: self.report_id.clone(),
            domain: domain.unwrap_or_default(),
            begins: self.begins,
            ends: self.ends,
        }
    }
}

/// Reads the report that a message carries as JSON, by gzip or in a zip archive.
///
/// # Errors
/// There is none, or it is more than a report has.
pub fn read_tls_report(message: &[u8]) -> Result<TlsReport, NoReport> {
    first_report(message, Shape::Json, read_json)
}

fn read_json(json: &[u8]) -> Result<TlsReport, NoReport> {
    if memchr::memchr_iter(b'"', json).count() > QUOTES_MAX {
        return Err(NoReport::TooLarge);
    }
    let report = theirs::TlsReport::parse_json(json);
    let report = report.map_err(|why| NoReport::Malformed(clipped(&format!("{why:?}"))))?;
    if report.policies.len() > POLICIES_MAX {
        return Err(NoReport::TooLarge);
    }
    let at =
        |time: &mail_parser::DateTime| seconds(u64::try_from(time.to_timestamp()).unwrap_or(0));
    Ok(TlsReport {
        organization: clipped(&report.organization_name.unwrap_or_default()),
        contact: clipped(&report.contact_info.unwrap_or_default()),
        report_id: clipped(&report.report_id),
        begins: at(&report.date_range.start_datetime),
        ends: at(&report.date_range.end_datetime),
        policies: report.policies.into_iter().map(policy).collect(),
    })
}

fn policy(policy: theirs::Policy) -> TlsPolicy {
    let details = policy.failure_details.into_iter().take(FAILURES_MAX);
    let hosts = policy.policy.mx_host.iter().take(FAILURES_MAX);
    TlsPolicy {
        kind: policy.policy.policy_type,
        domain: clipped_lower(&policy.policy.policy_domain),
        mx_hosts: hosts.map(|host| clipped_lower(host)).collect(),
        successes: policy.summary.total_success,
        failures: policy.summary.total_failure,
        details: details
            .map(|one| TlsFailure {
                result: one.result_type,
                sending_ip: one.sending_mta_ip,
                receiving_host: one.receiving_mx_hostname.map(|host| clipped_lower(&host)),
                receiving_ip: one.receiving_ip,
                sessions: one.failed_session_count,
                reason: one.failure_reason_code.map(|reason| clipped(&reason)),
            })
            .collect(),
    }
}

#[cfg(test)]
#[path = "tls_report_tests.rs"]
mod tests;
