//! What may be asked about domains.

use minicbor::{Decode, Encode};

use super::row::{Algorithm, Change, DomainRow};
use crate::meta::tenants::is_tenant_name;
use crate::proposal::{self, Invalid};
use crate::rotation::{KeyId, Observation, Schedule};
use crate::time::DurationMs;

/// RFC 1035 2.3.4, without the dot at the end.
pub const NAME_BYTES_MAX: usize = 253;
/// A private RSA key of 4096 bits has 2.4 kB, encrypted.
const WRAPPED_BYTES_MAX: usize = 4 << 10;
/// The record of an RSA key of 4096 bits has 740 bytes.
const RECORD_BYTES_MAX: usize = 1 << 10;
/// More kinds of faults than there are.
pub const FINDINGS_MAX: usize = 64;
/// An observation has both slots of both algorithms.
const SLOTS_MAX: usize = 4;
const ANSWERS_MAX: usize = 16;
/// Keys that slots have, and some.
const KEYS_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Add {
        #[n(0)]
        name: String,
        #[n(1)]
        new: NewDomain,
        #[n(2)]
        schedule: Schedule,
        #[n(3)]
        by: String,
    },
    #[n(1)]
    Remove {
        #[n(0)]
        name: String,
        #[n(1)]
        by: String,
    },
    /// A key was made for a slot that wants one.
    #[n(2)]
    InstallKey {
        #[n(0)]
        name: String,
        #[n(1)]
        selector: String,
        #[n(2)]
        key: NewKey,
    },
    #[n(3)]
    Observe {
        #[n(0)]
        name: String,
        #[n(1)]
        seen: Seen,
    },
    /// An operator wants another key.
    #[n(4)]
    Rotate {
        #[n(0)]
        name: String,
        /// Others have the private key: it is replaced as soon as there is another, and revoked then.
        #[n(1)]
        is_compromised: bool,
        #[n(2)]
        by: String,
    },
    /// Private keys that are encrypted with another key-encryption key.
    #[n(5)]
    Rewrap {
        #[n(0)]
        name: String,
        #[n(1)]
        keys: Vec<Rewrapped>,
        #[n(2)]
        by: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewDomain {
    #[n(0)]
    pub tenant: String,
    #[n(1)]
    pub label: String,
    #[n(2)]
    pub token: String,
    #[n(3)]
    pub is_delegated: bool,
    #[n(4)]
    pub is_operator: bool,
    #[n(5)]
    pub has_ed25519: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewKey {
    #[n(0)]
    pub algorithm: Algorithm,
    #[n(1)]
    pub record: String,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rewrapped {
    #[n(0)]
    pub key: KeyId,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
}

/// What a check of a domain's records found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Seen {
    /// Of the domain that was checked: one that was added again meanwhile is another.
    #[n(0)]
    pub label: String,
    #[n(1)]
    pub observation: Observation,
    /// The token was seen.
    #[n(2)]
    pub is_owned: bool,
    /// Ids, sorted.
    #[n(3)]
    pub findings: Vec<String>,
    /// What goes for the domain's keys from now on.
    #[n(4)]
    pub schedule: Schedule,
    /// Below a thousandth of what the next check waits, from 0 to 100: so that domains that were added together are not all
    /// checked at once.
    #[n(5)]
    pub jitter: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// What has changed by it.
    #[n(0)]
    Done(#[n(0)] Vec<Change>),
    #[n(1)]
    Refused(#[n(0)] Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    #[n(0)]
    #[error("the domain is there already, of tenant {0}; `skeinctl domain show` tells its records")]
    Exists(#[n(0)] String),
    #[n(1)]
    #[error("there is no such domain; `skeinctl domain list` names those that there are")]
    NoDomain,
    #[n(2)]
    #[error("there are 100,000 domains, as many as there may be; remove one first")]
    TooMany,
    #[n(3)]
    #[error("no slot of this name wants a key")]
    NoSlot,
    #[n(4)]
    #[error("no key is active yet, so there is none to replace")]
    NoneActive,
    #[n(5)]
    #[error(
        "there are two domains of the operator, as many as there may be: each is one more signature on all mail"
    )]
    TooManyOperators,
}

/// Whether this may be the name of a domain: labels of letters, digits and hyphens in lower case, two or more, in ASCII.
///
/// # Errors
/// What is wrong, for people.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("a domain has at most {NAME_BYTES_MAX} characters"));
    }
    match name.split('.').count() >= 2 && name.split('.').all(is_label) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no domain such as example.com: labels of letters, digits and hyphens with dots between them"
        )),
    }
}

