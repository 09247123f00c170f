//! What goes into one request. The same events give the same octets, so a retry is the same request with the same id.

use aws_lc_rs::digest::{Context, SHA256};
use skein_model::{MessageId, UnixMs};

use crate::endpoint::{BatchLimits, Endpoint};
use crate::event::{Event, EventId, Filter};
use skein_model::rfc3339;

/// The body of one request.
///
/// One event is `{"type", "timestamp", "data"}`, and `data` is its JSON. Several are `{"type": "batch", "timestamp", "data"}` with the
/// time of the last, and `data` is a list of what each would be alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The `webhook-id`: another endpoint, filter, first or last event has another one. 30 letters, digits and `_`.
    pub id: String,
    /// Numbers in the log.
    pub first: u64,
    pub last: u64,
    pub events: usize,
    /// The time of the first event.
    pub oldest: UnixMs,
    pub body: Vec<u8>,
}

/// How far a group's log is done with when a batch is, which may be further than its last event: what the filter does not take
/// is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub through: u64,
    /// None: the filter takes none of the events.
    pub batch: Option<Batch>,
}

/// The first batch of some events, which follow each other in one group's log. None without events.
#[must_use]
pub fn cut<'a>(endpoint: &Endpoint, events: impl IntoIterator<Item = Event<'a>>) -> Option<Cut> {
    cut_within(endpoint, endpoint.limits, events)
}

/// The batch of all of some events: of those that were cut before, for another attempt, however the limits have changed.
#[must_use]
pub fn again<'a>(endpoint: &Endpoint, events: impl IntoIterator<Item = Event<'a>>) -> Option<Cut> {
    let limits = BatchLimits {
        events: usize::MAX,
        bytes: usize::MAX,
    };
    cut_within(endpoint, limits, events)
}

fn cut_within<'a>(
    endpoint: &Endpoint,
    limits: BatchLimits,
    events: impl IntoIterator<Item = Event<'a>>,
) -> Option<Cut> {
    let (mut through, mut taken) = (None, Taken::default());
    for event in events {
        if endpoint.filter.takes(&event) && !taken.push(&event, limits) {
            break;
        }
        through = Some(event.seq);
        if taken.items.len() >= limits.events {
            break;
        }
    }
    through.map(|through| Cut {
        through,
        batch: taken.finish(endpoint),
    })
}

/// Events of a batch that is being filled.
#[derive(Default)]
struct Taken {
    items: Vec<String>,
    /// Of all items, without what is between them.
    bytes: usize,
    first: Option<Place>,
    last: Option<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    id: EventId,
    seq: u64,
    at: UnixMs,
}

impl Taken {
    /// Returns whether there was room.
    fn push(&mut self, event: &Event<'_>, limits: BatchLimits) -> bool {
        let item = payload(event.kind.name(), event.at, event.json);
        let bytes = self.bytes + item.len();
        // Commas, and what is around the list.
        let whole = bytes + self.items.len() + payload("batch", event.at, "[]").len();
        if !self.items.is_empty() && whole > limits.bytes {
            return false;
        }
        let place = Place {
            id: event.id,
            seq: event.seq,
            at: event.at,
        };
        self.first = self.first.or(Some(place));
        self.last = Some(place);
        self.bytes = bytes;
        self.items.push(item);
        true
    }

    fn finish(mut self, endpoint: &Endpoint) -> Option<Batch> {
        let (first, last) = (self.first?, self.last?);
        let events = self.items.len();
        let body = match events {
            1 => self.items.pop()?,
            _ => payload("batch", last.at, &format!("[{}]", self.items.join(","))),
        };
        Some(Batch {
            id: webhook_id(endpoint, first.id, last.id),
            first: first.seq,
            last: last.seq,
            events,
            oldest: first.at,
            body: body.into_bytes(),
        })
    }
}

fn payload(kind: &str, at: UnixMs, data: &str) -> String {
    let at = rfc3339::write(at);
    format!(r#"{{"type":"{kind}","timestamp":"{at}","data":{data}}}"#)
}

/// 128 bits of SHA-256.
fn webhook_id(endpoint: &Endpoint, first: EventId, last: EventId) -> String {
    let Filter {
        tenant,
        types,
        streams,
    } = &endpoint.filter;
    let mut parts = vec![
        endpoint.name.as_str(),
        tenant.as_deref().unwrap_or_default(),
    ];
    parts.extend(types.iter().map(|kind| kind.name()));
    parts.push("");
    parts.extend(streams.iter().map(String::as_str));
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.update(&first.octets());
    digest.update(&last.octets());
    let mut octets = [0; 16];
    octets.copy_from_slice(&digest.finish().as_ref()[..16]);
    format!("msg_{}", MessageId(octets))
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
