//! The sessions of one domain and day, summed.

use std::net::IpAddr;

use minicbor::{Decode, Encode};

use super::{
    AppliedPolicy, FailureKind, POLICY_STRING_BYTES_MAX, POLICY_STRINGS_MAX, PolicyKind, TlsResult,
};

/// A domain has a policy of each kind, and changes one now and then; TLSA records are those of a host, so a domain with several
/// MX hosts has several. Of more, sessions count without their policy.
pub const POLICIES_MAX: usize = 8;
/// Failures of one policy by kind, host and addresses. Of more, each kind has one count, of no host.
pub const FAILURES_MAX: usize = 64;
/// Of a host's name.
const HOST_BYTES_MAX: usize = 255;

/// What failures are counted by (RFC 8460 4.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct FailureKey {
    #[n(0)]
    pub kind: FailureKind,
    /// Empty: of hosts beyond [`FAILURES_MAX`], or no host was asked, since the policy itself could not be had.
    #[n(1)]
    pub mx_host: String,
    #[n(2)]
    pub sending_ip: Option<IpAddr>,
    #[n(3)]
    pub receiving_ip: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FailureCount {
    #[n(0)]
    pub of: FailureKey,
    #[n(1)]
    pub sessions: u64,
}

/// The sessions that went by one policy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyCount {
    #[n(0)]
    pub policy: AppliedPolicy,
    #[n(1)]
    pub successes: u64,
    /// At most [`FAILURES_MAX`], and one of each kind.
    #[n(2)]
    pub failures: Vec<FailureCount>,
}

impl PolicyCount {
    fn of(policy: AppliedPolicy) -> Self {
        Self {
            policy,
            successes: 0,
            failures: Vec::new(),
        }
    }

    pub fn failed(&self) -> u64 {
        let failures = self.failures.iter().map(|failure| failure.sessions);
        failures.fold(0, u64::saturating_add)
    }

    fn fail(&mut self, of: FailureKey, sessions: u64) {
        let known = |of: &FailureKey, all: &[FailureCount]| {
            all.iter().position(|failure| failure.of == *of)
        };
        if let Some(same) = known(&of, &self.failures) {
            let count = &mut self.failures[same].sessions;
            *count = count.saturating_add(sessions);
            return;
        }
        let of = match self.failures.len() < FAILURES_MAX {
            true => of,
            false => FailureKey {
                kind: of.kind,
                mx_host: String::new(),
                sending_ip: None,
                receiving_ip: None,
            },
        };
        match known(&of, &self.failures) {
            Some(same) => {
                let count = &mut self.failures[same].sessions;
                *count = count.saturating_add(sessions);
            }
            None => self.failures.push(FailureCount { of, sessions }),
        }
    }
}

/// All sessions of one domain and day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct DayCounts {
    /// At most [`POLICIES_MAX`], each policy once.
    #[n(0)]
    pub policies: Vec<PolicyCount>,
}

impl DayCounts {
    pub fn count(&mut self, result: TlsResult) {
        let count = self.policy(result.policy);
        match result.failure {
            None => count.successes = count.successes.saturating_add(1),
            Some(kind) => {
                let mut mx_host = result.mx_host;
                cut(&mut mx_host, HOST_BYTES_MAX);
                let of = FailureKey {
                    kind,
                    mx_host,
                    sending_ip: result.sending_ip,
                    receiving_ip: result.receiving_ip,
                };
                count.fail(of, 1);
            }
        }
    }

    /// Takes over what another process counted.
    pub fn add(&mut self, other: Self) {
        for theirs in other.policies {
            let count = self.policy(theirs.policy);
            count.successes = count.successes.saturating_add(theirs.successes);
            for failure in theirs.failures {
                count.fail(failure.of, failure.sessions);
            }
        }
    }

    pub fn sessions(&self) -> u64 {
        let all = self.policies.iter();
        all.fold(0, |sum, count| {
            sum.saturating_add(count.successes)
                .saturating_add(count.failed())
        })
    }

    pub fn failed(&self) -> u64 {
        let all = self.policies.iter();
        all.fold(0, |sum, count| sum.saturating_add(count.failed()))
    }

    /// Whether it has what counting leaves, and no more.
    pub fn is_bounded(&self) -> bool {
        let is_bounded = |count: &PolicyCount| {
            let AppliedPolicy { strings, mx, .. } = &count.policy;
            let texts = || strings.iter().chain(mx);
            strings.len() <= POLICY_STRINGS_MAX
                && mx.len() <= POLICY_STRINGS_MAX
                && texts().all(|text| text.len() <= POLICY_STRING_BYTES_MAX)
                && count.failures.len() <= FAILURES_MAX + FailureKind::ALL.len()
                && count
                    .failures
                    .iter()
                    .all(|failure| failure.of.mx_host.len() <= HOST_BYTES_MAX)
        };
        self.policies.len() <= POLICIES_MAX && self.policies.iter().all(is_bounded)
    }

    fn policy(&mut self, mut policy: AppliedPolicy) -> &mut PolicyCount {
        bound(&mut policy.strings);
        bound(&mut policy.mx);
        let known = |of: &AppliedPolicy, all: &[PolicyCount]| {
            all.iter().position(|count| count.policy == *of)
        };
        let place = known(&policy, &self.policies).unwrap_or_else(|| {
            // One place is left for sessions whose policy has none.
            let none = AppliedPolicy::none();
            let has_room = self.policies.len() + 1 < POLICIES_MAX;
            let policy = match has_room || policy.kind == PolicyKind::NoPolicyFound {
                true => policy,
                false => none,
            };
            known(&policy, &self.policies).unwrap_or_else(|| {
                self.policies.push(PolicyCount::of(policy));
                self.policies.len() - 1
            })
        });
        &mut self.policies[place]
    }
}

fn bound(strings: &mut Vec<String>) {
    strings.truncate(POLICY_STRINGS_MAX);
    for text in strings {
        cut(text, POLICY_STRING_BYTES_MAX);
    }
}

fn cut(text: &mut String, bytes_max: usize) {
    let end = text.floor_char_boundary(bytes_max);
    text.truncate(end);
}

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;