fn name(name: &str) -> Result<(), Invalid> {
    check_name(name).map_err(|why| Invalid::field("name", why))
}

fn wrapped(wrapped: &[u8]) -> Result<(), Invalid> {
    match wrapped.len() <= WRAPPED_BYTES_MAX {
        true => Ok(()),
        false => Err(Invalid::field("wrapped", "is too long")),
    }
}

fn schedule(schedule: &Schedule) -> Result<(), Invalid> {
    let Schedule {
        ttl,
        period,
        lead,
        retiring,
        revoked,
        gone_max,
        unchecked_max,
    } = *schedule;
    let spans = [
        ttl,
        period,
        lead,
        retiring,
        revoked,
        gone_max,
        unchecked_max,
    ];
    if ttl == DurationMs(0) {
        return Err(Invalid::field("ttl", "is zero"));
    }
    spans
        .into_iter()
        .try_for_each(|span| proposal::wait("schedule", span))
}

/// Whether a command may be proposed.
pub fn check(command: &Command) -> Result<(), Invalid> {
    match command {
        Command::Add {
            name: domain,
            new,
            schedule: times,
            by,
        } => {
            name(domain)?;
            if !is_tenant_name(&new.tenant) {
                return Err(Invalid::field("tenant", "is no name of a tenant"));
            }
            proposal::text("label", &new.label, 1..=32)?;
            proposal::text("token", &new.token, 1..=64)?;
            schedule(times)?;
            proposal::text("by", by, ..=512)
        }
        Command::Remove { name: domain, by }
        | Command::Rotate {
            name: domain, by, ..
        } => {
            name(domain)?;
            proposal::text("by", by, ..=512)
        }
        Command::InstallKey {
            name: domain,
            selector,
            key,
        } => {
            name(domain)?;
            proposal::text("selector", selector, 1..=63)?;
            proposal::text("record", &key.record, 1..=RECORD_BYTES_MAX)?;
            wrapped(&key.wrapped)
        }
        Command::Observe { name: domain, seen } => {
            name(domain)?;
            check_seen(seen)
        }
        Command::Rewrap {
            name: domain,
            keys,
            by,
        } => {
            name(domain)?;
            if keys.len() > KEYS_MAX {
                return Err(Invalid::field("keys", "are more than a domain has"));
            }
            proposal::text("by", by, ..=512)?;
            keys.iter().try_for_each(|key| wrapped(&key.wrapped))
        }
    }
}

fn check_seen(seen: &Seen) -> Result<(), Invalid> {
    proposal::text("label", &seen.label, 1..=32)?;
    schedule(&seen.schedule)?;
    let slots = &seen.observation.slots;
    if slots.len() > SLOTS_MAX || slots.iter().any(|slot| slot.answers.len() > ANSWERS_MAX) {
        return Err(Invalid::field(
            "observation",
            "has more answers than are asked for",
        ));
    }
    check_findings(&seen.findings)?;
    match seen.jitter <= 100 {
        true => Ok(()),
        false => Err(Invalid::field("jitter", "is above 100")),
    }
}

fn check_findings(findings: &[String]) -> Result<(), Invalid> {
    if findings.len() > FINDINGS_MAX {
        return Err(Invalid::field("findings", "are more than there are kinds"));
    }
    let mut findings = findings.iter();
    findings.try_for_each(|id| proposal::text("findings", id, 1..=64))
}

/// Whether a row of a backup is one that this version could have written.
pub fn check_row(domain: &str, row: &DomainRow) -> Result<(), Invalid> {
    name(domain)?;
    if !is_tenant_name(&row.tenant) {
        return Err(Invalid::field("tenant", "is no name of a tenant"));
    }
    proposal::text("label", &row.label, 1..=32)?;
    proposal::text("token", &row.token, 1..=64)?;
    proposal::number("last_key", row.last_key.0)?;
    check_findings(&row.findings)?;
    let has_too_much = row.keys.len() > KEYS_MAX
        || row.sets.len() > 2
        || row.sets.iter().any(|set| set.slots.iter().count() > 2)
        || row.changes.len() > super::row::CHANGES_MAX;
    if has_too_much {
        return Err(Invalid::field(
            "domains",
            "a row has more than a domain may have",
        ));
    }
    row.sets
        .iter()
        .try_for_each(|set| schedule(set.slots.schedule()))?;
    row.keys.iter().try_for_each(|key| wrapped(&key.wrapped))
}
