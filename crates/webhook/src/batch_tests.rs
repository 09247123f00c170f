#![expect(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;
use serde_json::Value;
use skein_model::GroupId;

use super::*;
use crate::endpoint::{Secret, Settings};
use crate::event::EventType;

fn settings() -> Settings {
    Settings {
        name: "crm".into(),
        url: "https://hooks.example.com/skein".into(),
        secrets: vec![Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into())],
        ..Settings::default()
    }
}

fn endpoint() -> Endpoint {
    Endpoint::new(&settings()).unwrap()
}

#[derive(Debug, Clone)]
struct Row {
    seq: u64,
    kind: EventType,
    tenant: String,
    stream: Option<String>,
    json: String,
}

impl Row {
    fn new(seq: u64, kind: EventType, padding: usize) -> Self {
        let at = UnixMs(1_667_507_170_000 + seq);
        let id = EventId::new(at, GroupId(1), seq);
        Self {
            seq,
            kind,
            tenant: "shop".into(),
            stream: None,
            json: format!(r#"{{"id":"{id}","padding":"{}"}}"#, "x".repeat(padding)),
        }
    }

    fn event(&self) -> Event<'_> {
        let at = UnixMs(1_667_507_170_000 + self.seq);
        Event {
            id: EventId::new(at, GroupId(1), self.seq),
            seq: self.seq,
            group: GroupId(1),
            kind: self.kind,
            at,
            tenant: &self.tenant,
            stream: self.stream.as_deref(),
            message: MessageId([0; 16]),
            json: &self.json,
        }
    }
}

fn cut_rows(endpoint: &Endpoint, rows: &[Row]) -> Option<Cut> {
    cut(endpoint, rows.iter().map(Row::event))
}

#[test]
fn one_event_is_a_payload_of_its_own_type() {
    let row = Row {
        json: r#"{"a":1}"#.into(),
        ..Row::new(7, EventType::Bounced, 0)
    };
    let found = cut_rows(&endpoint(), &[row]).unwrap();
    let batch = found.batch.unwrap();
    let expected =
        r#"{"type":"message.bounced","timestamp":"2022-11-03T20:26:10.007Z","data":{"a":1}}"#;
    assert_eq!(String::from_utf8(batch.body).unwrap(), expected);
    assert_eq!(
        (found.through, batch.first, batch.last, batch.events),
        (7, 7, 7, 1)
    );
    // Whoever changes how ids are made makes receivers take events twice.
    assert_eq!(batch.id, "msg_711X3BF99NMQCXHQFH10WD8V60");
}

#[test]
fn several_events_are_a_list_of_what_they_are_alone() {
    let rows = [1, 2, 3].map(|seq| Row::new(seq, EventType::Opened, 10));
    let batch = cut_rows(&endpoint(), &rows).unwrap().batch.unwrap();
    let whole: Value = serde_json::from_slice(&batch.body).unwrap();
    assert_eq!(whole["type"], "batch");
    assert_eq!(whole["timestamp"], "2022-11-03T20:26:10.003Z");
    for (nth, row) in rows.iter().enumerate() {
        let alone = cut_rows(&endpoint(), std::slice::from_ref(row))
            .unwrap()
            .batch
            .unwrap();
        let alone: Value = serde_json::from_slice(&alone.body).unwrap();
        assert_eq!(whole["data"][nth], alone);
    }
    assert_eq!(batch.oldest, UnixMs(1_667_507_170_001));
}

#[test]
fn an_event_that_is_too_large_goes_alone() {
    let sizes = [10, 300_000, 10, 10];
    let rows: Vec<Row> = (1..)
        .zip(sizes)
        .map(|(seq, size)| Row::new(seq, EventType::Opened, size))
        .collect();
    let mut rest = rows.as_slice();
    let mut throughs = Vec::new();
    while let Some(cut) = cut_rows(&endpoint(), rest) {
        throughs.push(cut.through);
        rest = &rest[cut.batch.unwrap().events..];
    }
    assert_eq!(throughs, [1, 2, 4]);
}

