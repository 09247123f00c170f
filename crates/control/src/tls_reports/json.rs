//! The report itself (RFC 8460 4). What is not known is left out.

use std::net::IpAddr;

use serde::Serialize;
use skein_model::UnixMs;
use skein_model::tls_report::{Day, DayCounts, FailureCount, PolicyCount, PolicyKind};

/// RFC 8460 4.4: what the type means for a failure of no host.
const OTHER_HOSTS: &str = "sessions with further hosts and addresses";

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'r> {
    organization_name: &'r str,
    date_range: DateRange,
    contact_info: &'r str,
    report_id: &'r str,
    policies: Vec<PolicyReport<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyReport<'r> {
    policy: Policy<'r>,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Failure<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Policy<'r> {
    policy_type: &'static str,
    #[serde(skip_serializing_if = "has_none")]
    policy_string: &'r [String],
    policy_domain: &'r str,
    #[serde(skip_serializing_if = "has_none")]
    mx_host: &'r [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Failure<'r> {
    result_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    receiving_mx_hostname: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<IpAddr>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_information: Option<&'static str>,
}

fn has_none(texts: &&[String]) -> bool {
    texts.is_empty()
}

/// Who reports.
#[derive(Debug, Clone, Copy)]
pub struct Reporter<'r> {
    pub organization: &'r str,
    pub contact: &'r str,
}

/// The text of a report about a domain's day.
pub fn report(
    by: Reporter<'_>,
    report_id: &str,
    domain: &str,
    day: Day,
    counts: &DayCounts,
) -> String {
    let policies = counts.policies.iter();
    let report = Report {
        organization_name: by.organization,
        date_range: DateRange {
            start_datetime: time(day.begins_at()),
            end_datetime: time(UnixMs(day.ends_at().0 - 1000)),
        },
        contact_info: by.contact,
        report_id,
        policies: policies.map(|count| of_policy(domain, count)).collect(),
    };
    serde_json::to_string_pretty(&report).expect("texts and numbers can be written as JSON")
}

fn of_policy<'r>(domain: &'r str, count: &'r PolicyCount) -> PolicyReport<'r> {
    let applied = &count.policy;
    PolicyReport {
        policy: Policy {
            policy_type: applied.kind.as_str(),
            policy_string: &applied.strings,
            policy_domain: domain,
            mx_host: &applied.mx,
        },
        summary: Summary {
            total_successful_session_count: count.successes,
            total_failure_session_count: count.failed(),
        },
        failure_details: count
            .failures
            .iter()
            .map(|one| failure(one, applied.kind))
            .collect(),
    }
}

fn failure(failure: &FailureCount, kind: PolicyKind) -> Failure<'_> {
    let of = &failure.of;
    // A policy that could not be had is the fault of no host.
    let is_policys = kind == PolicyKind::Sts && of.kind.is_of_policy();
    Failure {
        result_type: of.kind.as_str(),
        sending_mta_ip: of.sending_ip,
        receiving_mx_hostname: &of.mx_host,
        receiving_ip: of.receiving_ip,
        failed_session_count: failure.sessions,
        additional_information: (of.mx_host.is_empty() && !is_policys).then_some(OTHER_HOSTS),
    }
}

/// RFC 3339, in UTC and whole seconds.
pub fn time(at: UnixMs) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.to_string()
}

/// Such as `2026-11-30`.
pub fn date(day: Day) -> String {
    let time = time(day.begins_at());
    time.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
