use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::UNPACKED_BYTES_MAX;

const OLD: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <report_metadata>
    <org_name>google.com</org_name><email>noreply-dmarc-support@google.com</email>
    <report_id>123456</report_id>
    <date_range><begin>1762214400</begin><end>1762300799</end></date_range>
  </report_metadata>
  <policy_published>
    <domain>Example.COM</domain><adkim>r</adkim><aspf>s</aspf><p>quarantine</p><sp>reject</sp><pct>100</pct>
  </policy_published>
  <record>
    <row><source_ip>192.0.2.1</source_ip><count>7</count>
      <policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf>
        <reason><type>forwarded</type><comment></comment></reason></policy_evaluated></row>
    <identifiers><header_from>example.com</header_from></identifiers>
    <auth_results>
      <dkim><domain>example.com</domain><result>pass</result><selector>sk1</selector></dkim>
      <spf><domain>bounces.example.com</domain><result>softfail</result></spf>
    </auth_results>
  </record>
  <record>
    <row><source_ip>2001:db8::1</source_ip><count>1</count>
      <policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
    <identifiers><header_from>example.com</header_from></identifiers>
    <auth_results><spf><domain>x.test</domain><result>none</result></spf></auth_results>
  </record>
</feedback>"#;

const NEW: &str = r#"<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata><org_name>Sample</org_name><email>r@sample.example</email><report_id>a@b</report_id>
    <date_range><begin>1</begin><end>2</end></date_range><generator>G 1</generator></report_metadata>
  <policy_published><domain>example.com</domain><discovery_method>treewalk</discovery_method><p>none</p><sp>none</sp>
    <np>reject</np><testing>y</testing></policy_published>
  <record><row><source_ip>192.0.2.1</source_ip><count>2</count><policy_evaluated><disposition>pass</disposition>
    <dkim>pass</dkim><spf>pass</spf></policy_evaluated></row>
    <identifiers><envelope_from>bounces.example.com</envelope_from><header_from>example.com</header_from></identifiers>
    <auth_results><dkim><domain>example.com</domain><selector>sk2</selector><result>pass</result></dkim></auth_results></record>
</feedback>"#;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = ::zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).expect("memory");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