#[test]
fn what_the_filter_does_not_take_is_passed_over() {
    let mut settings = settings();
    settings.tenant = Some("shop".into());
    settings.types = vec!["message.bounced".into()];
    settings.streams = vec!["receipts".into()];
    let endpoint = Endpoint::new(&settings).unwrap();
    let mut rows: Vec<Row> = (1..=6)
        .map(|seq| Row::new(seq, EventType::Bounced, 0))
        .collect();
    for row in &mut rows {
        row.stream = Some("receipts".into());
    }
    rows[0].tenant = "other".into();
    rows[1].kind = EventType::Opened;
    rows[2].stream = None;
    rows[4].stream = Some("news".into());
    let found = cut_rows(&endpoint, &rows[..5]).unwrap();
    let batch = found.batch.unwrap();
    assert_eq!(
        (found.through, batch.first, batch.last, batch.events),
        (5, 4, 4, 1)
    );
    let none = cut_rows(&endpoint, &rows[..3]).unwrap();
    assert_eq!(
        none,
        Cut {
            through: 3,
            batch: None
        }
    );
    assert_eq!(cut_rows(&endpoint, &[]), None);
}

#[test]
fn ids_differ_where_the_octets_or_the_receiver_do() {
    let rows = [1, 2, 3].map(|seq| Row::new(seq, EventType::Opened, 0));
    let id = |endpoint: &Endpoint, rows| cut_rows(endpoint, rows).unwrap().batch.unwrap().id;
    let own = endpoint();
    let changed = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        id(&Endpoint::new(&settings).unwrap(), &rows)
    };
    let ids = [
        id(&own, &rows),
        id(&own, &rows[..2]),
        id(&own, &rows[1..]),
        id(&own, &rows[..1]),
        changed(&|settings| settings.name = "other".into()),
        changed(&|settings| settings.tenant = Some("shop".into())),
        changed(&|settings| settings.types = vec!["message.opened".into()]),
    ];
    for (nth, one) in ids.iter().enumerate() {
        assert_eq!(ids.iter().position(|other| other == one), Some(nth));
        assert!(one.len() == 30 && !one.contains('.'), "{one}");
    }
    let secrets = changed(&|settings| settings.secrets.push(settings.secrets[0].clone()));
    assert_eq!(secrets, ids[0], "secrets change between attempts");
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::sample::select(EventType::ALL.to_vec()),
        0..6000usize,
        any::<bool>(),
    );
    prop::collection::vec(row, 0..60).prop_map(|all| {
        let rows = (1..).zip(all).map(|(seq, (kind, padding, is_own))| Row {
            tenant: if is_own { "shop" } else { "other" }.into(),
            ..Row::new(seq, kind, padding)
        });
        rows.collect()
    })
}

proptest! {
    #[test]
    fn batches_have_each_event_once_in_order_within_bounds(
        rows in rows(), events in 1..20usize, bytes in 4096..40_000usize, is_filtered: bool,
    ) {
        let mut settings = settings();
        settings.batch_events = Some(events);
        settings.batch_bytes = Some(bytes);
        settings.tenant = is_filtered.then(|| "shop".into());
        let endpoint = Endpoint::new(&settings).unwrap();
        let mut lowered = endpoint.clone();
        lowered.limits = BatchLimits { events: 1, bytes: 4096 };
        let (mut done, mut seen) = (0, Vec::new());
        while let Some(cut) = cut_rows(&endpoint, &rows[done..]) {
            let through = cut.through as usize;
            prop_assert!(through > done);
            // Another attempt is the same, whatever has become of the limits.
            let retried = again(&lowered, rows[done..through].iter().map(Row::event));
            prop_assert_eq!(retried.as_ref(), Some(&cut));
            done = through;
            let Some(batch) = cut.batch else { continue };
            prop_assert!(batch.events <= events);
            prop_assert!(batch.events == 1 || batch.body.len() <= bytes);
            let body: Value = serde_json::from_slice(&batch.body).unwrap();
            let items = match batch.events {
                1 => vec![body],
                _ => body["data"].as_array().unwrap().clone(),
            };
            prop_assert_eq!(items.len(), batch.events);
            seen.extend(items.iter().map(|item| item["data"]["id"].as_str().unwrap().to_owned()));
        }
        prop_assert_eq!(done, rows.len());
        let wanted = rows.iter().map(Row::event).filter(|event| endpoint.filter.takes(event));
        let wanted: Vec<String> = wanted.map(|event| event.id.to_string()).collect();
        prop_assert_eq!(seen, wanted);
    }
}
