//! One report for each domain and day that leaves the cluster, with what all senders counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use mail_parser::MessageParser;
use serde_json::Value;
use skein_model::codec;
use skein_model::tls_report::{AppliedPolicy, Day, DayCounts, FailureKind, TlsResult, Told};
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use skein_testkit::web_host::{Certificate, Page};
use skein_tests::fleet::Fleet;
use skein_wire::internal::TellTlsRequest;
use tempfile::TempDir;

use super::stage::{PATIENCE, Stage, text};
use crate::signing::verifier::MailAuth;

const DOMAIN: &str = "cust.test";
const TAKER: &str = "taker.test";

/// A cluster that reports as esp.test, whose key is in use.
async fn stage(control: usize) -> (Stage, MailAuth, TempDir) {
    stage_of(control, 1).await
}

async fn stage_of(control: usize, senders: usize) -> (Stage, MailAuth, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("dkim.key");
    let mut made = Command::new(skein_tests::skein().unwrap());
    assert!(made.arg("dkim-key").arg(&key).status().unwrap().success());
    let of_senders = format!("[dkim]\nkey_file = {key:?}\n");
    let more = format!(
        "[dkim]\nkey_file = {key:?}\nttl = \"1s\"\nauthoritative_servers = [\"{{dns}}\"]\n\
         [tls_reports]\nfrom = \"tls-reports@esp.test\"\norganization = \"ESP Test\"\ncontact = \"postmaster@esp.test\"\n"
    );
    let stage = Stage::with(control, senders, "10m", (&more, &of_senders)).await;
    let added = stage
        .fleet
        .ask(&[
            "domain",
            "add",
            "esp.test",
            "--tenant",
            "operator",
            "--operator",
        ])
        .unwrap();
    let mut keys = BTreeMap::new();
    for record in added["records"].as_array().unwrap() {
        let field = |key: &str| record[key].as_str().unwrap();
        match field("type") {
            "TXT" => stage.fleet.dns.txt(field("name"), field("value")),
            other => panic!("{other}"),
        }
        keys.insert(field("name").to_owned(), field("value").to_owned());
    }
    let is_signing = |shown: &Value| shown["state"] == "signing";
    let args = ["domain", "show", "esp.test"];
    stage
        .fleet
        .skeinctl(&["domain", "check", "esp.test", "--wait", "--timeout", "30s"])
        .ok();
    stage
        .fleet
        .answers(0, &args, PATIENCE, is_signing)
        .await
        .unwrap();
    (stage, verifier(keys), folder)
}

fn verifier(records: BTreeMap<String, String>) -> MailAuth {
    let keys = records
        .into_iter()
        .filter(|(name, _)| name.contains("._domainkey."));
    MailAuth::new(&keys.collect())
}

fn today() -> Day {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Day(u32::try_from(since.as_secs() / 86_400).unwrap())
}

fn result(policy: AppliedPolicy, failure: Option<FailureKind>) -> TlsResult {
    TlsResult {
        domain: DOMAIN.to_owned(),
        policy,
        mx_host: "mx.cust.test".to_owned(),
        receiving_ip: Some([192, 0, 2, 7].into()),
        sending_ip: Some([198, 51, 100, 9].into()),
        failure,
    }
}

fn told(good: usize, expired: usize) -> Told {
    let mut counts = DayCounts::default();
    for nth in 0..good + expired {
        let failure = (nth >= good).then_some(FailureKind::CertificateExpired);
        counts.count(result(AppliedPolicy::none(), failure));
    }
    Told {
        domain: DOMAIN.to_owned(),
        day: today(),
        counts,
    }
}

/// Tells until a leader takes it.
async fn tell(stage: &Stage, session: u64, batch: u64, told: &[Told]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let request = TellTlsRequest {
            session,
            batch,
            told: told.iter().map(|one| codec::encode(one).into()).collect(),
        };
        match stage.leader().await.tell_tls(request).await {
            Ok(_) => return,
            Err(status) => assert!(Instant::now() < until, "{status}"),
        }
    }
}

