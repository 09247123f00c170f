//! MTA-STS policies of domains that mail goes to (RFC 8461): the cluster trusts on first use, so what was once seen is kept.
//!
//! | key | value |
//! |---|---|
//! | `Tp` domain | [`StsRow`] |
//! | `Tq` time, domain | nothing: the domain is to be looked at again then |
//! | `Tn` | how many rows there are, and their bytes |
//! | `Tv` | how often a policy was replaced by another one, or flushed |

mod apply;

use minicbor::{Decode, Encode};

use crate::id::Fnv;
use crate::proposal::{self, Invalid};
use crate::rows::{ReadRows, load, page};
use crate::sts::{POLICY_MX_MAX, StsPolicy};
use crate::time::{DurationMs, UnixMs};

pub use apply::apply;
pub(super) use apply::restore;

/// Domains of which a policy is kept. Some hundred thousand publish one; a row has some 300 bytes, of which backups and
/// snapshots hold all.
pub const DOMAINS_MAX: u64 = 20_000;
/// Of all rows together: one with the longest names of hosts has 17 KB.
pub const BYTES_MAX: u64 = 16 << 20;
/// Of why a fetch failed.
pub const FAULT_BYTES_MAX: usize = 256;
/// A policy is looked at once a day, at times that are spread over some hours.
const LOOK_AFTER: DurationMs = DurationMs::from_secs(20 * 3600);
const LOOK_SPREAD_MS: u64 = 4 * 3600 * 1000;
/// One that lasts for less than two days is looked at within half of that, and no more often than this.
const LOOK_AFTER_MIN: DurationMs = DurationMs::from_secs(3600);
/// After a fetch that failed.
const LOOK_AGAIN: DurationMs = DurationMs::from_secs(3600);
/// A policy that nobody asked for all this time is fetched no more, and ends when it is too old.
const WANTED_FOR: DurationMs = DurationMs::from_secs(30 * 86_400);

/// What is kept of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StsRow {
    #[n(0)]
    pub policy: StsPolicy,
    /// When the domain last showed it.
    #[n(1)]
    pub fetched_at: UnixMs,
    #[n(2)]
    pub next_look: UnixMs,
    /// When mail last went there, up to a day before.
    #[n(3)]
    pub asked_at: UnixMs,
    /// Why it could not be fetched again since.
    #[n(4)]
    pub fault: Option<String>,
}

impl StsRow {
    /// It is gone by until then (RFC 8461 3.2, `max_age`).
    pub fn ends_at(&self) -> UnixMs {
        self.fetched_at + self.policy.max_age()
    }

    pub fn is_live(&self, now: UnixMs) -> bool {
        now < self.ends_at()
    }

    /// Whether mail went there of late.
    pub fn is_wanted(&self, now: UnixMs) -> bool {
        now.since(self.asked_at) < WANTED_FOR
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// The leader has fetched a policy.
    #[n(0)]
    Keep {
        #[n(0)]
        domain: String,
        #[n(1)]
        policy: StsPolicy,
        #[n(2)]
        asked_at: UnixMs,
    },
    /// The leader has looked, and the policy that is kept goes on; or it ends, if it is too old.
    #[n(1)]
    GoOn {
        #[n(0)]
        domain: String,
        #[n(1)]
        asked_at: UnixMs,
        /// Why it could not be fetched; none: nothing announces one, or it was not tried.
        #[n(2)]
        fault: Option<String>,
    },
    /// An operator has it forgotten.
    #[n(2)]
    Flush {
        #[n(0)]
        domain: String,
        #[n(1)]
        by: String,
    },
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Size {
    #[n(0)]
    pub domains: u64,
    #[n(1)]
    pub bytes: u64,
}

const COUNT: &[u8] = b"Tn";
const VERSION: &[u8] = b"Tv";

fn row_key(domain: &str) -> Vec<u8> {
    [b"Tp", domain.as_bytes()].concat()
}

fn due_key(at: UnixMs, domain: &str) -> Vec<u8> {
    [b"Tq", &at.0.to_be_bytes()[..], domain.as_bytes()].concat()
}

/// When a domain whose policy was fetched now is looked at again.
pub fn next_look(domain: &str, policy: &StsPolicy, now: UnixMs) -> UnixMs {
    let mut hash = Fnv::new();
    hash.write(domain.as_bytes());
    hash.write(&now.0.to_be_bytes());
    let daily = LOOK_AFTER.0 + hash.mixed() % LOOK_SPREAD_MS;
    let half = policy.max_age().0 / 2;
    now + DurationMs(daily.min(half).max(LOOK_AFTER_MIN.0))
}

pub fn policy(rows: &(impl ReadRows + ?Sized), domain: &str) -> Option<StsRow> {
    load(rows, &row_key(domain))
}

/// So many after a domain, in order.
pub fn policies(
    rows: &(impl ReadRows + ?Sized),
    after: &str,
    limit: usize,
) -> Vec<(String, StsRow)> {
    page(rows, b"Tp", after, limit)
}

/// Domains that are to be looked at, those first that wait for the longest.
pub fn due(rows: &(impl ReadRows + ?Sized), now: UnixMs, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    rows.scan(b"Tq", &[], &mut |key, _| {
        let at = key[2..].first_chunk().map(|at| u64::from_be_bytes(*at));
        if at.is_none_or(|at| at > now.0) {
            return false;
        }
        found.push(String::from_utf8_lossy(&key[10..]).into_owned());
        found.len() < limit
    });
    found
}

pub fn size(rows: &(impl ReadRows + ?Sized)) -> Size {
    load(rows, COUNT).unwrap_or_default()
}

/// Grows when a policy is replaced by one that says something else, or is flushed.
pub fn version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

pub(super) fn check(command: &Command) -> Result<(), Invalid> {
    match command {
        Command::Keep {
            domain,
            policy,
            asked_at,
        } => {
            name(domain)?;
            proposal::time("asked_at", *asked_at)?;
            check_policy(policy)
        }
        Command::GoOn {
            domain,
            asked_at,
            fault,
        } => {
            name(domain)?;
            proposal::time("asked_at", *asked_at)?;
            fault
                .iter()
                .try_for_each(|fault| proposal::text("fault", fault, ..=FAULT_BYTES_MAX))
        }
        Command::Flush { domain, by } => {
            name(domain)?;
            proposal::text("by", by, ..=super::audit::AUDIT_NAME_BYTES_MAX)
        }
    }
}

pub(super) fn check_row(domain: &str, row: &StsRow) -> Result<(), Invalid> {
    name(domain)?;
    proposal::time("fetched_at", row.fetched_at)?;
    proposal::time("asked_at", row.asked_at)?;
    proposal::time("next_look", row.next_look)?;
    check_policy(&row.policy)
}

fn name(domain: &str) -> Result<(), Invalid> {
    super::domains::check_name(domain).map_err(|why| Invalid::field("domain", why))
}

fn check_policy(policy: &StsPolicy) -> Result<(), Invalid> {
    proposal::text("id", &policy.id, 1..=32)?;
    if policy.mx.len() > POLICY_MX_MAX {
        return Err(Invalid::field("mx", "names too many hosts"));
    }
    if policy.max_age_s > crate::sts::MAX_AGE_S_MAX {
        return Err(Invalid::field("max_age", "is longer than a year"));
    }
    let mut mx = policy.mx.iter();
    mx.try_for_each(|host| proposal::name("mx", host))
}

#[cfg(test)]
#[path = "sts/tests.rs"]
mod tests;
