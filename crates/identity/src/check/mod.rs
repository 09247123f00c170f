//! What is wrong with the records of a domain.
//!
//! [`check`] is called with the answers that there are. As long as it lacks some, it says which questions to ask next; then it is
//! called again with all answers, the new ones included. It asks for a bounded number: a few for each record, 8 for each walk up
//! a tree (RFC 9989), and those of an SPF record up to [`spf::TERMS_MAX`].

mod addresses;
pub(crate) mod dkim;
mod dmarc;
pub(crate) mod hosts;
mod lookups;
mod published;
mod spf;
#[cfg(test)]
mod tests;

pub use spf::TERMS_MAX;

use std::collections::BTreeSet;

use crate::dns::{Answers, Question};
use crate::finding::Finding;
use crate::records::{Domain, Operator, Record, records};
use lookups::Lookups;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// To be asked; none of them was answered before.
    Ask(BTreeSet<Question>),
    /// All that is wrong, the worst first.
    Done(Vec<Finding>),
}

/// Compares the records that a domain is to have with the answers so far.
#[must_use]
pub fn check(domain: &Domain, operator: &Operator, answers: &Answers) -> Checked {
    let expected = records(domain, operator);
    let mut check = Check {
        lookups: Lookups::new(answers),
        domain,
        operator,
        expected: &expected,
        findings: Vec::new(),
    };
    check.ownership();
    check.keys();
    check.hosts();
    check.spf_of_domain();
    check.dmarc();
    check.mta_sts();
    check.addresses();
    let Check {
        lookups,
        mut findings,
        ..
    } = check;
    if !lookups.wanted.is_empty() {
        return Checked::Ask(lookups.wanted);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.id.severity()));
    Checked::Done(findings)
}

struct Check<'a> {
    lookups: Lookups<'a>,
    domain: &'a Domain,
    operator: &'a Operator,
    expected: &'a [Record],
    findings: Vec<Finding>,
}
