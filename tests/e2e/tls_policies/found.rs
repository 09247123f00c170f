//! What is announced, fetched and cached decides which policy there is.

use std::time::{Duration, Instant};

use serde_json::Value;
use skein_model::sts::{StsMode, StsPolicy};
use skein_testkit::dns::Fault;
use skein_testkit::web_host::{Certificate, Page};

use super::stage::{PATIENCE, Stage, policy_of, text};

const WEEK: u32 = 604_800;

fn good() -> Page {
    Page::text(&text("enforce", "*.mx.test", WEEK))
}

fn with(change: impl FnOnce(&mut Page)) -> Page {
    let mut page = good();
    change(&mut page);
    page
}

/// The rows of the table without a cached policy: what is announced, what the policy host answers, and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_has_the_policy_that_it_announces_and_shows() {
    let stage = Stage::new(1, "10m").await;
    let found = |id: &str| Some((StsMode::Enforce, id.to_owned()));
    // No policy is announced, and none is fetched.
    for (nth, records) in [
        &[][..],
        &["v=spf1 -all"],
        &["v=STSv1; id=1;", "v=STSv1; id=2;"],
        &["v=STSv1; id=;"],
        &["v=STSv1"],
    ]
    .iter()
    .enumerate()
    {
        let domain = format!("unannounced{nth}.test");
        stage.publish(&domain, "1", good());
        stage.announce(&domain, records);
        assert_eq!(stage.policy(&domain).await, None, "{records:?}");
        assert_eq!(stage.fetches(&domain), 0, "{records:?}");
    }
    stage.publish("servfail.test", "1", good());
    stage
        .fleet
        .dns
        .fault("_mta-sts.servfail.test", Some(Fault::ServFail));
    assert_eq!(stage.policy("servfail.test").await, None);

    let long = "x".repeat(64 << 10);
    for (name, page, expected) in [
        ("good", good(), found("1")),
        (
            "lf",
            with(|page| page.body.retain(|byte| *byte != b'\r')),
            found("1"),
        ),
        (
            "charset",
            with(|page| page.media_type = "text/plain; charset=utf-8".into()),
            found("1"),
        ),
        (
            "html",
            with(|page| page.media_type = "text/html".into()),
            None,
        ),
        ("missing", Page::status(404), None),
        ("broken", Page::status(500), None),
        ("created", with(|page| page.status = 201), None),
        ("long", with(|page| page.body.extend(long.bytes())), None),
        ("empty", Page::text(""), None),
        (
            "unknown",
            Page::text(&text("report", "*.mx.test", WEEK)),
            None,
        ),
        (
            "old",
            Page::text(&text("enforce", "*.mx.test", 31_557_601)),
            None,
        ),
        (
            "expired",
            with(|page| page.certificate = Certificate::Expired),
            None,
        ),
        (
            "other-name",
            with(|page| page.certificate = Certificate::OtherName),
            None,
        ),
        (
            "self-signed",
            with(|page| page.certificate = Certificate::SelfSigned),
            None,
        ),
    ] {
        let domain = format!("{name}.test");
        stage.publish(&domain, "1", page);
        let policy = stage.policy(&domain).await;
        assert_eq!(
            policy.map(|policy| (policy.mode, policy.id)),
            expected,
            "{name}"
        );
    }
    // A redirect is not followed, wherever it leads.
    stage.publish("target.test", "1", good());
    let redirect = with(|page| {
        page.status = 301;
        let target = "https://mta-sts.target.test/.well-known/mta-sts.txt";
        page.headers = vec![("Location".into(), target.into())];
    });
    stage.publish("redirect.test", "1", redirect);
    assert_eq!(stage.policy("redirect.test").await, None);
    assert_eq!(
        (stage.fetches("redirect.test"), stage.fetches("target.test")),
        (1, 0)
    );
    // Nobody is there.
    stage.publish("nowhere.test", "1", good());
    stage.fleet.dns.remove("mta-sts.nowhere.test");
    assert_eq!(stage.policy("nowhere.test").await, None);
    // The records of a domain that leaves this to its provider.
    stage.publish("hosted.test", "1", good());
    stage.fleet.dns.remove("_mta-sts.hosted.test");
    stage
        .fleet
        .dns
        .cname("_mta-sts.hosted.test", "_mta-sts.provider.test");
    stage
        .fleet
        .dns
        .txt("_mta-sts.provider.test", "v=STSv1; id=77;");
    let hosted = stage.policy("hosted.test").await.unwrap();
    assert_eq!(hosted.id, "77");
    let [asked] = &stage.web.asked("mta-sts.hosted.test")[..] else {
        panic!("fetched once");
    };
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/.well-known/mta-sts.txt")
    );

    // What was not there is not asked for again at once.
    let before = stage.fetches("missing.test");
    assert_eq!(stage.policy("missing.test").await, None);
    assert_eq!(stage.fetches("missing.test"), before);
}

