//! Compares what was acknowledged with what arrived.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::load::{Injected, Outcome, TEST_ID_HEADER};
use crate::sink::Record;

/// A message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    pub id: String,
    /// The domain in lower case.
    pub recipient: String,
}

/// The oracle's judgement; all lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Arrived at least once.
    pub delivered: Vec<Delivery>,
    /// A failure DSN came for it.
    pub bounced: Vec<Delivery>,
    /// Acknowledged, and neither delivered nor bounced.
    pub lost: Vec<Delivery>,
    /// Arrived, or was bounced, more than once.
    pub duplicates: Vec<Delivery>,
    /// Arrived with bytes that do not end with the injected ones.
    pub corrupted: Vec<Delivery>,
    /// Delivered and bounced.
    pub contradictory: Vec<Delivery>,
    /// Arrived although it was refused or never sent to this recipient.
    pub unexpected: Vec<Delivery>,
}

impl Verdict {
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
    deliveries: u32,
    bounces: u32,
    corrupted: bool,
}

/// Judges each (message, recipient). Records without stored bytes are not found: sinks must keep
/// messages. A message of unknown outcome may have arrived or not; duplicates count for it too.
pub fn judge<R: Borrow<Record>>(injected: &[Injected], records: &[R]) -> Verdict {
    let by_id: HashMap<&str, &Injected> = injected
        .iter()
        .map(|message| (message.id.as_str(), message))
        .collect();
    let mut seen: BTreeMap<Delivery, Seen> = BTreeMap::new();
    for record in records
        .iter()
        .map(Borrow::borrow)
        .filter(|record| record.accepted)
    {
        if let Some(dsn) = read_dsn(record) {
            for recipient in dsn.failed {
                seen.entry(delivery(&dsn.id, &recipient))
                    .or_default()
                    .bounces += 1;
            }
            continue;
        }
        let Some(id) = header(&record.message, TEST_ID_HEADER) else {
            continue;
        };
        let intact = by_id
            .get(id.as_str())
            .is_none_or(|message| intact(message, &record.message));
        for recipient in record.delivered_to() {
            let seen = seen.entry(delivery(&id, recipient)).or_default();
            seen.deliveries += 1;
            seen.corrupted |= !intact;
        }
    }
    verdict(injected, &seen)
}

fn verdict(injected: &[Injected], seen: &BTreeMap<Delivery, Seen>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut expected = BTreeSet::new();
    for message in injected {
        for recipient in &message.recipients {
            let delivery = delivery(&message.id, recipient);
            if message.acked() && !seen.contains_key(&delivery) {
                verdict.lost.push(delivery.clone());
            }
            if !matches!(message.outcome, Outcome::Refused { .. }) {
                expected.insert(delivery);
            }
        }
    }
    verdict.lost.sort();
    for (delivery, seen) in seen {
        let lists = [
            (seen.deliveries > 0, &mut verdict.delivered),
            (seen.bounces > 0, &mut verdict.bounced),
            (
                seen.deliveries > 1 || seen.bounces > 1,
                &mut verdict.duplicates,
            ),
            (seen.corrupted, &mut verdict.corrupted),
            (
                seen.deliveries > 0 && seen.bounces > 0,
                &mut verdict.contradictory,
            ),
            (!expected.contains(delivery), &mut verdict.unexpected),
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

/// DATA cannot carry a last line without CRLF, so a missing one may have been added.
fn intact(message: &Injected, arrived: &[u8]) -> bool {
    let mut data = message.data();
    if arrived.ends_with(&data) && (data.ends_with(b"\r\n") || !arrived.ends_with(b"\r\n")) {
        return true;
    }
    data.extend_from_slice(b"\r\n");
    arrived.ends_with(&data)
}

/// The first occurrence of a header field anywhere at a line start, unfolded lines only.
fn header(message: &[u8], name: &str) -> Option<String> {
    message
        .split(|byte| *byte == b'\n')
        .find_map(|line| field(line, name))
}

fn field(line: &[u8], name: &str) -> Option<String> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found
        .eq_ignore_ascii_case(name.as_bytes())
        .then(|| String::from_utf8_lossy(value).trim().to_owned())
}

/// A delivery status notification (RFC 3464) about a test message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// The original's `X-Test-Id`.
    pub id: String,
    /// Final-Recipient of each group with `Action: failed`.
    pub failed: Vec<String>,
    /// The same for `Action: delayed`.
    pub delayed: Vec<String>,
    /// The same for `delivered`, `relayed` and `expanded`.
    pub succeeded: Vec<String>,
}

/// Reads a DSN; `None` if the record is something else: a DSN has the null return path and is a
/// multipart/report.
pub fn read_dsn(record: &Record) -> Option<Dsn> {
    if !record.sender().is_empty() {
        return None;
    }
    let head_end = record
        .message
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&record.message[..head_end]).to_ascii_lowercase();
    if !head.contains("multipart/report") || !head.contains("delivery-status") {
        return None;
    }
    let id = header(&record.message, TEST_ID_HEADER)?;
    let mut dsn = Dsn {
        id,
        failed: Vec::new(),
        delayed: Vec::new(),
        succeeded: Vec::new(),
    };
    let body = &record.message[head_end..];
    let mut recipient: Option<String> = None;
    let mut action: Option<String> = None;
    for line in body.split(|byte| *byte == b'\n') {
        if let Some(value) = field(line, "Final-Recipient") {
            let address = value
                .split_once(';')
                .map_or(value.as_str(), |(_, address)| address);
            recipient = Some(address.trim().trim_matches(['<', '>']).to_owned());
        }
        if let Some(value) = field(line, "Action") {
            action = Some(value.to_ascii_lowercase());
        }
        // The two fields come in either order within one group of lines.
        if recipient.is_none() || action.is_none() {
            continue;
        }
        let list = match action.take().as_deref() {
            Some("failed") => &mut dsn.failed,
            Some("delayed") => &mut dsn.delayed,
            _ => &mut dsn.succeeded,
        };
        list.extend(recipient.take());
    }
    Some(dsn)
}
