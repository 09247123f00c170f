//! What senders tell of TLS with the hosts of domains, until the day's report to each domain is sent (RFC 8460).
//!
//! | key | value |
//! |---|---|
//! | `Tc` day, domain | [`DayRow`]: what was counted, and where the report has gone |
//! | `Ts` day, domain | [`SentRow`]: the report is sent, or cannot be |
//! | `Td` day | [`DaySize`] |
//! | `Th` day | nothing: an operator has its reports sent at once |
//! | `Tb` session | the number of its last batch |

mod apply;

use minicbor::{Decode, Encode};

use crate::id::{Fnv, SessionId};
use crate::proposal::{self, Invalid};
use crate::rows::{ReadRows, load, read};
use crate::time::{DurationMs, UnixMs};
use crate::tls_report::{Day, DayCounts, TOLD_MAX, Told};

pub use apply::apply;
pub(super) use apply::forget_batches;

/// Domains that one day's sessions are counted of. Those that ask for reports are some ten thousand in the world; a row has some
/// 300 bytes.
pub const DOMAINS_MAX: u64 = 10_000;
/// Of one day's rows. With the most failures at the most hosts one has 16 KB.
pub const BYTES_MAX: u64 = 16 << 20;
/// What was sent is shown for so many days, and what could not be sent is given up before.
pub const DAYS_KEPT: u32 = 3;
/// Of where a report goes, and of what became of it.
const TEXT_BYTES_MAX: usize = 1024;
const DAY_MS: u64 = 86_400_000;
/// Senders tell what they counted within this time after the end of a day.
const SENT_AFTER: DurationMs = DurationMs::from_secs(15 * 60);
/// Reports leave spread over so many milliseconds from then (RFC 8460 4.1).
const SENT_WITHIN_MS: u64 = 4 * 3600 * 1000 - SENT_AFTER.0;

impl Day {
    pub fn of(at: UnixMs) -> Self {
        Self(u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX))
    }

    pub fn begins_at(self) -> UnixMs {
        UnixMs(u64::from(self.0) * DAY_MS)
    }

    pub fn ends_at(self) -> UnixMs {
        self.begins_at() + DurationMs(DAY_MS)
    }
}

/// When the report of a day is sent to a domain: up to four hours after its end, so that not all who report do it at once.
pub fn sent_at(day: Day, domain: &str) -> UnixMs {
    let mut hash = Fnv::new();
    hash.write(domain.as_bytes());
    hash.write(&day.0.to_be_bytes());
    day.ends_at() + SENT_AFTER + DurationMs(hash.mixed() % SENT_WITHIN_MS)
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct DayRow {
    #[n(0)]
    pub counts: DayCounts,
    /// The report went there already, and is to go elsewhere as well.
    #[n(1)]
    pub reached: Vec<Reached>,
}

/// What became of a report at one of the places that ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reached {
    /// As the domain names it, such as `mailto:tls@example.com`.
    #[n(0)]
    pub place: String,
    #[n(1)]
    pub at: UnixMs,
    /// Why it was given up; none: it was taken.
    #[n(2)]
    pub fault: Option<String>,
}

