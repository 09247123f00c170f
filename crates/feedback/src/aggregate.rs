//! DMARC aggregate reports, of RFC 7489 and of RFC 9990.

use std::net::IpAddr;

use mail_auth::report as theirs;
use memchr::memmem;
use skein_model::UnixMs;

use crate::attachments::{NoReport, Shape, first_report};
use crate::key::{ReportKey, clipped, clipped_lower, seconds};

/// Rows of one report. The largest senders see some thousand.
const ROWS_MAX: usize = 20_000;
/// Tags of one report, both ends counted: twenty-five to a row.
const TAGS_MAX: usize = 600_000;
/// Signatures and reasons that are kept of one row.
const OF_ROW_MAX: usize = 16;

/// Which generation of the format it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    Rfc7489,
    Rfc9990,
}

/// What receivers saw of mail of a domain. All texts are those of the reporter, clipped; names of domains are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    pub generation: Generation,
    pub organization: String,
    pub email: String,
    pub report_id: String,
    pub begins: UnixMs,
    pub ends: UnixMs,
    pub policy: PublishedPolicy,
    pub rows: Vec<AggregateRow>,
}

/// The policy that the reporter found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPolicy {
    pub domain: String,
    pub policy: theirs::Disposition,
    pub subdomains: theirs::Disposition,
    /// Of names that do not exist (RFC 9989).
    pub not_existing: theirs::Disposition,
    pub dkim: theirs::Alignment,
    pub spf: theirs::Alignment,
    pub is_testing: bool,
}

/// Mail of one source and one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateRow {
    pub source: Option<IpAddr>,
    pub count: u32,
    pub disposition: theirs::ActionDisposition,
    pub has_aligned_dkim: bool,
    pub has_aligned_spf: bool,
    /// Why the policy was not applied.
    pub overrides: Vec<theirs::PolicyOverride>,
    pub header_from: String,
    pub envelope_from: String,
    pub envelope_to: Option<String>,
    pub signatures: Vec<Signature>,
    pub spf: Option<(String, theirs::SpfResult)>,
}

/// What a reporter made of one DKIM signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub domain: String,
    pub selector: String,
    pub result: theirs::DkimResult,
}

impl Aggregate {
    #[must_use]
    pub fn key(&self) -> ReportKey {
        ReportKey {
            organization: self.organization.to_lowercase(),
            report_id: self.report_id.clone(),
            domain: self.policy.domain.clone(),
            begins: self.begins,
            ends: self.ends,
        }
    }
}

/// Reads the aggregate report that a message carries as XML, by gzip or in a zip archive.
///
/// # Errors
/// There is none, or it is more than a report has.
pub fn read_aggregate(message: &[u8]) -> Result<Aggregate, NoReport> {
    first_report(message, Shape::Xml, read_xml)
}

fn read_xml(xml: &[u8]) -> Result<Aggregate, NoReport> {
    // HTML of a message begins with the same sign.
    if memmem::find(xml, b"<feedback").is_none() {
        return Err(NoReport::None);
    }
    // Before it is parsed: empty elements take much more memory than octets.
    let is_large = memmem::find_iter(xml, b"<record").nth(ROWS_MAX).is_some()
        || memchr::memchr_iter(b'<', xml).count() > TAGS_MAX;
    if is_large {
        return Err(NoReport::TooLarge);
    }
    let report = theirs::Report::parse_xml(xml);
    let report = report.map_err(|why| NoReport::Malformed(clipped(&why)))?;
    let is_new = memmem::find(xml, b"urn:ietf:params:xml:ns:dmarc-2.0").is_some()
        || report.policy_published.discovery_method != theirs::Discovery::Unspecified
        || report.policy_published.np != theirs::Disposition::Unspecified;
    let theirs::Report {
        report_metadata: about,
        policy_published: policy,
        record,
        ..
    } = report;
    Ok(Aggregate {
        generation: if is_new {
            Generation::Rfc9990
        } else {
            Generation::Rfc7489
        },
        organization: clipped(&about.org_name),
        email: clipped(&about.email),
        report_id: clipped(&about.report_id),
        begins: seconds(about.date_range.begin),
        ends: seconds(about.date_range.end),
        policy: PublishedPolicy {
            domain: clipped_lower(&policy.domain),
            policy: policy.p,
            subdomains: policy.sp,
            not_existing: policy.np,
            dkim: policy.adkim,
            spf: policy.aspf,
            is_testing: policy.testing,
        },
        rows: record.into_iter().map(row).collect(),
    })
}

fn row(record: theirs::Record) -> AggregateRow {
    let theirs::Record {
        row,
        identifiers,
        auth_results,
        ..
    } = record;
    let evaluated = row.policy_evaluated;
    let signatures = auth_results.dkim.into_iter().take(OF_ROW_MAX);
    let overrides = evaluated.reason.into_iter().take(OF_ROW_MAX);
    let spf = auth_results.spf.into_iter().next();
    AggregateRow {
        source: row.source_ip,
        count: row.count,
        disposition: evaluated.disposition,
        has_aligned_dkim: evaluated.dkim == theirs::DmarcResult::Pass,
        has_aligned_spf: evaluated.spf == theirs::DmarcResult::Pass,
        overrides: overrides.map(|reason| reason.type_).collect(),
        header_from: clipped_lower(&identifiers.header_from),
        envelope_from: clipped_lower(&identifiers.envelope_from),
        envelope_to: identifiers.envelope_to.map(|to| clipped_lower(&to)),
        signatures: signatures
            .map(|one| Signature {
                domain: clipped_lower(&one.domain),
                selector: clipped(&one.selector),
                result: one.result,
            })
            .collect(),
        spf: spf.map(|one| (clipped_lower(&one.domain), one.result)),
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