/// The rows with a cached policy: it goes on but where the domain shows another one under another id.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_cached_goes_on_until_another_one_is_shown() {
    let stage = Stage::new(1, "1s").await;
    let withdrawn = "version: STSv1\nmode: none\nmax_age: 86400\n";
    for (name, page, expected) in [
        ("fails", Page::status(404), ("1", StsMode::Enforce)),
        ("invalid", Page::text("nothing"), ("1", StsMode::Enforce)),
        (
            "changed",
            Page::text(&text("testing", "*.other.test", WEEK)),
            ("2", StsMode::Testing),
        ),
        ("withdrawn", Page::text(withdrawn), ("2", StsMode::None)),
    ] {
        let domain = format!("{name}.test");
        stage.publish(&domain, "1", good());
        assert_eq!(stage.policy(&domain).await.unwrap().id, "1");
        let before = stage.fetches(&domain);
        stage.publish(&domain, "2", page);
        stage
            .until_policy(&domain, |_| stage.fetches(&domain) > before)
            .await;
        let is_so = |policy: &StsPolicy| (policy.id.as_str(), policy.mode) == expected;
        stage
            .until_policy(&domain, |policy| policy.is_some_and(is_so))
            .await;
        if expected.0 == "1" {
            let args = ["tls", "policy", "show", &domain];
            let has_fault = |shown: &Value| shown["fault"] != "";
            stage
                .fleet
                .answers(0, &args, PATIENCE, has_fault)
                .await
                .unwrap();
            assert_eq!(stage.policy(&domain).await.unwrap().id, "1", "{name}");
        }
    }
    // The record is gone, or nobody says: nothing is revoked, and nothing fetched.
    for fault in [None, Some(Fault::ServFail)] {
        let domain = format!("gone{}.test", u8::from(fault.is_some()));
        stage.publish(&domain, "1", good());
        assert!(stage.policy(&domain).await.is_some());
        stage.announce(&domain, &[]);
        let name = format!("_mta-sts.{domain}");
        stage.fleet.dns.fault(&name, fault);
        let before = stage.fleet.dns.asked(&name);
        stage
            .until_policy(&domain, |_| stage.fleet.dns.asked(&name) > before + 1)
            .await;
        assert_eq!(stage.policy(&domain).await.unwrap().id, "1");
        assert_eq!(stage.fetches(&domain), 1);
    }
}

/// RFC 8461 5: before mail fails for good the policy is fetched again, since it may have changed without its id.
#[tokio::test(flavor = "multi_thread")]
async fn before_mail_fails_the_policy_is_fetched_whatever_its_id() {
    let stage = Stage::new(1, "1s").await;
    stage.publish("moved.test", "1", good());
    assert!(
        stage
            .policy("moved.test")
            .await
            .unwrap()
            .allows("a.mx.test")
    );
    stage.publish(
        "moved.test",
        "1",
        Page::text(&text("enforce", "*.new.test", WEEK)),
    );
    let until = Instant::now() + PATIENCE;
    let now = loop {
        let again = stage.ask("moved.test", true).await;
        let policy = policy_of(&again).unwrap();
        if policy.allows("a.new.test") {
            break again;
        }
        assert!(Instant::now() < until, "{policy:?}");
    };
    // Senders that know the other one hear that it is none any more.
    assert!(now.version > 0);
    assert!(
        !stage
            .policy("moved.test")
            .await
            .unwrap()
            .allows("a.mx.test")
    );
}

/// A host that takes its time holds nobody up for long, and its policy holds as soon as it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_host_that_is_slow_delays_an_answer_for_seconds_at_most() {
    let stage = Stage::new(1, "10m").await;
    let slow = with(|page| page.delay = Duration::from_secs(4));
    stage.publish("slow.test", "1", slow);
    let request = skein_wire::internal::GetStsPolicyRequest {
        domain: "slow.test".to_owned(),
        again: false,
    };
    let began = Instant::now();
    let first = stage.leader().await.get_sts_policy(request).await;
    assert!(first.unwrap().into_inner().pending);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(stage.policy("slow.test").await.unwrap().id, "1");
    assert_eq!(
        stage.fetches("slow.test"),
        1,
        "those who wait share one fetch"
    );
}