fn unpacked(gzip: &[u8]) -> Value {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
    assert!(!text.contains("null"), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A control node that runs.
fn running(stage: &Stage) -> usize {
    let mut control = stage.fleet.control.iter();
    control.position(|one| one.node.is_some()).unwrap()
}

/// `skeinctl tls report list`, as soon as it is as it should be.
async fn list(stage: &Stage, is_so: impl Fn(&Value) -> bool) -> Value {
    let args = ["tls", "report", "list"];
    let listed = stage.fleet.answers(running(stage), &args, PATIENCE, is_so);
    listed.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_senders_leaders_that_fall_and_one_report_by_mail_and_one_by_https() {
    let (mut stage, verifier, _folder) = stage(3).await;
    let dns = &stage.fleet.dns;
    let sink = stage
        .fleet
        .sink(61, "mx.reports.test", &["reports.test"])
        .await
        .unwrap();
    dns.txt(
        &format!("_smtp._tls.{DOMAIN}"),
        &format!("v=TLSRPTv1; rua=mailto:tls@reports.test,https://{TAKER}/v1/tls"),
    );
    dns.host(TAKER, stage.web.address().ip());
    stage.web.set(TAKER, Page::status(503));

    // A batch that is told again counts once, also by another leader.
    let (one, other) = (stage.session("t1").await, stage.session("t2").await);
    tell(&stage, one, 1, &[told(3, 1)]).await;
    tell(&stage, one, 1, &[told(3, 1)]).await;
    tell(&stage, other, 1, &[told(2, 0)]).await;
    let leader = stage.fleet.meta_leader().unwrap();
    stage.fleet.control[leader].kill().unwrap();
    tell(&stage, one, 1, &[told(3, 1)]).await;
    stage.fleet.control[leader].start().await.unwrap();
    let all = |listed: &Value| {
        let counted = &listed["counted"][0];
        counted["sessions"] == 6 && counted["failed"] == 1
    };
    let listed = list(&stage, all).await;
    let day = listed["counted"][0]["day"].as_str().unwrap().to_owned();

    // The day ends when an operator says so; the server that takes reports fails at first.
    let sent = stage
        .fleet
        .ask(&["tls", "report", "send", "--day", &day])
        .unwrap();
    assert_eq!(sent["domains"], 1);
    let has_tried = |stage: &Stage| stage.web.asked(TAKER).len() >= 2;
    let asking = stage
        .fleet
        .until("two posts", PATIENCE, |_| has_tried(&stage).then_some(()));
    asking.await.unwrap();
    stage.web.set(TAKER, Page::status(201));
    let is_sent = |listed: &Value| {
        let places = listed["sent"][0]["places"].as_array();
        places.is_some_and(|places| places.len() == 2)
    };
    let listed = list(&stage, is_sent).await;
    let places = listed["sent"][0]["places"].as_array().unwrap();
    assert!(
        places.iter().all(|place| place["fault"] == ""),
        "{places:?}"
    );
    assert_eq!(listed["counted"], Value::Array(Vec::new()));

    let posts = stage.web.asked(TAKER);
    let last = posts.last().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.as_str()),
        ("POST", "/v1/tls")
    );
    assert_eq!(last.headers["content-type"], "application/tlsrpt+gzip");
    let report = unpacked(&last.body);
    assert_eq!(report["organization-name"], "ESP Test");
    assert_eq!(report["contact-info"], "postmaster@esp.test");
    assert_eq!(report["report-id"], format!("{day}.{DOMAIN}@esp.test"));
    assert_eq!(
        report["date-range"]["start-datetime"],
        format!("{day}T00:00:00Z")
    );
    let [policy] = &report["policies"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(policy["policy"]["policy-type"], "no-policy-found");
    assert_eq!(policy["summary"]["total-successful-session-count"], 5);
    assert_eq!(policy["summary"]["total-failure-session-count"], 1);
    assert_eq!(policy["failure-details"][0]["receiving-ip"], "192.0.2.7");

    // The mail: one, signed, with the same report; whoever leads, and however often it is said.
    stage
        .fleet
        .ask(&["tls", "report", "send", "--day", &day])
        .unwrap();
    let leader = stage.fleet.meta_leader().unwrap();
    stage.fleet.control[leader].kill().unwrap();
    let arrived = |_: &_| sink.records().first().cloned();
    let mail = stage
        .fleet
        .until("the report", PATIENCE, arrived)
        .await
        .unwrap();
    let late = stage.session("t3").await;
    tell(&stage, late, 1, &[told(1, 0)]).await;
    assert_eq!(sink.records().len(), 1);
    assert_eq!(
        (mail.sender(), mail.delivered_to().collect::<Vec<_>>()),
        ("", vec!["tls@reports.test"])
    );
    let message = MessageParser::new().parse(&mail.message).unwrap();
    let field = |name: &str| {
        message
            .header_raw(name)
            .map(str::trim)
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(field("TLS-Report-Domain"), DOMAIN);
    assert_eq!(field("TLS-Report-Submitter"), "esp.test");
    assert_eq!(field("TLS-Required"), "No");
    assert_eq!(unpacked(message.attachment(0).unwrap().contents()), report);
    let signatures = verifier.verify(&mail.message).await;
    assert_eq!(signatures, ["pass"]);
    // It was told of after its report.
    list(&stage, |listed| listed["lost_sessions"] == 1).await;
}

/// EHLO names of those whose mail a host has taken.
fn senders_at(sink: &Sink) -> BTreeSet<String> {
    let records = sink.records();
    records.iter().map(|one| one.helo.clone()).collect()
}

/// Each sender counts what it meets: one host with TLS and one without, to both of which both of them go.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_senders_count_is_one_report_with_the_sum() {
    let (stage, _, _folder) = stage_of(1, 2).await;
    let fleet = &stage.fleet;
    fleet.dns.txt(
        &format!("_smtp._tls.{DOMAIN}"),
        &format!("v=TLSRPTv1; rua=https://{TAKER}/"),
    );
    fleet.dns.host(TAKER, stage.web.address().ip());
    stage.web.set(TAKER, Page::status(201));
    let good = fleet.sink(62, "mx.cust.test", &[DOMAIN]).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 63], good.address().port()));
    let mut config = SinkConfig::at(address);
    config.extensions.starttls = false;
    let clear = Sink::start(config).await.unwrap();
    fleet.dns.host("mx-clear.cust.test", address.ip());
    fleet.dns.mx(DOMAIN, 10, "mx-clear.cust.test");

    // Its mail is one slot's, and so one sender's, until its site is spread.
    offer(fleet, 0, 1).await;
    let delivered = |fleet: &Fleet| {
        let events = fleet.events().unwrap().into_iter();
        let mut delivered = events.filter(|event| event["event"] == "delivered");
        delivered.next()
    };
    let delivered = fleet.until("the first message", PATIENCE, delivered);
    let site = delivered.await.unwrap()["site"]
        .as_str()
        .unwrap()
        .to_owned();
    fleet.skeinctl(&["site", "spread", &site, "64"]).unwrap();
    let is_met = || senders_at(&good).len() == 2 && senders_at(&clear).len() == 2;
    let mut count = 1;
    let until = Instant::now() + PATIENCE;
    while !is_met() {
        assert!(
            Instant::now() < until,
            "{:?} {:?}",
            senders_at(&good),
            senders_at(&clear)
        );
        offer(fleet, count, 10).await;
        count += 10;
        let all = |_: &Fleet| (good.accepted() + clear.accepted() == count as u64).then_some(());
        fleet.until("all mail", PATIENCE, all).await.unwrap();
    }

    let (succeeded, failed) = (good.connections(), clear.connections());
    assert!(succeeded >= 2 && failed >= 2, "{succeeded} {failed}");
    let all = |listed: &Value| {
        let counted = &listed["counted"][0];
        counted["sessions"] == succeeded + failed && counted["failed"] == failed
    };
    let listed = list(&stage, all).await;
    assert_eq!(listed["counted"].as_array().unwrap().len(), 1);
    let day = listed["counted"][0]["day"].as_str().unwrap();
    let send = ["tls", "report", "send", "--day", day];
    assert_eq!(fleet.ask(&send).unwrap()["domains"], 1);
    let posted = |_: &_| stage.web.asked(TAKER).first().cloned();
    let post = fleet.until("the report", PATIENCE, posted).await.unwrap();
    let report = unpacked(&post.body);
    let [policy] = &report["policies"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(policy["policy"]["policy-domain"], DOMAIN);
    let summary = &policy["summary"];
    assert_eq!(summary["total-successful-session-count"], succeeded);
    assert_eq!(summary["total-failure-session-count"], failed);
    let details = policy["failure-details"].as_array().unwrap();
    let mut counts = 0;
    for detail in details {
        assert_eq!(detail["result-type"], "starttls-not-supported");
        assert_eq!(detail["receiving-mx-hostname"], "mx-clear.cust.test");
        counts += detail["failed-session-count"].as_u64().unwrap();
    }
    assert_eq!(counts, failed, "{details:?}");
    let is_sent = |listed: &Value| listed["sent"][0]["domain"] == DOMAIN;
    let listed = list(&stage, is_sent).await;
    assert_eq!(listed["sent"].as_array().unwrap().len(), 1);
    assert_eq!(stage.web.asked(TAKER).len(), 1, "one report");
}

