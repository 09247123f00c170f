//! Compares what was acknowledged with what arrived.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

pub use crate::dsn::{Dsn, read_dsn};
use crate::load::{Injected, Outcome};
use crate::sink::Record;

/// A message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    pub id: String,
    /// The domain in lower case.
    pub recipient: String,
}

/// What the oracle finds; all lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Recipients of acknowledged messages.
    pub acked: usize,
    /// Arrived at least once.
    pub delivered: Vec<Delivery>,
    /// A failure DSN came for it.
    pub bounced: Vec<Delivery>,
    /// Acknowledged, and neither delivered nor bounced.
    pub lost: Vec<Delivery>,
    /// Arrived, or was bounced, more than once.
    pub duplicates: Vec<Delivery>,
    /// The same, and every copy but the last arrived within an explained window.
    pub excused: Vec<Delivery>,
    /// How many copies each cause explains.
    pub causes: BTreeMap<String, usize>,
    /// Arrived with bytes that do not end with the injected ones.
    pub corrupted: Vec<Delivery>,
    /// Delivered and bounced.
    pub contradictory: Vec<Delivery>,
    /// Arrived although it was refused or never sent to this recipient.
    pub unexpected: Vec<Delivery>,
    /// Arrived although the client was not told so: their outcome was unknown. Not wrong.
    pub unknown_delivered: Vec<Delivery>,
    /// Arrived, but the sink kept nothing that could be compared. Not wrong, and not shown right.
    pub unchecked: Vec<Delivery>,
}

/// A span of time, in milliseconds since the Unix epoch and both ends included, in which an arrival
/// may have to be repeated: from the oldest unreported delivery to the death of process or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub from_ms: u64,
    pub to_ms: u64,
    /// Only what came from this sender; `None` for all.
    pub peer: Option<IpAddr>,
    /// What happened.
    pub cause: String,
}

impl Window {
    fn explains(&self, copy: &Arrival) -> bool {
        let is_peer = self.peer.is_none_or(|peer| peer == copy.peer);
        is_peer && (self.from_ms..=self.to_ms).contains(&copy.at_ms)
    }
}

/// When a message arrived, and from whom.
#[derive(Clone)]
struct Arrival {
    at_ms: u64,
    peer: IpAddr,
}

impl Arrival {
    fn of(record: &Record) -> Self {
        Self {
            at_ms: record.at_ms,
            peer: record.peer.ip(),
        }
    }
}

impl Reconciliation {
    /// Nothing lost, doubled, changed or invented.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.duplicates.is_empty()
            && self.corrupted.is_empty()
            && self.contradictory.is_empty()
            && self.unexpected.is_empty()
    }

    /// The counts in one line.
    pub fn summary(&self) -> String {
        format!(
            "{} delivered, {} bounced, {} lost, {} duplicates, {} corrupted, {} contradictory, {} unexpected",
            self.delivered.len(),
            self.bounced.len(),
            self.lost.len(),
            self.duplicates.len(),
            self.corrupted.len(),
            self.contradictory.len(),
            self.unexpected.len()
        )
    }
}

#[derive(Default)]
struct Seen {
    deliveries: Vec<Arrival>,
    bounces: Vec<Arrival>,
    corrupted: bool,
    unchecked: bool,
}

impl Seen {
    fn repeated(&self) -> bool {
        self.deliveries.len() > 1 || self.bounces.len() > 1
    }

    /// Causes of all copies but the last, if each falls into a window.
    fn causes<'w>(&self, windows: &'w [Window]) -> Option<Vec<&'w str>> {
        let mut causes = Vec::new();
        for copies in [&self.deliveries, &self.bounces] {
            let mut copies = copies.clone();
            copies.sort_unstable_by_key(|copy| copy.at_ms);
            copies.pop();
            for copy in copies {
                let window = windows.iter().find(|window| window.explains(&copy))?;
                causes.push(window.cause.as_str());
            }
        }
        Some(causes)
    }
}

/// Judges each (message, recipient). A message of unknown outcome may have arrived or not;
/// duplicates count for it too.
///
/// # Panics
/// Two messages were offered with the same id: where they arrive, one would be a duplicate of the other.
pub fn judge<R: Borrow<Record>>(injected: &[Injected], records: &[R]) -> Reconciliation {
    judge_with(injected, records, &[])
}