/// A report whose time is over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SentRow {
    #[n(0)]
    pub at: UnixMs,
    #[n(1)]
    pub sessions: u64,
    #[n(2)]
    pub failed: u64,
    /// Empty: the domain asks for none.
    #[n(3)]
    pub reached: Vec<Reached>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct DaySize {
    #[n(0)]
    pub domains: u64,
    #[n(1)]
    pub bytes: u64,
    /// Sessions that were told of and are in no report: there was no room, or it was too late.
    #[n(2)]
    pub lost: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// A session tells what it counted. A batch that is told again counts once.
    #[n(0)]
    Tell {
        #[n(0)]
        session: SessionId,
        /// Grows with each batch of a session.
        #[n(1)]
        batch: u64,
        #[n(2)]
        told: Vec<Told>,
    },
    /// The leader itself met a fault of a domain's policy.
    #[n(1)]
    Count(#[n(0)] Vec<Told>),
    /// A report has reached one of the places that it goes to, or never will.
    #[n(2)]
    Reach {
        #[n(0)]
        day: Day,
        #[n(1)]
        domain: String,
        #[n(2)]
        place: String,
        #[n(3)]
        fault: Option<String>,
    },
    /// Nothing more is to be done for a report.
    #[n(3)]
    Finish {
        #[n(0)]
        day: Day,
        #[n(1)]
        domain: String,
    },
    /// An operator has the reports of a day sent at once: what is counted of it afterwards is in none.
    #[n(4)]
    Hurry {
        #[n(0)]
        day: Day,
        #[n(1)]
        by: String,
    },
}

fn row_key(day: Day, domain: &str) -> Vec<u8> {
    [b"Tc", &day.0.to_be_bytes()[..], domain.as_bytes()].concat()
}

fn sent_key(day: Day, domain: &str) -> Vec<u8> {
    [b"Ts", &day.0.to_be_bytes()[..], domain.as_bytes()].concat()
}

fn size_key(day: Day) -> Vec<u8> {
    [b"Td", &day.0.to_be_bytes()[..]].concat()
}

fn hurry_key(day: Day) -> Vec<u8> {
    [b"Th", &day.0.to_be_bytes()[..]].concat()
}

/// Day and domain of a row.
fn of_key(key: &[u8]) -> (Day, String) {
    let day = key[2..]
        .first_chunk()
        .map_or(0, |day| u32::from_be_bytes(*day));
    (Day(day), String::from_utf8_lossy(&key[6..]).into_owned())
}

pub fn counted(rows: &(impl ReadRows + ?Sized), day: Day, domain: &str) -> Option<DayRow> {
    load(rows, &row_key(day, domain))
}

pub fn sent(rows: &(impl ReadRows + ?Sized), day: Day, domain: &str) -> Option<SentRow> {
    load(rows, &sent_key(day, domain))
}

/// Whether the report of a day is to be sent to a domain by now.
pub fn is_due(rows: &(impl ReadRows + ?Sized), now: UnixMs, day: Day, domain: &str) -> bool {
    now >= sent_at(day, domain) || is_hurried(rows, day)
}

fn is_hurried(rows: &(impl ReadRows + ?Sized), day: Day) -> bool {
    rows.get(&hurry_key(day)).is_some()
}

pub fn size(rows: &(impl ReadRows + ?Sized), day: Day) -> DaySize {
    load(rows, &size_key(day)).unwrap_or_default()
}

/// Domains and days whose reports are still to be sent, so many after one of them, in order.
pub fn all_counted(
    rows: &(impl ReadRows + ?Sized),
    after: (Day, &str),
    limit: usize,
) -> Vec<(Day, String)> {
    let (mut found, from) = (Vec::new(), row_key(after.0, after.1));
    rows.scan(b"Tc", &from, &mut |key, _| {
        let (day, domain) = of_key(key);
        if (day, domain.as_str()) != after {
            found.push((day, domain));
        }
        found.len() < limit
    });
    found
}

/// What was sent, so much after one of them, in order.
pub fn all_sent(
    rows: &(impl ReadRows + ?Sized),
    after: (Day, &str),
    limit: usize,
) -> Vec<(Day, String, SentRow)> {
    let (mut found, from) = (Vec::new(), sent_key(after.0, after.1));
    rows.scan(b"Ts", &from, &mut |key, value| {
        let (day, domain) = of_key(key);
        if (day, domain.as_str()) != after {
            found.push((day, domain, read(value)));
        }
        found.len() < limit
    });
    found
}

pub(super) fn check(command: &Command) -> Result<(), Invalid> {
    match command {
        Command::Tell {
            session,
            batch,
            told,
        } => {
            if *session == SessionId::NONE {
                return Err(Invalid::field("session", "stands for no session"));
            }
            proposal::number("batch", *batch)?;
            check_told(told)
        }
        Command::Count(told) => check_told(told),
        Command::Reach {
            day: _,
            domain,
            place,
            fault,
        } => {
            name(domain)?;
            proposal::text("place", place, 1..=TEXT_BYTES_MAX)?;
            let mut fault = fault.iter();
            fault.try_for_each(|fault| proposal::text("fault", fault, ..=TEXT_BYTES_MAX))
        }
        Command::Finish { day: _, domain } => name(domain),
        Command::Hurry { day: _, by } => {
            proposal::text("by", by, ..=super::audit::AUDIT_NAME_BYTES_MAX)
        }
    }
}

fn check_told(told: &[Told]) -> Result<(), Invalid> {
    if told.len() > TOLD_MAX {
        return Err(Invalid::field(
            "told",
            format!("has more than {TOLD_MAX} entries"),
        ));
    }
    told.iter().try_for_each(|told| {
        name(&told.domain)?;
        match told.counts.is_bounded() {
            true => Ok(()),
            false => Err(Invalid::field(
                "told",
                "has more than is counted of a domain",
            )),
        }
    })
}

fn name(domain: &str) -> Result<(), Invalid> {
    super::domains::check_name(domain).map_err(|why| Invalid::field("domain", why))
}

#[cfg(test)]
#[path = "tls_reports/tests.rs"]
mod tests;