/// Hands mail in at both senders in turn.
async fn offer(fleet: &Fleet, first: usize, count: usize) {
    for nth in first..first + count {
        let to = vec![format!("user{nth}@{DOMAIN}")];
        let message = Injected::generated(&format!("m{nth}"), "a@here.test", to, 200);
        let at = fleet.senders[nth % fleet.senders.len()].smtp;
        let injector = Injector::new(InjectorConfig::to(at));
        let injected = injector.offer(vec![message]).await;
        assert!(injected.iter().all(Injected::acked), "{injected:?}");
    }
}

/// A policy that cannot be had is in the report; a domain that asks for nothing gets nothing.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_policies_are_reported_to_who_asks() {
    let (stage, _, _folder) = stage(1).await;
    let dns = &stage.fleet.dns;
    dns.txt(
        &format!("_smtp._tls.{DOMAIN}"),
        &format!("v=TLSRPTv1; rua=https://{TAKER}/"),
    );
    dns.host(TAKER, stage.web.address().ip());
    stage.web.set(TAKER, Page::status(200));
    let mut expired = Page::text(&text("enforce", "mx.cust.test", 86_400));
    expired.certificate = Certificate::Expired;
    stage.publish(DOMAIN, "1", expired.clone());
    stage.publish("silent.test", "1", expired);
    for domain in [DOMAIN, "silent.test"] {
        assert_eq!(stage.policy(domain).await, None);
    }
    let is_counted = |listed: &Value| {
        listed["counted"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    };
    let listed = list(&stage, is_counted).await;
    assert_eq!(listed["counted"].as_array().unwrap().len(), 1);
    let day = listed["counted"][0]["day"].as_str().unwrap();
    stage
        .fleet
        .ask(&["tls", "report", "send", "--day", day])
        .unwrap();
    let posted = |_: &_| stage.web.asked(TAKER).first().cloned();
    let post = stage
        .fleet
        .until("the report", PATIENCE, posted)
        .await
        .unwrap();
    let report = unpacked(&post.body);
    let policy = &report["policies"][0];
    assert_eq!(policy["policy"]["policy-type"], "sts");
    assert_eq!(
        policy["failure-details"][0]["result-type"],
        "sts-webpki-invalid"
    );
    for day in ["2020-01-01", "today", ""] {
        let refused = stage
            .fleet
            .skeinctl(&["tls", "report", "send", "--day", day]);
        assert!(format!("{:#}", refused.unwrap_err()).contains("day: "));
    }
}