/// The same, with the windows in which a process or link died between a dot and its report.
pub fn judge_with<R: Borrow<Record>>(
    injected: &[Injected],
    records: &[R],
    windows: &[Window],
) -> Reconciliation {
    verdict(injected, &what_arrived(injected, records), windows)
}

fn what_arrived<R: Borrow<Record>>(
    injected: &[Injected],
    records: &[R],
) -> BTreeMap<Delivery, Seen> {
    let by_id: HashMap<&str, &Injected> = injected
        .iter()
        .map(|message| (message.id.as_str(), message))
        .collect();
    assert_eq!(
        by_id.len(),
        injected.len(),
        "messages with the same id cannot be told apart where they arrive"
    );
    let mut seen: BTreeMap<Delivery, Seen> = BTreeMap::new();
    for record in records
        .iter()
        .map(Borrow::borrow)
        .filter(|record| record.accepted)
    {
        if let Some(dsn) = read_dsn(record) {
            for recipient in dsn.failed {
                let seen = seen.entry(delivery(&dsn.id, &recipient)).or_default();
                seen.bounces.push(Arrival::of(record));
            }
            continue;
        }
        let Some(id) = &record.test_id else {
            continue;
        };
        let intact = by_id
            .get(id.as_str())
            .map_or(Some(true), |message| intact(message, record));
        for recipient in record.delivered_to() {
            let seen = seen.entry(delivery(id, recipient)).or_default();
            seen.deliveries.push(Arrival::of(record));
            seen.corrupted |= intact == Some(false);
            seen.unchecked |= intact.is_none();
        }
    }
    seen
}

/// Whether the bytes are the injected ones behind added headers; `None` if they were not kept.
fn intact(message: &Injected, record: &Record) -> Option<bool> {
    if record.message.len() as u64 == record.message_bytes {
        return Some(message.is_end_of(&record.message));
    }
    record.tail.as_ref().map(|tail| message.has_tail(tail))
}

fn verdict(
    injected: &[Injected],
    seen: &BTreeMap<Delivery, Seen>,
    windows: &[Window],
) -> Reconciliation {
    let mut verdict = Reconciliation::default();
    let mut expected = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for message in injected {
        for recipient in &message.recipients {
            let delivery = delivery(&message.id, recipient);
            if message.acked() {
                verdict.acked += 1;
                if !seen.contains_key(&delivery) {
                    verdict.lost.push(delivery.clone());
                }
            }
            if message.outcome == Outcome::Unknown {
                unknown.insert(delivery.clone());
            }
            if !matches!(message.outcome, Outcome::Refused { .. }) {
                expected.insert(delivery);
            }
        }
    }
    verdict.lost.sort();
    for (delivery, seen) in seen {
        let (delivered, bounced) = (!seen.deliveries.is_empty(), !seen.bounces.is_empty());
        let causes = seen.causes(windows);
        let excused = causes.is_some();
        for cause in causes.into_iter().flatten() {
            *verdict.causes.entry(cause.to_owned()).or_default() += 1;
        }
        let lists = [
            (delivered, &mut verdict.delivered),
            (bounced, &mut verdict.bounced),
            (seen.repeated() && !excused, &mut verdict.duplicates),
            (seen.repeated() && excused, &mut verdict.excused),
            (seen.corrupted, &mut verdict.corrupted),
            (delivered && bounced, &mut verdict.contradictory),
            (!expected.contains(delivery), &mut verdict.unexpected),
            (
                delivered && unknown.contains(delivery),
                &mut verdict.unknown_delivered,
            ),
            (seen.unchecked, &mut verdict.unchecked),
        ];
        for (_, list) in lists.into_iter().filter(|(belongs, _)| *belongs) {
            list.push(delivery.clone());
        }
    }
    verdict
}

fn delivery(id: &str, recipient: &str) -> Delivery {
    let recipient = match recipient.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => recipient.to_owned(),
    };
    Delivery {
        id: id.to_owned(),
        recipient,
    }
}
