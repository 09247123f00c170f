//! Traces of messages, as a collector gets them.

use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use skein_testkit::collector::Collector;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::http_get;
use skein_testkit::sink::{Act, Occurrences, Phase};
use skein_tests::{Bench, Extra, loopback, until};

const WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Of the client that hands the message in.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn started() -> (Collector, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Collector::start(any).await.unwrap()
}

/// Waits until there are as many spans of this name, which the name of a site follows.
async fn wait_for(collector: &Collector, name: &str, count: usize) -> Vec<Span> {
    let look = || Some(collector.named(name)).filter(|spans| spans.len() >= count);
    until(name, WITHIN, LOOK, look).await.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fact(span: &Span, name: &str) -> Option<String> {
    let fact = span.attributes.iter().find(|one| one.key == name)?;
    match fact.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn section(collector: SocketAddr, ratio: f64) -> Extra {
    let sections = format!(
        "[telemetry]\notlp_endpoint = \"http://{collector}\"\nsample_ratio = {ratio}\n[log]\nformat = \"json\"\n"
    );
    Extra {
        sections,
        ..Extra::default()
    }
}

/// A message with these fields before its own.
fn message(id: &str, fields: &str) -> Injected {
    let text = format!("{fields}X-Test-Id: {id}\r\nSubject: secret words\r\n\r\nhello\r\n");
    let to = vec![format!("{id}@there.test")];
    Injected::given(id, "a@b.test", to, text.as_bytes())
}

async fn offer(bench: &Bench, messages: Vec<Injected>) -> Vec<Injected> {
    let injector = Injector::new(InjectorConfig::to(bench.smtp));
    let offered = injector.offer(messages).await;
    assert!(offered.iter().all(Injected::acked), "{offered:?}");
    offered
}

/// A field was taken out of some, so they are not what was offered to the last byte.
async fn arrive_once(bench: &Bench, offered: &[Injected]) {
    let verdict = bench.settle(offered, WITHIN).await;
    let is_whole = verdict.lost.is_empty() && verdict.duplicates.is_empty();
    assert!(is_whole, "{}", verdict.summary());
}

/// Refuses each recipient once for now.
fn defers_once(bench: &Bench) {
    let seen = Occurrences::default();
    bench.sink.set_script(move |moment| {
        match moment.phase == Phase::Rcpt && seen.of(moment.address) == 1 {
            true => Act::reply(451, "4.7.1 come again"),
            false => Act::Accept,
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_and_its_two_attempts_are_traces_that_are_linked() {
    let (collector, address) = started().await;
    let bench = Bench::with(|_| Ok(section(address, 1.0))).await.unwrap();
    defers_once(&bench);
    let mut node = bench.start().await.unwrap();
    let offered = offer(
        &bench,
        vec![message(
            "one",
            &format!("Traceparent: 00-{TRACE}-{PARENT}-01\r\n"),
        )],
    )
    .await;
    arrive_once(&bench, &offered).await;

    // What came in, under the client's own span.
    let received = wait_for(&collector, "smtp.receive", 1).await;
    let [received] = received.as_slice() else {
        panic!("{received:?}");
    };
    assert_eq!(hex(&received.trace_id), TRACE);
    assert_eq!(hex(&received.parent_span_id), PARENT);
    assert_eq!(received.kind, SpanKind::Server as i32);
    let message_id = fact(received, "messaging.message.id").unwrap();
    let sent = wait_for(&collector, "send ", 1).await;
    let committed = wait_for(&collector, "commit", 1).await;
    for below in [&sent[0], &committed[0]] {
        assert_eq!(below.trace_id, received.trace_id);
        assert_eq!(below.parent_span_id, received.span_id);
    }
    assert_eq!(sent[0].kind, SpanKind::Producer as i32);

    // Two attempts, each a trace of its own that refers to where the task was made.
    let attempts = wait_for(&collector, "process ", 2).await;
    assert_eq!(attempts.len(), 2);
    assert_ne!(attempts[0].trace_id, attempts[1].trace_id);
    for (attempt, number, outcome, code) in [
        (&attempts[0], "1", "skein.deferred", "451"),
        (&attempts[1], "2", "skein.delivered", "250"),
    ] {
        assert_eq!(attempt.kind, SpanKind::Consumer as i32);
        assert!(attempt.parent_span_id.is_empty());
        assert_ne!(attempt.trace_id, received.trace_id);
        let link = &attempt.links[0];
        assert_eq!(link.trace_id, sent[0].trace_id);
        assert_eq!(link.span_id, sent[0].span_id);
        assert_eq!(fact(attempt, "skein.attempt").as_deref(), Some(number));
        assert_eq!(fact(attempt, outcome).as_deref(), Some("1"));
        assert_eq!(fact(attempt, "skein.reply.code").as_deref(), Some(code));
        assert_eq!(
            fact(attempt, "messaging.message.id"),
            Some(message_id.clone())
        );
    }
    let transactions = wait_for(&collector, "smtp.transaction", 2).await;
    for (transaction, attempt) in transactions.iter().zip(&attempts) {
        assert_eq!(transaction.trace_id, attempt.trace_id);
        assert_eq!(transaction.parent_span_id, attempt.span_id);
        assert_eq!(transaction.kind, SpanKind::Client as i32);
    }
    let steps = |span: &Span| -> Vec<String> {
        let events = span.events.iter();
        events.map(|event| event.name.clone()).collect()
    };
    let first = steps(&transactions[0]);
    assert!(first.contains(&"connect".to_owned()), "{first:?}");
    assert!(steps(&transactions[1]).contains(&"dot".to_owned()));

    // Nothing says who wrote to whom about what, and the field goes no further.
    let all = format!("{:?}", collector.named(""));
    for private in ["one@there.test", "a@b.test", "secret words"] {
        assert!(!all.contains(private), "{private}");
    }
    for record in bench.sink.records() {
        let text = String::from_utf8_lossy(&record.message).to_lowercase();
        assert!(!text.contains("traceparent"), "{text}");
    }
    node.term().unwrap();
    assert!(node.wait(WITHIN).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_cannot_be_read_is_none_and_one_that_is_not_sampled_costs_nothing() {
    let (collector, address) = started().await;
    let bench = Bench::with(|_| Ok(section(address, 1.0))).await.unwrap();
    let mut node = bench.start().await.unwrap();
    let offered = offer(
        &bench,
        vec![
            message("bad", "Traceparent: 00-nonsense\r\n"),
            message(
                "unsampled",
                &format!("Traceparent: 00-{TRACE}-{PARENT}-00\r\n"),
            ),
        ],
    )
    .await;
    arrive_once(&bench, &offered).await;
    node.term().unwrap();
    // What is left is exported at the end.
    assert!(node.wait(WITHIN).await.unwrap().success());
    let received = collector.named("smtp.receive");
    assert_eq!(received.len(), 1, "{received:?}");
    assert!(received[0].parent_span_id.is_empty());
    assert_eq!(collector.named("process ").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_flows_while_the_collector_is_away() {
    let nobody = loopback().unwrap();
    let bench = Bench::with(|_| Ok(section(nobody, 1.0))).await.unwrap();
    let mut node = bench.start().await.unwrap();
    let messages = (0..300).map(|nth| message(&format!("m{nth}"), ""));
    let offered = offer(&bench, messages.collect()).await;
    arrive_once(&bench, &offered).await;
    let dropped = async || {
        let (_, text) = http_get(bench.http, "/metrics").await.unwrap();
        let name = "skein_telemetry_spans_dropped_total ";
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().parse::<u64>().unwrap()
    };
    let until = tokio::time::Instant::now() + WITHIN;
    while dropped().await == 0 {
        assert!(tokio::time::Instant::now() < until, "no span is lost");
        tokio::time::sleep(LOOK).await;
    }
    node.term().unwrap();
    assert!(node.wait(WITHIN).await.unwrap().success());
}
