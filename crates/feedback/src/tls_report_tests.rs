use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const REPORT: &str = r#"{"organization-name":"Google Inc.","date-range":{"start-datetime":"2025-11-04T00:00:00Z",
"end-datetime":"2025-11-04T23:59:59Z"},"contact-info":"smtp-tls-reporting@google.com","report-id":"2025-11-04_example.com",
"policies":[{"policy":{"policy-type":"sts","policy-string":["version: STSv1"],"policy-domain":"Example.com.","mx-host":["*.example.com"]},
"summary":{"total-successful-session-count":90,"total-failure-session-count":2},
"failure-details":[{"result-type":"certificate-expired","sending-mta-ip":"192.0.2.1","receiving-mx-hostname":"MX.example.com",
"receiving-ip":"198.51.100.2","failed-session-count":2,"failure-reason-code":"X509"}]}]}"#;

fn message(gzip: bool, content: &[u8]) -> Vec<u8> {
    let mut packed = content.to_vec();
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).expect("memory");
        packed = encoder.finish().expect("memory");
    }
    let kind = if gzip {
        "application/tlsrpt+gzip"
    } else {
        "application/tlsrpt+json"
    };
    let mut message = format!(
        "TLS-Report-Domain: example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\"; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    skein_mail::encode::Encoding::Base64.encode(&packed, true, &mut message);
    message.extend_from_slice(b"--b--\r\n");
    message
}

#[test]
fn a_report_is_read_however_it_is_packed() {
    for gzip in [false, true] {
        let report = read_tls_report(&message(gzip, REPORT.as_bytes())).expect("a report");
        assert_eq!(
            report,
            TlsReport {
                organization: "Google Inc.".to_owned(),
                contact: "smtp-tls-reporting@google.com".to_owned(),
                report_id: "2025-11-04_example.com".to_owned(),
                begins: UnixMs(1_762_214_400_000),
                ends: UnixMs(1_762_300_799_000),
                policies: vec![TlsPolicy {
                    kind: theirs::PolicyType::Sts,
                    domain: "example.com".to_owned(),
                    mx_hosts: vec!["*.example.com".to_owned()],
                    successes: 90,
                    failures: 2,
                    details: vec![TlsFailure {
                        result: theirs::ResultType::CertificateExpired,
                        sending_ip: Some("192.0.2.1".parse().expect("an address")),
                        receiving_host: Some("mx.example.com".to_owned()),
                        receiving_ip: Some("198.51.100.2".parse().expect("an address")),
                        sessions: 2,
                        reason: Some("X509".to_owned()),
                    }],
                }],
            }
        );
        assert_eq!(
            report.key(),
            ReportKey {
                organization: "google inc.".to_owned(),
                report_id: "2025-11-04_example.com".to_owned(),
                domain: "example.com".to_owned(),
                begins: report.begins,
                ends: report.ends,
            }
        );
    }
}

#[test]
fn what_is_none_or_too_much_is_told() {
    let read = |content: &str| read_tls_report(&message(true, content.as_bytes()));
    assert_eq!(read("no json"), Err(NoReport::None));
    for malformed in ["{}", "{", "{\"policies\":1}"] {
        assert!(
            matches!(read(malformed), Err(NoReport::Malformed(_))),
            "{malformed}"
        );
    }
    let strings = format!("{{\"x\":[{}\"\"]}}", "\"\",".repeat(QUOTES_MAX / 2));
    assert_eq!(
        read_tls_report(&message(false, strings.as_bytes())),
        Err(NoReport::TooLarge)
    );
    let (start, end) = REPORT.split_once("[{\"policy\"").expect("policies");
    let policy = format!("{{\"policy\"{}]}}", end.trim_end_matches("]}"));
    let many = format!("{start}[{}]}}", vec![policy; POLICIES_MAX + 1].join(","));
    assert_eq!(
        read_tls_report(&message(false, many.as_bytes())),
        Err(NoReport::TooLarge)
    );
    let deep = format!("{}{}", "{\"x\":".repeat(100_000), "1");
    assert!(read_tls_report(&message(false, deep.as_bytes())).is_err());
}

proptest! {
    #[test]
    fn any_content_is_read_or_refused(at: prop::sample::Index, octets in prop::collection::vec(any::<u8>(), 0..20), to: prop::sample::Index) {
        let mut json = REPORT.as_bytes()[..at.index(REPORT.len())].to_vec();
        json.extend_from_slice(&octets);
        json.extend_from_slice(&REPORT.as_bytes()[to.index(REPORT.len())..]);
        let _ = read_tls_report(&message(true, &json));
        let _ = read_json(&json);
    }
}
