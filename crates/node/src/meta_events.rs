//! What happens to domains and suppression lists, and what people change, as lines of the event log.

use serde::Serialize;
use skein_control::MetaEvents;
use skein_model::meta::domains::DomainEvent;
use skein_model::meta::suppressions::SuppressionEvent;
use skein_model::meta::{AuditEntry, MetaEvent, MetaEventKind};

use crate::events::{Sink, time};

/// Writes events until the node stops.
pub async fn write(sink: Sink, mut events: MetaEvents) {
    while let Some(batch) = events.next_batch().await {
        sink.write_lines(lines(&batch)).await;
        events.done().await;
    }
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    seq: u64,
    #[serde(flatten)]
    of: Of<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Of<'a> {
    Audit(Audit<'a>),
    Domain(Domain<'a>),
    Suppression(Suppression<'a>),
}

/// A call begins, or has ended if it has a code.
#[derive(Debug, Serialize)]
struct Audit<'a> {
    /// Of the entry in the audit log: what begins a call and what ends it have the same.
    entry: u64,
    by: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client: &'a str,
    call: &'a str,
    /// The request in JSON, without secrets, and cut.
    asked: &'a str,
    /// A status code of gRPC; 0 is OK.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Domain<'a> {
    what: &'static str,
    domain: &'a str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    selector: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    findings: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    by: &'a str,
}

/// An entry of a suppression list has come or gone; or so many at once, that only their number is told.
#[derive(Debug, Serialize)]
struct Suppression<'a> {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    /// An address or a domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The id of the event that it follows from, or an operator's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    by: &'a str,
}

fn lines(events: &[MetaEvent]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        serde_json::to_writer(&mut out, &line(event)).expect("a line has only strings and numbers");
        out.push(b'\n');
    }
    out
}

fn line(event: &MetaEvent) -> Line<'_> {
    let (name, of) = match &event.kind {
        MetaEventKind::Audit { number, entry } => ("audit", Of::Audit(audit(*number, entry))),
        MetaEventKind::Domain(event) => ("domain", Of::Domain(domain(event))),
        MetaEventKind::Suppression(event) => ("suppression", Of::Suppression(suppression(event))),
    };
    Line {
        time: time(event.at),
        event: name,
        seq: event.seq,
        of,
    }
}

fn audit(number: u64, entry: &AuditEntry) -> Audit<'_> {
    let ended = entry.ended.as_ref();
    let message = ended.map(|end| end.message.as_str());
    Audit {
        entry: number,
        by: &entry.who,
        client: &entry.from,
        call: &entry.call,
        asked: &entry.asked,
        code: ended.map(|end| end.code),
        message: message.filter(|message| !message.is_empty()),
    }
}

fn domain(event: &DomainEvent) -> Domain<'_> {
    Domain {
        what: event.what.name(),
        domain: &event.name,
        tenant: &event.tenant,
        selector: &event.selector,
        findings: &event.findings,
        by: &event.who,
    }
}

fn suppression(event: &SuppressionEvent) -> Suppression<'_> {
    let (key, entry) = event.item.as_ref().map(|(key, entry)| (key, entry)).unzip();
    let source = entry.map(|entry| entry.source.as_str());
    let note = entry.map_or("", |entry| entry.note.as_str());
    Suppression {
        what: event.what.name(),
        count: key.is_none().then_some(event.count),
        subject: key.map(|key| key.subject.as_str()),
        scope: key.map(|key| key.scope.kind().name()),
        tenant: key.and_then(|key| key.scope.tenant()),
        stream: key.and_then(|key| key.scope.stream()),
        reason: entry.map(|entry| entry.reason.name()),
        source: source.filter(|source| !source.is_empty()),
        expires: entry.and_then(|entry| entry.expires).map(time),
        note: if event.note.is_empty() {
            note
        } else {
            &event.note
        },
        by: &event.who,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};
    use skein_model::UnixMs;
    use skein_model::meta::AuditEnd;
    use skein_model::meta::domains::DomainEventKind;

    use super::*;

    fn check(kind: MetaEventKind, expected: Value) {
        let event = MetaEvent {
            seq: 3,
            at: UnixMs(1000),
            kind,
        };
        let written = lines(&[event.clone(), event]);
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text.lines().count(), 2, "one line each: {text}");
        let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line, expected);
    }

    fn call(ended: Option<AuditEnd>) -> MetaEventKind {
        let entry = AuditEntry {
            id: 77,
            at: UnixMs(900),
            who: "token ops".into(),
            from: "192.0.2.1:4".into(),
            call: "Suspend".into(),
            asked: "{\"why\":\"two\\nlines\"}".into(),
            ended,
        };
        MetaEventKind::Audit { number: 5, entry }
    }

    #[test]
    fn a_call_is_a_line_when_it_begins_and_one_when_it_has_ended() {
        let begins = json!({
            "time": "1970-01-01T00:00:01.000Z", "event": "audit", "seq": 3, "entry": 5, "by": "token ops",
            "client": "192.0.2.1:4", "call": "Suspend", "asked": "{\"why\":\"two\\nlines\"}",
        });
        check(call(None), begins.clone());
        let end = |code, message: &str| AuditEnd {
            code,
            message: message.into(),
        };
        let mut ended = begins;
        ended["code"] = json!(0);
        check(call(Some(end(0, ""))), ended.clone());
        ended["code"] = json!(7);
        ended["message"] = json!("may not");
        check(call(Some(end(7, "may not"))), ended);
    }

    #[test]
    fn an_event_of_a_domain_names_the_key_the_faults_and_who_did_it() {
        let event = |what, selector: &str, who: &str, findings: &[&str]| {
            MetaEventKind::Domain(DomainEvent {
                name: "example.com".into(),
                tenant: "acme".into(),
                what,
                selector: selector.into(),
                who: who.into(),
                findings: findings.iter().map(|&id| id.to_owned()).collect(),
            })
        };
        let line = |what: &str| {
            json!({
                "time": "1970-01-01T00:00:01.000Z", "event": "domain", "seq": 3, "what": what,
                "domain": "example.com", "tenant": "acme",
            })
        };
        let mut seen = line("key seen");
        seen["selector"] = json!("sk1");
        check(event(DomainEventKind::KeySeen, "sk1", "", &[]), seen);
        let mut added = line("added");
        added["by"] = json!("ann");
        check(event(DomainEventKind::Added, "", "ann", &[]), added);
        let mut faulty = line("faulty");
        faulty["findings"] = json!(["dkim.missing", "spf.missing"]);
        let found = ["dkim.missing", "spf.missing"];
        check(event(DomainEventKind::Faulty, "", "", &found), faulty);
        check(event(DomainEventKind::Well, "", "", &[]), line("well"));
    }
}