fn message(kind: &str, content: &[u8]) -> Vec<u8> {
    let mut message = format!(
        "From: noreply@google.com\r\nSubject: Report domain: example.com\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>A report.</p>\r\n\
         --b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    skein_mail::encode::Encoding::Base64.encode(content, true, &mut message);
    message.extend_from_slice(b"--b--\r\n");
    message
}

#[test]
fn both_generations_are_read_however_they_are_packed() {
    for (xml, generation) in [(OLD, Generation::Rfc7489), (NEW, Generation::Rfc9990)] {
        let with_mark = format!("\u{feff}{xml}");
        let packed = [
            message("text/xml", xml.as_bytes()),
            message("application/xml", with_mark.as_bytes()),
            message("application/gzip", &gzip(xml.as_bytes())),
            message("application/octet-stream", &gzip(xml.as_bytes())),
            message("application/zip", &zip(&[("report.xml", xml.as_bytes())])),
            // The name says another thing than the octets.
            message(
                "application/gzip; name=x.gz",
                &zip(&[("a.txt", b"hello"), ("r.xml", xml.as_bytes())]),
            ),
        ];
        let first = read_aggregate(&packed[0]).expect("a report");
        assert_eq!(first.generation, generation);
        for message in &packed {
            assert_eq!(read_aggregate(message).as_ref(), Ok(&first));
        }
    }
    // A message that is the attachment itself.
    let mut bare =
        b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    skein_mail::encode::Encoding::Base64.encode(&gzip(OLD.as_bytes()), true, &mut bare);
    assert!(read_aggregate(&bare).is_ok());
}

#[test]
fn what_a_report_says_is_read() {
    let report = read_aggregate(&message("text/xml", OLD.as_bytes())).expect("a report");
    assert_eq!(
        (report.organization.as_str(), report.email.as_str()),
        ("google.com", "noreply-dmarc-support@google.com")
    );
    assert_eq!(
        report.policy,
        PublishedPolicy {
            domain: "example.com".to_owned(),
            policy: theirs::Disposition::Quarantine,
            subdomains: theirs::Disposition::Reject,
            not_existing: theirs::Disposition::Unspecified,
            dkim: theirs::Alignment::Relaxed,
            spf: theirs::Alignment::Strict,
            is_testing: false,
        }
    );
    assert_eq!(report.rows.len(), 2);
    assert_eq!(
        report.rows[0],
        AggregateRow {
            source: Some("192.0.2.1".parse().expect("an address")),
            count: 7,
            disposition: theirs::ActionDisposition::None,
            has_aligned_dkim: true,
            has_aligned_spf: false,
            overrides: vec![theirs::PolicyOverride::Other],
            header_from: "example.com".to_owned(),
            envelope_from: String::new(),
            envelope_to: None,
            signatures: vec![Signature {
                domain: "example.com".to_owned(),
                selector: "sk1".to_owned(),
                result: theirs::DkimResult::Pass,
            }],
            spf: Some((
                "bounces.example.com".to_owned(),
                theirs::SpfResult::SoftFail
            )),
        }
    );
    assert_eq!(
        report.rows[1].disposition,
        theirs::ActionDisposition::Reject
    );
    assert_eq!(
        report.key(),
        ReportKey {
            organization: "google.com".to_owned(),
            report_id: "123456".to_owned(),
            domain: "example.com".to_owned(),
            begins: UnixMs(1_762_214_400_000),
            ends: UnixMs(1_762_300_799_000),
        }
    );
    let new = read_aggregate(&message("text/xml", NEW.as_bytes())).expect("a report");
    assert!(new.policy.is_testing);
    assert_eq!(new.policy.not_existing, theirs::Disposition::Reject);
    assert_eq!(new.rows[0].disposition, theirs::ActionDisposition::Pass);
    assert_eq!(new.rows[0].envelope_from, "bounces.example.com");
    assert_ne!(new.key(), report.key());
}

#[test]
fn bombs_do_not_burst() {
    let check = |kind: &str, content: &[u8], why: NoReport| {
        assert_eq!(read_aggregate(&message(kind, content)), Err(why));
    };
    let blanks = vec![b' '; UNPACKED_BYTES_MAX + 1];
    check("application/gzip", &gzip(&blanks), NoReport::Bomb);
    // Below what may be unpacked, and yet it shrinks as no report does.
    check(
        "application/gzip",
        &gzip(&blanks[..UNPACKED_BYTES_MAX / 2]),
        NoReport::Bomb,
    );
    check(
        "application/zip",
        &zip(&[("x.xml", &blanks)]),
        NoReport::Bomb,
    );
    let half = &blanks[..UNPACKED_BYTES_MAX / 2];
    check(
        "application/zip",
        &zip(&[("1", half), ("2", half), ("3", half)]),
        NoReport::Bomb,
    );
    let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), &b"x"[..]))
        .collect();
    check("application/zip", &zip(&many), NoReport::Bomb);
    let records = format!("<feedback>{}", "<record></record>".repeat(ROWS_MAX + 1));
    check("text/xml", records.as_bytes(), NoReport::TooLarge);
    let tags = format!("<feedback>{}", "<x></x>".repeat(TAGS_MAX / 2));
    check("text/xml", tags.as_bytes(), NoReport::TooLarge);
    let laughs = "<!DOCTYPE f [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><feedback>&b;</feedback>";
    assert!(read_aggregate(&message("text/xml", laughs.as_bytes())).is_err());
    let large = vec![b'x'; crate::MESSAGE_BYTES_MAX + 1];
    assert_eq!(read_aggregate(&large), Err(NoReport::TooLarge));
}

#[test]
fn what_is_no_report_is_told() {
    let none = |content: &[u8]| read_aggregate(&message("application/octet-stream", content));
    assert_eq!(none(b""), Err(NoReport::None));
    assert_eq!(none(b"<html></html>"), Err(NoReport::None));
    for malformed in [
        &b"<feedback></feedback>"[..],
        b"<feedback><record>",
        b"<x><feedback>",
        b"\x1f\x8bgarbage",
        b"PK\x03\x04garbage",
    ] {
        assert!(
            matches!(none(malformed), Err(NoReport::Malformed(_))),
            "{malformed:?}"
        );
    }
    assert_eq!(read_aggregate(b""), Err(NoReport::None));
}

proptest! {
    #[test]
    fn any_content_is_read_or_refused(at: prop::sample::Index, octets in prop::collection::vec(any::<u8>(), 0..20), to: prop::sample::Index, form in 0..3usize) {
        let mut xml = OLD.as_bytes()[..at.index(OLD.len())].to_vec();
        xml.extend_from_slice(&octets);
        xml.extend_from_slice(&NEW.as_bytes()[to.index(NEW.len())..]);
        let content = match form {
            0 => xml,
            1 => gzip(&xml),
            _ => zip(&[("r", &xml)]),
        };
        let _ = read_aggregate(&message("application/octet-stream", &content));
        let cut = &content[..at.index(content.len() + 1)];
        let _ = read_aggregate(&message("application/octet-stream", cut));
    }
}

#[test]
fn octets_never_panic() {
    bolero::check!().for_each(|octets: &[u8]| {
        let _ = read_aggregate(octets);
        let _ = read_xml(octets);
    });
}
