#![expect(clippy::unwrap_used, reason = "tests")]
use mail_auth::report::tlsrpt::{PolicyType, ResultType, TlsReport};
use serde_json::{Value, json};
use skein_model::sts::{StsMode, StsPolicy};
use skein_model::tls_report::{AppliedPolicy, FailureKind, TlsResult};

use super::*;

const DAY: Day = Day(20_000);
const BY: Reporter<'_> = Reporter {
    organization: "ESP Example",
    contact: "postmaster@esp.example",
};

fn counts(results: &[(AppliedPolicy, &str, Option<FailureKind>)]) -> DayCounts {
    let mut counts = DayCounts::default();
    for (policy, host, failure) in results {
        counts.count(TlsResult {
            domain: "a.example".to_owned(),
            policy: policy.clone(),
            mx_host: (*host).to_owned(),
            receiving_ip: Some("2001:db8::1".parse().unwrap()),
            sending_ip: Some([198, 51, 100, 1].into()),
            failure: *failure,
        });
    }
    counts
}

fn sts() -> AppliedPolicy {
    AppliedPolicy::sts(&StsPolicy {
        id: "1".to_owned(),
        mode: StsMode::Testing,
        mx: vec!["*.a.example".to_owned()],
        max_age_s: 86_400,
    })
}

fn write(counts: &DayCounts) -> Value {
    let text = report(BY, "id-1", "a.example", DAY, counts);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_report_has_the_form_of_the_appendix() {
    let written = write(&counts(&[
        (sts(), "mx1.a.example", None),
        (sts(), "mx1.a.example", None),
        (
            sts(),
            "mx1.a.example",
            Some(FailureKind::CertificateExpired),
        ),
        (AppliedPolicy::none(), "mx1.a.example", None),
    ]));
    let expected = json!({
        "organization-name": "ESP Example",
        "date-range": {
            "start-datetime": "2024-10-04T00:00:00Z",
            "end-datetime": "2024-10-04T23:59:59Z"
        },
        "contact-info": "postmaster@esp.example",
        "report-id": "id-1",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing", "mx: *.a.example", "max_age: 86400"],
                    "policy-domain": "a.example",
                    "mx-host": ["*.a.example"]
                },
                "summary": {
                    "total-successful-session-count": 2,
                    "total-failure-session-count": 1
                },
                "failure-details": [{
                    "result-type": "certificate-expired",
                    "sending-mta-ip": "198.51.100.1",
                    "receiving-mx-hostname": "mx1.a.example",
                    "receiving-ip": "2001:db8::1",
                    "failed-session-count": 1
                }]
            },
            {
                "policy": {"policy-type": "no-policy-found", "policy-domain": "a.example"},
                "summary": {
                    "total-successful-session-count": 1,
                    "total-failure-session-count": 0
                }
            }
        ]
    });
    assert_eq!(written, expected);
    assert_eq!(date(DAY), "2024-10-04");
}

/// The kinds of failure and of policy of RFC 8460, as another implementation reads them.
#[test]
fn another_parser_reads_every_kind_and_no_field_is_null() {
    let tlsa = AppliedPolicy::tlsa(vec!["3 1 1 AB".to_owned()]);
    let policies = [
        (tlsa, PolicyType::Tlsa),
        (sts(), PolicyType::Sts),
        (AppliedPolicy::none(), PolicyType::NoPolicyFound),
    ];
    let mut results = Vec::new();
    for (policy, _) in &policies {
        let failures = FailureKind::ALL.into_iter().map(Some);
        results.extend(failures.map(|failure| (policy.clone(), "mx1.a.example", failure)));
    }
    let text = report(BY, "id-1", "a.example", DAY, &counts(&results));
    assert!(
        !text.contains("null") && !text.contains("\"Other\""),
        "{text}"
    );
    let read = TlsReport::parse_json(text.as_bytes()).unwrap();
    assert_eq!(read.report_id, "id-1");
    for (found, (_, kind)) in read.policies.iter().zip(&policies) {
        assert_eq!(found.policy.policy_type, *kind);
        assert_eq!(found.summary.total_failure, 11);
        assert_eq!(found.failure_details.len(), 11);
        let others = found.failure_details.iter();
        let others = others.filter(|failure| failure.result_type == ResultType::Other);
        assert_eq!(others.count(), 0);
    }
}

#[test]
fn what_there_is_no_room_for_is_told_as_a_number() {
    let hosts: Vec<String> = (0..100).map(|n| format!("mx{n}.a.example")).collect();
    let expired = Some(FailureKind::CertificateExpired);
    let results: Vec<_> = hosts
        .iter()
        .map(|host| (sts(), host.as_str(), expired))
        .collect();
    let written = write(&counts(&results));
    let policy = &written["policies"][0];
    assert_eq!(policy["summary"]["total-failure-session-count"], 100);
    let last = policy["failure-details"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(last["failed-session-count"], 36);
    assert_eq!(last["additional-information"], OTHER_HOSTS);
    assert_eq!(last["receiving-mx-hostname"], Value::Null);
    let fetch = Some(FailureKind::StsPolicyFetchError);
    let written = write(&counts(&[(sts(), "", fetch)]));
    let detail = &written["policies"][0]["failure-details"][0];
    assert_eq!(detail["additional-information"], Value::Null);
}
